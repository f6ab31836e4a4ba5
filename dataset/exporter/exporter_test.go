package exporter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	_ "image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

func open(t *testing.T, info dataset.Info, samples ...dataset.Sample) *dataset.Dataset {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.arrow")
	w, err := dataset.Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if err := w.AddSample(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pixels returns a written picture as (H, W, 3) bytes.
func pixels(t *testing.T, parts ...string) []byte {
	t.Helper()
	img, _, err := image.Decode(strings.NewReader(read(t, parts...)))
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			out = append(out, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	return out
}

func ramp(n, from int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(from + 7*i)
	}
	return out
}

func TestFolder(t *testing.T) {
	info := dataset.Info{Task: dataset.Classification, Classes: []string{"cat", "dog"}, Height: 2, Width: 3, Channels: 3}
	d := open(t, info,
		dataset.Sample{ID: "dog/1.jpeg", Label: 1, Image: ramp(18, 0)},
		dataset.Sample{ID: "17", Label: 0, Image: ramp(18, 1)},
		dataset.Sample{ID: "../../a:b.PNG", Label: 0, Image: ramp(18, 2)},
		dataset.Sample{ID: "dog/1.bmp", Label: 1, Image: ramp(18, 3), Meta: []dataset.Pair{{Name: "a", Value: "b"}}})
	dir := filepath.Join(t.TempDir(), "out")
	w, err := Write(t.Context(), d, dir, Folder)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"cat/17.png", "cat/_/_/a_b.PNG", "dog/1.bmp.png", "dog/1.png"}; !slices.Equal(files(t, dir), want) {
		t.Errorf("files %q", files(t, dir))
	}
	if !bytes.Equal(pixels(t, dir, "dog/1.bmp.png"), ramp(18, 3)) || !bytes.Equal(pixels(t, dir, "dog/1.png"), ramp(18, 0)) {
		t.Error("pixels changed")
	}
	if want := []string{"1 entries of meta data that folders of classes cannot hold"}; !slices.Equal(w.Lost, want) || w.Images != 4 {
		t.Errorf("%+v", w)
	}
}

// Pictures that are kept as files are written as they are, and coordinates follow their size.
func TestEncoded(t *testing.T) {
	var file bytes.Buffer
	if err := jpeg.Encode(&file, image.NewGray(image.Rect(0, 0, 40, 20)), nil); err != nil {
		t.Fatal(err)
	}
	info := dataset.Info{Task: dataset.Detection, Classes: []string{"a"}, Height: 10, Width: 10, Channels: 1, Encoded: true}
	d := open(t, info, dataset.Sample{ID: "x.png", Label: dataset.NoLabel, Image: file.Bytes(), Height: 20, Width: 40, Boxes: []dataset.Box{{X0: 1, Y0: 2, X1: 5, Y1: 6}}})
	dir := t.TempDir()
	if _, err := Write(t.Context(), d, dir, COCO); err != nil {
		t.Fatal(err)
	}
	if read(t, dir, "x.jpg") != file.String() {
		t.Error("the file changed")
	}
	var doc struct {
		Images      []cocoImage
		Annotations []struct{ Bbox []float64 }
	}
	if err := json.Unmarshal([]byte(read(t, dir, "annotations.json")), &doc); err != nil {
		t.Fatal(err)
	}
	if im := doc.Images[0]; im.Width != 40 || im.Height != 20 || im.File != "x.jpg" || im.Darkroom.ID != "x.png" {
		t.Errorf("%+v", im)
	}
	if !slices.Equal(doc.Annotations[0].Bbox, []float64{4, 4, 16, 8}) {
		t.Errorf("%v", doc.Annotations[0].Bbox)
	}
}

func TestCOCO(t *testing.T) {
	info := dataset.Info{Task: dataset.Segmentation, Classes: []string{"crack", "dent"}, MaskClasses: []string{"background", "dent"}, Height: 2, Width: 3, Channels: 1}
	d := open(t, info,
		dataset.Sample{ID: "a/1.png", Label: 1, Image: ramp(6, 0), Meta: []dataset.Pair{{Name: "part", Value: "7"}},
			Boxes:    []dataset.Box{{X0: 0, Y0: 0, X1: 2.5, Y1: 2, Class: 1}},
			Polygons: []dataset.Polygon{{Class: 1, Rings: [][]float32{{0, 0, 2, 0, 2, 2, 0, 2}}}}},
		dataset.Sample{ID: "2", Label: dataset.NoLabel, Image: ramp(6, 1), Mask: []byte{1, 0, dataset.Ignore, 1, 0, 1}})
	dir := t.TempDir()
	w, err := Write(t.Context(), d, dir, COCO)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Lost) != 0 || !slices.Equal(files(t, dir), []string{"2.png", "a/1.png", "annotations.json"}) {
		t.Errorf("%+v, %q", w, files(t, dir))
	}
	var got any
	if err := json.Unmarshal([]byte(read(t, dir, "annotations.json")), &got); err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal([]byte(`{
	"images": [{"id":1,"file_name":"a/1.png","width":3,"height":2,"darkroom":{"meta":[{"name":"part","value":"7"}]}},
		{"id":2,"file_name":"2.png","width":3,"height":2,"darkroom":{"id":"2"}}],
	"annotations": [
		{"id":1,"image_id":1,"category_id":2,"bbox":[0,0,2.5,2],"area":4,"iscrowd":0,"segmentation":[[0,0,2,0,2,2,0,2]]},
		{"id":2,"image_id":1,"category_id":2,"area":0,"iscrowd":0},
		{"id":3,"image_id":2,"category_id":3,"bbox":[1,0,1,2],"area":2,"iscrowd":0,"segmentation":{"size":[2,3],"counts":[2,2,2]}},
		{"id":4,"image_id":2,"category_id":2,"bbox":[0,0,3,2],"area":3,"iscrowd":0,"segmentation":{"size":[2,3],"counts":[0,2,3,1]}}],
	"categories": [{"id":1,"name":"crack"},{"id":2,"name":"dent"},{"id":3,"name":"background"}]}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s", read(t, dir, "annotations.json"))
	}
}

func TestYOLO(t *testing.T) {
	info := dataset.Info{Task: dataset.Detection, Classes: []string{"a b", "c"}, Height: 4, Width: 8, Channels: 1}
	boxes := dataset.Sample{ID: "1.png", Label: dataset.NoLabel, Image: ramp(32, 0), Boxes: []dataset.Box{{X0: 0, Y0: 1, X1: 4, Y1: 3, Class: 1}}}
	outline := boxes
	outline.Polygons = []dataset.Polygon{{Class: 1, Rings: [][]float32{{0, 1, 4, 1, 4, 3}, {1, 1, 2, 1, 2, 2}}}}
	outline.ID, outline.Split = "2.png", "validation"
	empty := dataset.Sample{ID: "3.png", Label: dataset.NoLabel, Image: ramp(32, 0), Split: "validation"}

	dir := t.TempDir()
	w, err := Write(t.Context(), open(t, info, boxes, outline, empty), dir, YOLO)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"data.yaml", "images/train/1.png", "images/validation/2.png", "images/validation/3.png", "labels/train/1.txt", "labels/validation/2.txt", "labels/validation/3.txt"}
	if !slices.Equal(files(t, dir), want) {
		t.Errorf("%q", files(t, dir))
	}
	if got := read(t, dir, "labels/validation/2.txt"); got != "1 0.25 0.5 0.5 0.5\n" {
		t.Errorf("%q", got)
	}
	if got := read(t, dir, "data.yaml"); got != "path: .\ntrain: images/train\nval: images/validation\nnc: 2\nnames:\n  0: \"a b\"\n  1: c\n" {
		t.Errorf("%q", got)
	}
	if !slices.Equal(w.Lost, []string{"1 outlines, since not every object has one and YOLO files hold one kind"}) {
		t.Errorf("%q", w.Lost)
	}
	dir = t.TempDir()
	if w, err = Write(t.Context(), open(t, info, outline, empty), dir, YOLO); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "labels/validation/2.txt"); got != "1 0 0.25 0.5 0.25 0.5 0.75\n" {
		t.Errorf("%q", got)
	}
	if !slices.Equal(w.Lost, []string{"1 further rings of outlines, of which YOLO files hold one"}) {
		t.Errorf("%q", w.Lost)
	}
}

func TestRefusals(t *testing.T) {
	multi := dataset.Info{Task: dataset.MultiLabel, Classes: []string{"a"}, Height: 1, Width: 1, Channels: 1}
	odd := dataset.Info{Task: dataset.Classification, Classes: []string{"a/b"}, Height: 1, Width: 1, Channels: 1}
	sample := func(id string) dataset.Sample { return dataset.Sample{ID: id, Image: []byte{1}, Labels: []int32{}} }
	for i, c := range []struct {
		info   dataset.Info
		ids    []string
		format string
		err    string
	}{
		{multi, []string{"x"}, Folder, "folders hold one class an image, and this dataset is for multilabel; write it as coco"},
		{multi, []string{"x"}, YOLO, "YOLO files hold boxes"},
		{multi, []string{"x"}, "voc", `"voc" is no format; a dataset is written as folder, coco, yolo`},
		{odd, []string{"x"}, Folder, `the class "a/b" cannot name a folder`},
		{multi, []string{"x:", "x*", "x_"}, COCO, `two images would be written to the file "x_.png"`},
	} {
		var samples []dataset.Sample
		for _, id := range c.ids {
			samples = append(samples, sample(id))
		}
		_, err := Write(t.Context(), open(t, c.info, samples...), t.TempDir(), c.format)
		var refused *FormatError
		if !errors.As(err, &refused) || !strings.Contains(fmt.Sprint(err), c.err) {
			t.Errorf("%d: %v", i, err)
		}
	}
}
