package exporter

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/importer"
)

// imported reads a folder as the importer does and returns the dataset.
func imported(t *testing.T, dir, format string) *dataset.Dataset {
	t.Helper()
	images, err := importer.Open(dir, format, importer.Options{Subset: "all", Store: "decoded"})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	path := filepath.Join(t.TempDir(), "data.arrow")
	w, err := dataset.Create(path, images.Info)
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range images.Samples(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if err := w.AddSample(r.Sample); err != nil {
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

// What was read, written and read again is the same dataset: pixels, ids, boxes, outlines and parts.
func TestRoundTrip(t *testing.T) {
	info := dataset.Info{Task: dataset.Detection, Classes: []string{"crack", "dent"}, Height: 6, Width: 9, Channels: 3}
	var samples []dataset.Sample
	for i := range 5 {
		s := dataset.Sample{ID: fmt.Sprintf("line/%d.png", i), Label: dataset.NoLabel, Image: ramp(6*9*3, i), Height: 6, Width: 9, Split: []string{"train", "test"}[i%2]}
		if i == 4 {
			s.ID = "images/4.png"
		}
		for k := range i {
			x := float32(k) + 0.1*float32(i)
			s.Boxes = append(s.Boxes, dataset.Box{X0: x, Y0: 0.7, X1: x + 2.3, Y1: 5.9, Class: int32(k % 2)})
			if i != 3 {
				s.Polygons = append(s.Polygons, dataset.Polygon{Class: int32(k % 2), Rings: [][]float32{{x, 0.7, x + 2.3, 0.7, x + 2.3, 5.9}}})
			}
		}
		samples = append(samples, s)
	}
	for _, format := range []string{COCO, YOLO} {
		t.Run(format, func(t *testing.T) {
			first := filepath.Join(t.TempDir(), "first")
			if _, err := Write(t.Context(), open(t, info, samples...), first, format); err != nil {
				t.Fatal(err)
			}
			once := imported(t, first, format)
			second := filepath.Join(t.TempDir(), "second")
			if _, err := Write(t.Context(), once, second, format); err != nil {
				t.Fatal(err)
			}
			twice := imported(t, second, format)
			if a, b := content(once), content(twice); !slices.Equal(a, b) {
				t.Errorf("once:\n%s\ntwice:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
			}
			if format == COCO && !slices.Equal(content(once), content(open(t, info, samples...))) {
				t.Errorf("read:\n%s\nwritten:\n%s", strings.Join(content(once), "\n"), strings.Join(content(open(t, info, samples...)), "\n"))
			}
			_ = os.RemoveAll(first)
		})
	}
}

// content writes a dataset's samples as texts, sorted by id.
func content(d *dataset.Dataset) []string {
	var out []string
	for i := range d.Len() {
		s := d.Sample(i)
		out = append(out, fmt.Sprintf("%s %s %v %v %v %v", s.ID, s.Split, s.Boxes, s.Polygons, s.Labels, s.Image))
	}
	slices.Sort(out)
	return append(out, fmt.Sprintf("%v %v", d.Info().Task, d.Info().Classes))
}
