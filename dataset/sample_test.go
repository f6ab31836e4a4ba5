package dataset

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset/picture"
)

var annotated = Info{Task: Detection, Classes: []string{"cell", "düst"}, Height: 6, Width: 5, Channels: 3, MaskClasses: []string{"background", "crack"}}

// annotatedSamples are rows with and without each annotation.
func annotatedSamples(n int, info Info) []Sample {
	out := make([]Sample, n)
	for i := range out {
		s := Sample{ID: fmt.Sprintf("image-%d", i), Image: pixels(i, info), Label: int32(i%3) - 1, Height: 60 + i, Width: 50}
		for k := range i % 3 {
			s.Labels = append(s.Labels, int32(k))
			s.Boxes = append(s.Boxes, Box{0, float32(k), 2.5, 5, int32(k)})
			s.Polygons = append(s.Polygons, Polygon{int32(k), [][]float32{{0, 0, 1, 1, 0, 1.5}, {-1, 0, 1, 7, 0, 2, float32(i), 9}}})
			s.Meta = append(s.Meta, Pair{fmt.Sprint("key", k), fmt.Sprint("value", i)})
		}
		if i%2 == 0 {
			s.Mask = bytes.Repeat([]byte{0, 1, Ignore}, 10)
			s.Split = "train"
		}
		out[i] = s
	}
	return out
}

func writeSamples(t testing.TB, info Info, samples []Sample) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.arrow")
	w, err := Create(path, info)
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
	return path
}

// comparable gives empty lists one form.
func comparable(s Sample) Sample {
	if len(s.Labels) == 0 {
		s.Labels = nil
	}
	return s
}

func TestSamplesRoundTrip(t *testing.T) {
	samples := annotatedSamples(11, annotated)
	d := open(t, writeSamples(t, annotated, samples))
	if !reflect.DeepEqual(d.Info(), annotated) || d.Labelled() || fmt.Sprint(d.Counts()) != "[4 3]" {
		t.Errorf("info is %+v, labelled %v, counts %v", d.Info(), d.Labelled(), d.Counts())
	}
	for i, want := range samples {
		if got := comparable(d.Sample(i)); !reflect.DeepEqual(got, want) {
			t.Errorf("row %d is %+v\nnot %+v", i, got, want)
		}
		if !reflect.DeepEqual(d.Boxes(i), want.Boxes) || !reflect.DeepEqual(d.Polygons(i), want.Polygons) || !bytes.Equal(d.Mask(i), want.Mask) || (d.Mask(i) == nil) != (want.Mask == nil) ||
			d.Split(i) != want.Split || !reflect.DeepEqual(d.Meta(i), want.Meta) || d.Label(i) != want.Label || len(d.Labels(i)) != len(want.Labels) {
			t.Errorf("row %d reads otherwise by parts", i)
		}
	}
}

func TestUnlabelledIsADataset(t *testing.T) {
	info := Info{Task: Unlabelled, Height: 2, Width: 2, Channels: 1}
	d := open(t, writeSamples(t, info, []Sample{{ID: "a", Image: make([]byte, 4), Label: NoLabel}}))
	if d.Labelled() || d.Label(0) != NoLabel || len(d.Counts()) != 0 {
		t.Error("an image without a label has one")
	}
}

func TestEncodedImages(t *testing.T) {
	info := Info{Classes: []string{"a"}, Height: 4, Width: 3, Channels: 1, Encoded: true}
	m := image.NewGray(image.Rect(0, 0, 6, 8))
	for i := range m.Pix {
		m.Pix[i] = byte(5 * i)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, m); err != nil {
		t.Fatal(err)
	}
	var samples []Sample
	for i := range 40 { // large ones between small ones, so that record batches differ in their rows
		b := bytes.Clone(file.Bytes())
		if i%7 == 0 {
			b = append(b, make([]byte, 3<<20)...)
		}
		samples = append(samples, Sample{ID: fmt.Sprint(i), Image: b, Height: 8, Width: 6})
	}
	d := open(t, writeSamples(t, info, samples))
	if d.size != 0 || len(d.chunks) < 3 {
		t.Fatalf("%d record batches of equal size do not test what they should", len(d.chunks))
	}
	want := picture.Pixels(m, info.Target(), nil)
	buffer := make([]byte, info.ImageSize())
	for i := range samples {
		got, err := d.Pixels(i, buffer)
		if err != nil || !bytes.Equal(got, want) || &got[0] != &buffer[0] || d.ID(i) != fmt.Sprint(i) || !bytes.Equal(d.Sample(i).Image, samples[i].Image) {
			t.Fatalf("image %d: %v", i, err)
		}
	}
	broken := open(t, writeSamples(t, info, []Sample{{ID: "bad", Image: []byte("no picture")}}))
	if _, err := broken.Pixels(0, nil); err == nil || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("a broken picture: %v", err)
	}
}

