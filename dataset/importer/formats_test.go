package importer

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/darkroom-dev/darkroom/dataset"
)

// greyPNG is a picture of w×h whose pixel i has the value v(i).
func greyPNG(t testing.TB, w, h int, v func(i int) byte) string {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = v(i)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// colourPNG has pixels of these colours in turn.
func colourPNG(t testing.TB, w, h int, colours ...string) string {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		c, err := ParseColour(colours[i%len(colours)])
		if err != nil {
			t.Fatal(err)
		}
		copy(m.Pix[4*i:], append(c[:], 255))
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A mask in colours without a table of them is refused, with one of its colours; classes and colours that do not agree are refused before.
func TestColourMaskProblems(t *testing.T) {
	dir := folderOf(t, map[string]string{"images/a.png": greyPNG(t, 4, 4, flat), "masks/a.png": colourPNG(t, 4, 4, "#000000", "#c08000")})
	m, err := importAll(t, dir, Options{})
	if err != nil || len(m.samples) != 0 {
		t.Errorf("%v, read %v", err, m.samples)
	}
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no colour": {Options{MaskClasses: []string{"a", "b"}, MaskColors: map[string]string{"a": "#000000"}}, `class "b" of mask_classes has no colour`},
		"malformed": {Options{MaskColors: map[string]string{"a": "black"}}, `"black" is no colour`},
	} {
		if _, err := importAll(t, dir, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func flat(int) byte { return 7 }

// folderOf writes a source.
func folderOf(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// imported is what comes of a source, as text: a line for each sample, and the findings.
type imported struct {
	info    dataset.Info
	classes []Class
	samples []string
	found   []string // "kind record", sorted
	masks   map[string][]byte
}

func importAll(t testing.TB, path string, o Options) (imported, error) {
	t.Helper()
	if o.Subset == "" {
		o.Subset = "all"
	}
	format, err := Detect(path, o)
	if err != nil {
		return imported{}, err
	}
	m, err := Open(path, format, o)
	if err != nil {
		return imported{}, err
	}
	defer m.Close()
	out := imported{info: m.Info, classes: m.Classes, masks: map[string][]byte{}}
	found := slices.Clone(m.Findings)
	for r, err := range m.Samples(context.Background(), 2) {
		if err != nil {
			return out, err
		}
		found = append(found, r.Findings...)
		if r.Err != nil {
			continue
		}
		s := r.Sample
		label := "-"
		if s.Label >= 0 {
			label = m.Info.Classes[s.Label]
		}
		line := fmt.Sprintf("%s %s", s.ID, label)
		for _, l := range s.Labels {
			line += " #" + m.Info.Classes[l]
		}
		for _, b := range s.Boxes {
			line += fmt.Sprintf(" %s[%g %g %g %g]", m.Info.Classes[b.Class], b.X0, b.Y0, b.X1, b.Y1)
		}
		for _, p := range s.Polygons {
			line += fmt.Sprintf(" %s%v", m.Info.Classes[p.Class], p.Rings)
		}
		if s.Split != "" {
			line += " in " + s.Split
		}
		for _, p := range s.Meta {
			line += " " + p.Name + "=" + p.Value
		}
		out.samples = append(out.samples, line)
		out.masks[s.ID] = s.Mask
	}
	for _, f := range found {
		out.found = append(out.found, f.Kind.Name+" "+f.Record)
	}
	sort.Strings(out.found)
	return out, nil
}

const vocObject = "<object><name>%s</name><bndbox><xmin>%s</xmin><ymin>%s</ymin><xmax>%s</xmax><ymax>%s</ymax></bndbox></object>"

func voc(file string, objects ...string) string {
	return "<annotation><filename>" + file + "</filename><size><width>10</width><height>8</height><depth>1</depth></size>" + strings.Join(objects, "") + "</annotation>"
}

func object(class string, box ...any) string {
	v := []any{class}
	for _, b := range box {
		v = append(v, fmt.Sprint(b))
	}
	return fmt.Sprintf(vocObject, v...)
}

// Every format, from what its users have to samples and findings.
func TestFormats(t *testing.T) {
	pic := greyPNG(t, 10, 8, flat)
	mask := greyPNG(t, 10, 8, func(i int) byte { return byte(i % 2 * 255) })
	for _, c := range []struct {
		name    string
		files   map[string]string
		o       Options
		task    dataset.Task
		classes string
		samples []string
		found   []string
	}{
		{
			name: "voc", task: dataset.Detection, classes: "[{cat } {dog }]",
			files: map[string]string{
				"images/a.png": pic, "images/b.png": pic, "images/lonely.png": pic, "ImageSets/Main/train.txt": "a\n", "ImageSets/Main/val.txt": "b\n",
				"annotations/a.xml":    voc("a.png", object("dog", 1, 2, 5, 6), object("cat", 8, 6, 3, 2), object("cat", 4, 4, 4, 4), object("dog", 1, 2, 5, 6), object("dog", -3, 0, 4, 99), object("dog", 20, 1, 30, 2), object("cat", "NaN", 1, 2, 3), object("cat", "", 1, 2, 3)),
				"annotations/b.xml":    `<?xml version="1.0" encoding="ISO-8859-1"?>` + voc("other"),
				"annotations/gone.xml": voc("gone.png"), "annotations/torn.xml": "<annotation><object>", "other.xml": "<project/>",
			},
			samples: []string{"images/a.png - dog[1 2 5 6] cat[3 2 8 6] dog[0 0 4 8] in train", "images/b.png - in validation"},
			found: []string{"annotation_without_image annotations/gone.xml", "box_clipped images/a.png", "box_outside images/a.png", "damaged_annotation annotations/torn.xml", "empty_box images/a.png",
				"file_name_differs images/b.png", "inverted_box images/a.png", "not_a_number images/a.png", "not_a_number images/a.png", "repeated_box images/a.png", "unlisted_file images/lonely.png"},
		},
		{
			name: "coco", task: dataset.Detection, classes: "[{second 3} {first 7}]",
			files: map[string]string{
				"train/a.png": pic, "train/b.png": pic,
				"annotations/instances_train2017.json": `{"images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 8}, {"id": 2, "file_name": "b.png", "width": 11, "height": 8}, {"id": 3, "file_name": "c.png"}],
					"categories": [{"id": 7, "name": "first"}, {"id": 3, "name": "second"}],
					"annotations": [
						{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 4, 2, 4, 6]]},
						{"id": 2, "image_id": 1, "category_id": 3, "bbox": [0, 0, 2, 1], "segmentation": {"counts": [0, 1, 7, 1, 71], "size": [8, 10]}, "iscrowd": 1},
						{"id": 3, "image_id": 2, "category_id": 3, "bbox": [0, 0, 2, 1], "segmentation": {"counts": "0170P2", "size": [8, 10]}},
						{"id": 4, "image_id": 2, "category_id": 9, "bbox": [0, 0, 2, 1]},
						{"id": 5, "image_id": 99, "category_id": 3, "bbox": [0, 0, 2, 1]},
						{"id": 6, "image_id": 2, "category_id": 3, "bbox": [null, 0, 2, 1]}]}`,
			},
			samples: []string{"train/a.png - first[1 2 4 6] second[0 0 2 1] first[[1 2 4 2 4 6]] second[[0 0 2 0 2 1 0 1]] in train", "train/b.png - second[0 0 2 1] second[[0 0 2 0 2 1 0 1]] in train"},
			found:   []string{"annotation_without_image annotation 5", "annotation_without_image c.png", "not_a_number train/b.png", "size_differs train/b.png", "unknown_class train/b.png"},
		},
		{
			name: "yolo", task: dataset.Detection, classes: "[{cat 0} {dog 2}]",
			files: map[string]string{
				"data.yaml":          "names:\n  2: dog\n  0: cat\ntrain: images/train\nval: ../images/held\n",
				"images/train/a.png": pic, "images/held/b.png": pic, "images/held/c.png": pic,
				"labels/train/a.txt": "2 0.5 0.5 0.2 0.5\n\n0 0 0 1 0 1 1 0.5 0.75\n1 0.5 0.5 0.1 0.1\n", "labels/held/b.txt": "", "labels/held/z.txt": "0 0.5 0.5 1 1\n",
			},
			samples: []string{"images/held/b.png - in validation", "images/held/c.png - in validation", "images/train/a.png - dog[4 2 6 6] cat[0 0 10 8] cat[[0 0 10 0 10 8 5 6]] in train"},
			found:   []string{"annotation_without_image labels/held/z.txt", "image_without_annotation images/held/c.png", "unknown_class images/train/a.png"},
		},
		{
			name: "cvat", task: dataset.Detection, classes: "[{car } {road }]",
			files: map[string]string{
				"images/a.png": pic,
				"annotations.xml": `<annotations><meta><task><labels><label><name>car</name></label><label><name>road</name></label></labels></task></meta>
					<image id="0" name="a.png" width="10" height="8" subset="Train">
						<box label="car" xtl="1" ytl="1" xbr="3" ybr="4"/><polygon label="road" points="0,0;5,0;5,5"/>
						<mask label="road" rle="1, 2, 1" left="2" top="3" width="2" height="2"/><polyline label="road" points="0,0;1,1"/><box label="boat" xtl="1" ytl="1" xbr="3" ybr="4"/></image>
					<image id="1" name="gone.png" width="1" height="1"/></annotations>`,
			},
			samples: []string{"images/a.png - car[1 1 3 4] road[[0 0 5 0 5 5]] road[[3 3 4 3 4 4 3 4] [3 4 3 5 2 5 2 4]] in train"},
			found:   []string{"annotation_without_image gone.png", "unknown_class images/a.png", "unsupported_annotation images/a.png"},
		},
		{
			name: "cvat shapes", task: dataset.Detection, classes: "[{car }]",
			files: map[string]string{"a.png": pic, "x.xml": `<annotations><image name="a.png">
				<box label="car" xtl="2" ytl="3" xbr="8" ybr="5" rotation="90"/><box label="car" xtl="1" ytl="1" xbr="3" ybr="4" rotation="360"/>
				<polyline label="car" points="0,0;1,1"/><points label="car" points="1,1"/><points label="car" points="2,2"/><cuboid label="car"/><skeleton label="car"/></image></annotations>`},
			samples: []string{"a.png - car[4 1 6 7] car[1 1 3 4] car[[6 1 6 7 4 7 4 1]]"},
			found:   []string{"converted_annotation a.png", "unsupported_annotation a.png", "unsupported_annotation a.png", "unsupported_annotation a.png", "unsupported_annotation a.png"},
		},
		{
			name: "outlines of the background too", task: dataset.Segmentation, classes: "[{x 1} {background 2}]", o: Options{Task: dataset.Segmentation},
			files: map[string]string{"a.png": pic, "annotations.json": `{"images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 8}], "categories": [{"id": 1, "name": "x"}, {"id": 2, "name": "background"}],
				"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]},
					{"id": 2, "image_id": 1, "category_id": 2, "bbox": [2, 0, 2, 8], "segmentation": [[2, 0, 4, 0, 4, 8, 2, 8]]}]}`},
			samples: []string{"a.png - x[0 0 1 1] background[2 0 4 8] x[[0 0 1 0 1 1 0 1]] background[[2 0 4 0 4 8 2 8]]"},
		},
		{
			name: "masks in colours", task: dataset.Segmentation, classes: "[]", o: Options{MaskColors: map[string]string{"road": "#ff0000", "car": "#0000ff", "sky": "#808080"}},
			files:   map[string]string{"images/a.png": pic, "masks/a.png": colourPNG(t, 10, 8, "#ff0000", "#0000ff", "#808080", "#00ff00")},
			samples: []string{"images/a.png -"},
			found:   []string{"mask_values images/a.png"},
		},
		{
			name: "cvat tags", task: dataset.Classification, classes: "[{bad } {good }]",
			files:   map[string]string{"a.png": pic, "b.png": pic, "x.xml": `<annotations><image name="a.png"><tag label="good"/></image><image name="b.png"><tag label="bad"/></image></annotations>`},
			samples: []string{"a.png good", "b.png bad"},
		},
		{
			name: "csv", task: dataset.Classification, classes: "[{bad } {good }]",
			files:   map[string]string{"list.csv": "path,label,split,line\na.png,good,train,3\nsub/b.png,bad,val,4\ngone.png,bad,val,4\na.png,good,train,3\n", "a.png": pic, "sub/b.png": pic, "c.png": pic},
			samples: []string{"a.png good in train line=3", "sub/b.png bad in validation line=4"},
			found:   []string{"annotation_without_image gone.png", "same_id a.png", "unlisted_file c.png"},
		},
		{
			name: "csv with several labels", task: dataset.MultiLabel, classes: "[{x } {y }]",
			files:   map[string]string{"list.csv": "file;labels\na.png;y|x\nb.png;\n", "a.png": pic, "b.png": pic},
			samples: []string{"a.png - #x #y", "b.png -"},
		},
		{
			name: "csv with boxes", task: dataset.Detection, classes: "[{x }]",
			files:   map[string]string{"list.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,10,8,x,1,1,2,2\na.png,10,8,x,3,3,4,4\n", "a.png": pic},
			samples: []string{"a.png - x[1 1 2 2] x[3 3 4 4]"},
		},
		{
			name: "masks beside images", task: dataset.Segmentation, classes: "[{good } {worn }]",
			files:   map[string]string{"worn/a.jpg": pic, "worn/a.png": mask, "good/b.jpg": pic, "good/b.png": greyPNG(t, 5, 4, func(i int) byte { return byte(i * 12) })},
			samples: []string{"good/b.jpg good", "worn/a.jpg worn"},
			found:   []string{"mask_not_binary good/b.jpg", "mask_size good/b.jpg", "wrong_extension good/b.jpg", "wrong_extension worn/a.jpg"},
		},
		{
			name: "masks of classes in folders", task: dataset.Segmentation, classes: "[]", o: Options{MaskClasses: []string{"ground", "road", "car"}},
			files:   map[string]string{"train/images/a.png": pic, "train/masks/a_mask.png": greyPNG(t, 10, 8, func(i int) byte { return []byte{0, 1, 2, 255, 9}[i%5] }), "train/images/b.png": pic, "train/masks/z.png": mask},
			samples: []string{"train/images/a.png - in train", "train/images/b.png - in train"},
			found:   []string{"annotation_without_image train/masks/z.png", "image_without_annotation train/images/b.png", "mask_values train/images/a.png"},
		},
		{
			name: "image folder of Hugging Face", task: dataset.Classification, classes: "[{0 } {1 }]",
			files:   map[string]string{"train/metadata.jsonl": `{"file_name": "a.png", "label": 1, "text": "one"}` + "\n" + `{"file_name": "b.png", "label": 0, "text": "two"}`, "train/a.png": pic, "train/b.png": pic},
			samples: []string{"train/a.png 1 in train text=one", "train/b.png 0 in train text=two"},
		},
		{
			name: "image folder of Hugging Face with objects", task: dataset.Detection, classes: "[{3 }]",
			files:   map[string]string{"metadata.jsonl": `{"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "categories": [3]}}`, "a.png": pic},
			samples: []string{"a.png - 3[1 2 4 6]"},
		},
		{
			name: "webdataset", task: dataset.Classification, classes: "[{2 } {10 }]",
			files: map[string]string{
				"x-train-0.tar": string(tarOf(t, member{name: "s/001.png", content: pic}, member{name: "s/001.cls", content: "10\n"}, member{name: "s/001.json", content: `{"k": 1.5}`}, member{name: "s/003.cls", content: "1"})),
				"x-val-0.tar":   string(tarOf(t, member{name: "s/002.png", content: pic}, member{name: "s/002.cls", content: "2"}, member{name: "s/002.txt", content: "a cat"})),
			},
			samples: []string{"x-train-0.tar/s/001 10 in train k=1.5", "x-val-0.tar/s/002 2 in validation text=a cat"},
			found:   []string{"annotation_without_image x-train-0.tar/s/003.cls"},
		},
		{
			name: "folders of parts", task: dataset.Classification, classes: "[{a } {b }]",
			files:   map[string]string{"train/a/1.png": pic, "train/b/2.png": pic, "val/a/1.png": pic},
			samples: []string{"train/a/1.png a in train", "train/b/2.png b in train", "val/a/1.png a in validation"},
		},
		{
			name: "without labels", task: dataset.Unlabelled, classes: "[]", o: Options{Task: dataset.Unlabelled},
			files:   map[string]string{"1.png": pic, "b/2.png": pic},
			samples: []string{"1.png -", "b/2.png -"},
		},
		{
			name: "polygons drawn into masks", task: dataset.Segmentation, classes: "[{x 0}]", o: Options{Task: dataset.Segmentation},
			files:   map[string]string{"data.yaml": "names: [x]", "a.png": pic, "a.txt": "0 0 0 0.5 0 0.5 0.5 0 0.5"},
			samples: []string{"a.png - x[0 0 5 4] x[[0 0 5 0 5 4 0 4]]"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := importAll(t, folderOf(t, c.files), c.o)
			if err != nil {
				t.Fatal(err)
			}
			if got.info.Task != c.task || fmt.Sprint(got.classes) != c.classes {
				t.Errorf("%s with %v", got.info.Task, got.classes)
			}
			if !slices.Equal(got.samples, c.samples) {
				t.Errorf("samples\n%s\nnot\n%s", strings.Join(got.samples, "\n"), strings.Join(c.samples, "\n"))
			}
			if !slices.Equal(got.found, c.found) {
				t.Errorf("findings\n%s\nnot\n%s", strings.Join(got.found, "\n"), strings.Join(c.found, "\n"))
			}
			switch c.name {
			case "masks beside images":
				if m := got.masks["worn/a.jpg"]; m[0] != 0 || m[1] != 1 {
					t.Errorf("mask %v", m)
				}
			case "outlines of the background too":
				if m := got.masks["a.png"]; fmt.Sprint(m[:6], got.info.MaskClasses) != "[1 255 0 0 255 255] [background x]" {
					t.Errorf("mask %v of %v", m, got.info.MaskClasses)
				}
			case "masks in colours":
				if m := got.masks["images/a.png"]; fmt.Sprint(m[:5], got.info.MaskClasses) != "[1 0 2 255 1] [car road sky]" {
					t.Errorf("mask %v of %v", m, got.info.MaskClasses)
				}
			case "masks of classes in folders":
				if m := got.masks["train/images/a.png"]; fmt.Sprint(m[:6]) != "[0 1 2 255 255 0]" {
					t.Errorf("mask %v", m)
				}
			case "polygons drawn into masks":
				if m := got.masks["a.png"]; bytes.Count(m, []byte{1}) != 20 || m[0] != 1 || m[5] != 0 || m[40] != 0 {
					t.Errorf("mask %v", m)
				}
			}
		})
	}
}

// An ellipse is drawn as the one that its axes and its angle give, pixel by pixel at the centres.
func TestEllipse(t *testing.T) {
	const side, cx, cy, rx, ry, angle = 40, 21.3, 17.8, 15.0, 6.0, 30.0
	got, err := importAll(t, folderOf(t, map[string]string{"a.png": greyPNG(t, side, side, flat),
		"x.xml": fmt.Sprintf(`<annotations><image name="a.png"><ellipse label="x" cx="%g" cy="%g" rx="%g" ry="%g" rotation="%g"/></image></annotations>`, cx, cy, rx, ry, angle)}), Options{Task: dataset.Segmentation})
	if err != nil || !slices.Equal(got.found, []string{"converted_annotation a.png"}) {
		t.Fatal(err, got.found)
	}
	sin, cos := math.Sincos(angle * math.Pi / 180)
	differ, inside := 0, 0
	for i, v := range got.masks["a.png"] {
		x, y := float64(i%side)+0.5-cx, float64(i/side)+0.5-cy
		u, w := (x*cos+y*sin)/rx, (y*cos-x*sin)/ry
		want := byte(0)
		if u*u+w*w <= 1 {
			want = 1
			inside++
		}
		if v != want {
			differ++
		}
	}
	if inside < 200 || differ > 2 {
		t.Errorf("%d of %d pixels differ", differ, inside)
	}
}

// Sizes, and what moves with them.
func TestAnnotationsAreScaled(t *testing.T) {
	root := folderOf(t, map[string]string{"a.png": greyPNG(t, 10, 8, flat), "a.xml": voc("a.png", object("x", 1, 2, 5, 6))})
	got, err := importAll(t, root, Options{Size: 40})
	if err != nil || got.samples[0] != "a.png - x[4 10 20 30]" {
		t.Errorf("%v, %v", got.samples, err)
	}
}

func TestLabelsOfDetectionSets(t *testing.T) {
	pic := greyPNG(t, 10, 8, flat)
	root := folderOf(t, map[string]string{
		"x/cat_1.png": pic, "x/cat_1.xml": voc("cat_1.png", object("dog", 0, 0, 9, 8), object("cat", 0, 0, 1, 1), object("cat", 1, 1, 2, 2)),
		"y/dog_1.png": pic, "y/dog_1.xml": voc("dog_1.png", object("dog", 0, 0, 9, 8), object("cat", 0, 0, 1, 1)),
	})
	for from, want := range map[string]string{"name": "cat dog", "folder": "x y", "annotation": "cat dog"} {
		got, err := importAll(t, root, Options{Task: dataset.Classification, LabelFrom: from})
		if err != nil {
			t.Fatal(err)
		}
		if l := strings.Fields(got.samples[0])[1] + " " + strings.Fields(got.samples[1])[1]; l != want {
			t.Errorf("from the %s: %s", from, l)
		}
	}
	if _, err := importAll(t, root, Options{Task: dataset.Classification}); err == nil || !strings.Contains(err.Error(), "label_from") {
		t.Errorf("labels from nowhere: %v", err)
	}
}

// huggingFaceTable is a Parquet file as Hugging Face's library writes it.
func huggingFaceTable(t testing.TB, pictures ...string) string {
	t.Helper()
	image := arrow.StructOf(arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true}, arrow.Field{Name: "path", Type: arrow.BinaryTypes.String, Nullable: true})
	meta := arrow.NewMetadata([]string{"huggingface"}, []string{`{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}`})
	schema := arrow.NewSchema([]arrow.Field{{Name: "image", Type: image, Nullable: true}, {Name: "label", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "source", Type: arrow.BinaryTypes.String, Nullable: true}}, &meta)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i, p := range pictures {
		s := b.Field(0).(*array.StructBuilder)
		s.Append(true)
		if p == "" {
			s.FieldBuilder(0).(*array.BinaryBuilder).AppendNull()
		} else {
			s.FieldBuilder(0).(*array.BinaryBuilder).Append([]byte(p))
		}
		s.FieldBuilder(1).(*array.StringBuilder).Append(fmt.Sprintf("%d.png", i))
		b.Field(1).(*array.Int64Builder).Append(int64(1 - i%2))
		b.Field(2).(*array.StringBuilder).Append("web")
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestParquet(t *testing.T) {
	pic := greyPNG(t, 10, 8, flat)
	root := folderOf(t, map[string]string{"data/train-00000-of-00001.parquet": huggingFaceTable(t, pic, pic, "", "damaged")})
	got, err := importAll(t, root, Options{Size: 8})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"data/train-00000-of-00001/0 dog in train path=0.png source=web", "data/train-00000-of-00001/1 cat in train path=1.png source=web"}
	if !slices.Equal(got.samples, want) || fmt.Sprint(got.classes) != "[{cat 0} {dog 1}]" {
		t.Errorf("%v of %v", got.samples, got.classes)
	}
	if fmt.Sprint(got.found) != "[damaged_image data/train-00000-of-00001/2 damaged_image data/train-00000-of-00001/3]" {
		t.Errorf("found %v", got.found)
	}
	whole := huggingFaceTable(t, pic)
	for _, n := range []int{4, 100, len(whole) - 5} {
		if _, err := importAll(t, folderOf(t, map[string]string{"a.parquet": whole[:n]}), Options{}); err == nil {
			t.Errorf("a table cut after %d bytes is read", n)
		}
	}
}

// What cannot be used at all says what is wrong.
func TestRefusals(t *testing.T) {
	pic := greyPNG(t, 2, 2, flat)
	for _, c := range []struct {
		name  string
		files map[string]string
		err   string
	}{
		{"yolo without names", map[string]string{"labels/a.txt": "0 0 0 1 1", "images/a.png": pic, "classes.txt": "", "images/a.txt": ""}, "Class names missing"},
		{"coco, two images of one id", map[string]string{"a.png": pic, "a.json": `{"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}]}`}, "two images have the id 1"},
		{"coco, two names of one id", map[string]string{"a.png": pic, "a.json": `{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]}`}, "have the same id 1"},
		{"coco, torn", map[string]string{"a.png": pic, "a.json": `{"images": [{"id": 1, "fil`}, "Damaged annotations"},
		{"csv, a row that is short", map[string]string{"a.png": pic, "a.csv": "path,label,z\na.png,1\n"}, "line 2 has 2 fields, the first one 3"},
		{"csv, two labels for one image", map[string]string{"a.png": pic, "a.csv": "path,label\na.png,1\na.png,2\n"}, "named twice, with different labels"},
		{"json lines, torn", map[string]string{"a.png": pic, "metadata.jsonl": "{\"file_name\": \"a.png\"}\n{\"fi"}, "line 2"},
		{"cvat, torn", map[string]string{"a.png": pic, "a.xml": "<annotations><image"}, "Damaged annotations"},
	} {
		if _, err := importAll(t, folderOf(t, c.files), Options{}); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A bomb is refused by its header, before it is decoded, and so is an empty file; the others are read.
func TestBadPictures(t *testing.T) {
	pic := greyPNG(t, 10, 8, flat)
	bomb := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x80\x00\x00\x00\x80\x00\x08\x00\x00\x00\x00"
	bomb += string([]byte{0x37, 0x9a, 0xd1, 0x3c}) // whatever its check sum is
	got, err := importAll(t, folderOf(t, map[string]string{
		"a/1.png": pic, "a/cut.png": pic[:len(pic)-20], "a/empty.jpg": "", "a/text.png": "hello", "a/large.png": greyPNG(t, 30, 30, flat), "a/bomb.png": bomb, "a/really.gif": pic,
	}), Options{Size: 8, MaxPixels: 500})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a/1.png a", "a/really.gif a"}; !slices.Equal(got.samples, want) {
		t.Errorf("read %v", got.samples)
	}
	var kinds []string
	for _, f := range got.found {
		if !strings.HasSuffix(f, "bomb.png") {
			kinds = append(kinds, f)
		}
	}
	want := []string{"damaged_image a/cut.png", "damaged_image a/empty.jpg", "damaged_image a/text.png", "too_large a/large.png", "wrong_extension a/really.gif"}
	if !slices.Equal(kinds, want) || len(got.found) != 6 {
		t.Errorf("found %v", got.found)
	}
}

// However many workers there are, the same comes in the same order.
func TestWorkersChangeNothing(t *testing.T) {
	files := map[string]string{}
	for i := range 60 {
		files[fmt.Sprintf("c%d/%02d.png", i%3, i)] = greyPNG(t, 6, 5, func(k int) byte { return byte(i * k) })
	}
	files["c0/torn.png"] = "x"
	m, err := Open(folderOf(t, files), Folder, Options{Subset: "all"})
	if err != nil {
		t.Fatal(err)
	}
	read := func(workers int) (out []Read) {
		for r, err := range m.Samples(context.Background(), workers) {
			if err != nil {
				t.Fatal(err)
			}
			r.Err = nil
			out = append(out, r)
		}
		return out
	}
	one := read(1)
	for _, workers := range []int{2, 7} {
		if !reflect.DeepEqual(read(workers), one) {
			t.Errorf("%d workers read otherwise", workers)
		}
	}
	for range m.Samples(context.Background(), 3) {
		break // leaving early must not leave goroutines that hang
	}
}

// An outline, filled, is the mask again.
func TestOutlines(t *testing.T) {
	for _, rows := range [][]string{
		{"#"}, {"##", "##"}, {"#.", ".#"}, {".#", "#."}, {"###", "#.#", "###"}, {"#.#", ".#.", "#.#"}, {"....", ".##.", "...."},
		{"#####", "#...#", "#.#.#", "#...#", "#####"}, {"...", "..."},
	} {
		h, w := len(rows), len(rows[0])
		mask := make([]byte, h*w)
		for i := range mask {
			if rows[i/w][i%w] == '#' {
				mask[i] = 1
			}
		}
		rings := outline(mask, h, w, 0, 0)
		again := make([]byte, h*w)
		fill(again, h, w, rings, 1)
		if !bytes.Equal(mask, again) {
			t.Errorf("%v: %v gives %v", rows, rings, again)
		}
	}
}

// The examples were made with pycocotools 2.0.11: mask.encode(numpy.asfortranarray(m)) for masks whose counts stand beside them.
func TestCOCOCounts(t *testing.T) {
	for text, want := range map[string][]int{
		"0170P2": {0, 1, 7, 1, 71}, "0P1": {0, 32}, "9": {9}, "": nil, "e2i0?00000K": {85, 25, 15, 25, 15, 25, 15, 25, 10}, "Xo0f4f40WQi1[K[STO": {1000, 150, 150, 150, 58557, 1, 29992},
	} {
		if got, err := cocoCounts(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"P", "\x00", "oooooooooooo", "01\xff"} {
		if got, err := cocoCounts(text); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

func FuzzCOCO(f *testing.F) {
	f.Add(`{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": {"counts": "01", "size": [1, 1]}}]}`)
	f.Add(`{"images": [], "annotations": [{"segmentation": [[1, 2]]}]}`)
	pic := greyPNG(f, 3, 2, flat)
	f.Fuzz(func(t *testing.T, text string) { survive(t, map[string]string{"a.png": pic, "a.json": text}, COCO) })
}

func FuzzVOC(f *testing.F) {
	f.Add(voc("a.png", object("x", 0, 0, 1, 1), object("y", "nan", "inf", "-1", "1e300")))
	f.Add("<annotation><object><name>a</name><polygon><x1>1</x1></polygon></object></annotation>")
	pic := greyPNG(f, 3, 2, flat)
	f.Fuzz(func(t *testing.T, text string) { survive(t, map[string]string{"a.png": pic, "a.xml": text}, VOC) })
}

func FuzzCVAT(f *testing.F) {
	f.Add(`<annotations><image name="a.png"><mask label="x" rle="1,2" left="0" top="0" width="1" height="3"/><polygon label="x" points="1,1;2"/><tag label="y"/></image></annotations>`)
	pic := greyPNG(f, 3, 2, flat)
	f.Fuzz(func(t *testing.T, text string) { survive(t, map[string]string{"a.png": pic, "a.xml": text}, CVAT) })
}

func FuzzYOLO(f *testing.F) {
	f.Add("names: [a, b]", "0 0.5 0.5 1 1\n1 0 0 1 1 0 1")
	f.Add("names: {1: a}\ntrain: [x, y]", "nan inf 1e400 -1 0")
	pic := greyPNG(f, 3, 2, flat)
	f.Fuzz(func(t *testing.T, yaml, labels string) {
		survive(t, map[string]string{"a.png": pic, "a.txt": labels, "data.yaml": yaml}, YOLO)
	})
}

func FuzzTable(f *testing.F) {
	f.Add("path,label\na.png,x", `{"file_name": "a.png", "objects": {"bbox": [[1, 2, 3]], "categories": ["x"]}}`)
	f.Add("a.png,\"x\n", `{"file_name": ["a.png"], "labels": [1, null]}`)
	pic := greyPNG(f, 3, 2, flat)
	f.Fuzz(func(t *testing.T, csv, lines string) {
		survive(t, map[string]string{"a.png": pic, "a.csv": csv}, CSV)
		survive(t, map[string]string{"a.png": pic, "metadata.jsonl": lines}, HuggingFace)
	})
}

func FuzzParquet(f *testing.F) {
	f.Add(huggingFaceTable(f, greyPNG(f, 3, 2, flat)))
	f.Fuzz(func(t *testing.T, table string) { survive(t, map[string]string{"a.parquet": table}, HuggingFace) })
}

// survive reads a source: what comes must be fit for a dataset, and nothing may panic.
func survive(t *testing.T, files map[string]string, format string) {
	m, err := Open(folderOf(t, files), format, Options{Subset: "all", Size: 4, Channels: 1, MaxPixels: 1 << 16})
	if err != nil {
		return
	}
	defer m.Close()
	w, err := dataset.Create(filepath.Join(t.TempDir(), "out"), m.Info)
	if err != nil {
		return
	}
	defer w.Close() //nolint:errcheck // it may be empty
	for r, err := range m.Samples(context.Background(), 1) {
		if err != nil {
			return
		}
		if r.Err == nil {
			if err := w.AddSample(r.Sample); err != nil {
				t.Fatalf("a sample that is not fit for a dataset: %v", err)
			}
		}
	}
}
