package exporter

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// yolo writes data.yaml, images/ID.png and labels/ID.txt, a line for each object: its class, and its box as centre and size or
// its outline, in shares of the picture. Images that the source has in parts are in folders of these.
func (w *writer) yolo() error {
	if w.info.Task != dataset.Detection && w.info.Task != dataset.Segmentation || len(w.info.Classes) == 0 {
		return &FormatError{fmt.Sprintf("YOLO files hold boxes and outlines, and this dataset is for %s; write it as folder or coco", w.info.Task)}
	}
	parts := map[string]bool{}
	var order []string
	outlines := w.outlined()
	err := w.each(func(s *dataset.Sample) string {
		part := "train"
		if s.Split != "" {
			part = strings.ReplaceAll(safe(s.Split), "/", "_")
		}
		if !parts[part] {
			parts[part] = true
			order = append(order, part)
		}
		return path.Join("images", part)
	}, func(s *dataset.Sample, name string, _, _ int) error {
		part := "train"
		if s.Split != "" {
			part = strings.ReplaceAll(safe(s.Split), "/", "_")
		}
		label := strings.TrimSuffix(name, path.Ext(name)) + ".txt"
		return w.file(path.Join("labels", part, label), []byte(w.lines(s, outlines)))
	})
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintln(&b, "path: .")
	for _, part := range order {
		key := part
		if key == "validation" {
			key = "val"
		}
		fmt.Fprintf(&b, "%s: %s\n", quoted(key), quoted("images/"+part))
	}
	fmt.Fprintf(&b, "nc: %d\nnames:\n", len(w.info.Classes))
	for i, c := range w.info.Classes {
		fmt.Fprintf(&b, "  %d: %s\n", i, quoted(c))
	}
	return w.file("data.yaml", []byte(b.String()))
}

// quoted writes a text for YAML, in which a JSON string is one, bare where it is a plain word.
func quoted(text string) string {
	for _, r := range text {
		if !(r == '/' || r >= 'a' && r <= 'z') {
			return strconv.Quote(text)
		}
	}
	return text
}

// outlined reports whether every object has an outline: then these are written, and else the boxes, since a file holds one kind.
func (w *writer) outlined() bool {
	any := false
	for i := range w.data.Len() {
		s := w.data.Sample(i)
		if len(s.Boxes) > 0 && !pairs(&s) {
			return false
		}
		any = any || len(s.Polygons) > 0
	}
	return any
}

func (w *writer) lines(s *dataset.Sample, outlines bool) string {
	var b strings.Builder
	put := func(v float64, by int) {
		b.WriteByte(' ')
		b.WriteString(strconv.FormatFloat(v/float64(by), 'f', -1, 64))
	}
	if s.Mask != nil {
		w.losing(1, "masks that YOLO files cannot hold")
	}
	w.losing(len(s.Meta), "entries of meta data that YOLO files cannot hold")
	if outlines {
		for _, p := range s.Polygons {
			b.WriteString(strconv.Itoa(int(p.Class)))
			w.losing(len(p.Rings)-1, "further rings of outlines, of which YOLO files hold one")
			for i, v := range p.Rings[0] {
				put(float64(v), []int{w.info.Width, w.info.Height}[i%2])
			}
			b.WriteByte('\n')
		}
		return b.String()
	}
	w.losing(len(s.Polygons), "outlines, since not every object has one and YOLO files hold one kind")
	for _, o := range s.Boxes {
		b.WriteString(strconv.Itoa(int(o.Class)))
		x0, y0, x1, y1 := float64(o.X0), float64(o.Y0), float64(o.X1), float64(o.Y1)
		put((x0+x1)/2, w.info.Width)
		put((y0+y1)/2, w.info.Height)
		put(x1-x0, w.info.Width)
		put(y1-y0, w.info.Height)
		b.WriteByte('\n')
	}
	return b.String()
}