func TestSampleRefusals(t *testing.T) {
	good := annotatedSamples(3, annotated)[2]
	nan := float32(math.NaN())
	for name, change := range map[string]func(*Sample){
		"no id":             func(s *Sample) { s.ID = "" },
		"short image":       func(s *Sample) { s.Image = s.Image[1:] },
		"label":             func(s *Sample) { s.Label = 2 },
		"labels":            func(s *Sample) { s.Labels = []int32{2} },
		"repeated labels":   func(s *Sample) { s.Labels = []int32{1, 1} },
		"class of a box":    func(s *Sample) { s.Boxes[0].Class = 2 },
		"inverted box":      func(s *Sample) { s.Boxes[0].X0 = 4 },
		"empty box":         func(s *Sample) { s.Boxes[0].X1 = 0 },
		"box outside":       func(s *Sample) { s.Boxes[0].X1 = 5.5 },
		"box not a number":  func(s *Sample) { s.Boxes[0].Y1 = nan },
		"class of polygon":  func(s *Sample) { s.Polygons[0].Class = -1 },
		"no rings":          func(s *Sample) { s.Polygons[0].Rings = nil },
		"two points":        func(s *Sample) { s.Polygons[0].Rings = [][]float32{{0, 0, 1, 1}} },
		"half a point":      func(s *Sample) { s.Polygons[0].Rings = [][]float32{{0, 0, 1, 1, 2, 2, 3}} },
		"point not a numbr": func(s *Sample) { s.Polygons[0].Rings = [][]float32{{0, 0, 1, 1, 2, nan}} },
		"size of mask":      func(s *Sample) { s.Mask = s.Mask[1:] },
		"value of mask":     func(s *Sample) { s.Mask[3] = 2 },
		"negative size":     func(s *Sample) { s.Height = -1 },
	} {
		w, err := Create(filepath.Join(t.TempDir(), "x"), annotated)
		if err != nil {
			t.Fatal(err)
		}
		s := annotatedSamples(3, annotated)[2]
		if change(&s); w.AddSample(s) == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := w.AddSample(good); err != nil || w.Close() != nil {
			t.Errorf("%s: a refusal spoils what follows: %v", name, err)
		}
	}
	for _, info := range []Info{
		{Task: "guess", Classes: []string{"a"}, Height: 1, Width: 1, Channels: 1},
		{Task: Segmentation, Classes: []string{"a"}, Height: 1, Width: 1, Channels: 1},
		{Task: Detection, Height: 1, Width: 1, Channels: 1},
		{Classes: []string{"a"}, MaskClasses: []string{"x", "x"}, Height: 1, Width: 1, Channels: 1},
	} {
		if _, err := Create(filepath.Join(t.TempDir(), "x"), info); err == nil {
			t.Errorf("%+v was accepted", info)
		}
	}
}

// A file of the first format, written before there were annotations, is still read.
func TestFormat1(t *testing.T) {
	d := open(t, "testdata/format1.arrow")
	info := d.Info()
	if d.Len() != 4 || info.Task != Classification || !d.Labelled() || d.ID(3) != "image-3" || d.Label(3) != 1 || d.Image(3)[0] != 3 || info.Width != 3 {
		t.Errorf("read %d images of %+v", d.Len(), info)
	}
	if d.Boxes(0) != nil || d.Polygons(0) != nil || d.Mask(0) != nil || d.Split(0) != "" || d.Meta(0) != nil || len(d.Labels(0)) != 0 {
		t.Error("it has annotations")
	}
	w, err := Create(filepath.Join(t.TempDir(), "x"), info)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AddSample(d.Sample(0)); err != nil || w.Close() != nil {
		t.Error(err)
	}
}

// Other tools read what is written: every reader that this machine's Python has compares the rows with a listing of ours.
func TestOtherReaders(t *testing.T) {
	python := os.Getenv("DARKROOM_PYTHON")
	if python == "" {
		home, _ := os.UserHomeDir()
		if python = filepath.Join(home, ".cache", "darkroom", "peer", "bin", "python"); !exists(python) {
			python = "python3"
		}
	}
	if err := exec.Command(python, "-c", "import pyarrow").Run(); err != nil {
		t.Skip("no Python with pyarrow here; DARKROOM_PYTHON names one")
	}
	samples := annotatedSamples(9, annotated)
	encoded := annotated
	encoded.Encoded = true
	for _, info := range []Info{annotated, encoded} {
		var listing strings.Builder
		for _, s := range samples {
			fmt.Fprintf(&listing, "%s|%x|%d|%d|%d|%v|%d|%d|%x|%v|%s|%d\n", s.ID, s.Image, s.Height, s.Width, s.Label, s.Labels, len(s.Boxes), len(s.Polygons), s.Mask, s.Mask != nil, s.Split, len(s.Meta))
			for _, b := range s.Boxes {
				fmt.Fprintf(&listing, " box %.2f %.2f %.2f %.2f %d\n", b.X0, b.Y0, b.X1, b.Y1, b.Class)
			}
			for _, p := range s.Polygons {
				fmt.Fprintf(&listing, " polygon %d %d %.2f\n", p.Class, len(p.Rings), p.Rings[1][len(p.Rings[1])-2])
			}
			for _, m := range s.Meta {
				fmt.Fprintf(&listing, " meta %s=%s\n", m.Name, m.Value)
			}
		}
		cmd := exec.Command(python, "testdata/readers.py", writeSamples(t, info, samples))
		cmd.Stdin = strings.NewReader(listing.String())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("encoded %v: %v\n%s", info.Encoded, err, out)
		}
		t.Logf("encoded %v: read by %s", info.Encoded, out)
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
