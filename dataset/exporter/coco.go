package exporter

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// The records of a COCO file, https://cocodataset.org/#format-data. Coordinates are those of the written picture.
type (
	cocoImage struct {
		ID       int       `json:"id"`
		File     string    `json:"file_name"`
		Width    int       `json:"width"`
		Height   int       `json:"height"`
		Darkroom *cocoMore `json:"darkroom,omitempty"`
	}
	// cocoMore is what a sample carries and COCO has no place for.
	cocoMore struct {
		ID    string     `json:"id,omitempty"` // where the file's name is another
		Split string     `json:"split,omitempty"`
		Meta  []cocoPair `json:"meta,omitempty"`
	}
	cocoPair struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	cocoAnnotation struct {
		ID           int       `json:"id"`
		Image        int       `json:"image_id"`
		Category     int       `json:"category_id"`
		Box          []float64 `json:"bbox,omitempty"` // x, y, width, height
		Area         float64   `json:"area"`
		Crowd        int       `json:"iscrowd"`
		Segmentation any       `json:"segmentation,omitempty"`
	}
	cocoRuns struct {
		Counts []int  `json:"counts"` // runs of outside and inside, down the columns
		Size   [2]int `json:"size"`   // height, width
	}
	cocoCategory struct {
		ID   int    `json:"id"`
		Name string `json:"name"`
	}
)

// coco writes ID.png and annotations.json; where the source has parts, a file for each, annotations_train.json, whose name tells them.
func (w *writer) coco() error {
	var parts []string
	for i := range w.data.Len() {
		if part := strings.Clone(w.data.Split(i)); !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	for _, part := range parts {
		name := "annotations.json"
		if part != "" {
			name = "annotations_" + strings.ReplaceAll(safe(part), "/", "_") + ".json"
		}
		f, err := os.Create(filepath.Join(w.dir, name))
		if err != nil {
			return err
		}
		out := &cocoFile{w: bufio.NewWriter(f), writer: w, part: part}
		err = out.write()
		if err := errors.Join(err, out.w.Flush(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// cocoFile streams the file of one part: the images while the pictures are written, the annotations in a second pass.
type cocoFile struct {
	*writer
	w           *bufio.Writer
	part        string
	rows        []int    // of the dataset
	sizes       [][2]int // of the written pictures: height, width
	annotations int
	masks       []int // category of each class of masks
}

func (c *cocoFile) write() error {
	for i := range c.data.Len() {
		if c.data.Split(i) == c.part {
			c.rows = append(c.rows, i)
		}
	}
	fmt.Fprint(c.w, `{"images":[`)
	err := c.some(c.rows, func(*dataset.Sample) string { return "" }, func(s *dataset.Sample, name string, height, width int) error {
		image := cocoImage{ID: len(c.sizes) + 1, File: name, Width: width, Height: height}
		c.sizes = append(c.sizes, [2]int{height, width})
		more := cocoMore{Split: s.Split}
		for _, pair := range s.Meta {
			more.Meta = append(more.Meta, cocoPair(pair))
		}
		if name != s.ID {
			more.ID = s.ID
		}
		if more.ID != "" || more.Split != "" || len(more.Meta) > 0 {
			image.Darkroom = &more
		}
		return c.element(image, len(c.sizes) > 1)
	})
	if err != nil {
		return err
	}
	categories := c.categories()
	fmt.Fprint(c.w, "\n],\n\"annotations\":[")
	for image, row := range c.rows {
		s := c.data.Sample(row)
		if err := c.annotate(image, &s); err != nil {
			return err
		}
	}
	fmt.Fprint(c.w, "\n],\n\"categories\":[")
	for i, category := range categories {
		if err := c.element(category, i > 0); err != nil {
			return err
		}
	}
	_, err = fmt.Fprint(c.w, "\n]}\n")
	return err
}

func (c *cocoFile) element(v any, more bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if more {
		c.w.WriteByte(',') //nolint:errcheck // Flush tells
	}
	c.w.WriteByte('\n') //nolint:errcheck // Flush tells
	_, err = c.w.Write(b)
	return err
}

// categories numbers the classes from 1, then those of masks that are not among them.
func (c *cocoFile) categories() []cocoCategory {
	var out []cocoCategory
	for i, name := range c.info.Classes {
		out = append(out, cocoCategory{i + 1, name})
	}
	for _, name := range c.info.MaskClasses {
		at := slices.Index(c.info.Classes, name)
		if at < 0 {
			at = len(out)
			out = append(out, cocoCategory{at + 1, name})
		}
		c.masks = append(c.masks, at+1)
	}
	return out
}

func (c *cocoFile) add(image int, a cocoAnnotation) error {
	c.annotations++
	a.ID, a.Image = c.annotations, image+1
	return c.element(a, c.annotations > 1)
}

// annotate writes the annotations of one image: its objects, its mask class by class, and its classes where it has no object.
func (c *cocoFile) annotate(image int, s *dataset.Sample) error {
	sy, sx := float64(c.sizes[image][0])/float64(c.info.Height), float64(c.sizes[image][1])/float64(c.info.Width)
	var all []cocoAnnotation
	if pairs(s) {
		for i, b := range s.Boxes {
			a := boxAnnotation(b, sx, sy)
			a.outline(s.Polygons[i], sx, sy)
			all = append(all, a)
		}
	} else {
		for _, b := range s.Boxes {
			all = append(all, boxAnnotation(b, sx, sy))
		}
		for _, p := range s.Polygons {
			a := boxAnnotation(bounds(p), sx, sy)
			a.outline(p, sx, sy)
			all = append(all, a)
		}
	}
	all = append(all, c.maskAnnotations(s.Mask)...)
	if s.Label != dataset.NoLabel {
		all = append(all, cocoAnnotation{Category: int(s.Label) + 1})
	}
	for _, l := range s.Labels {
		all = append(all, cocoAnnotation{Category: int(l) + 1})
	}
	for _, a := range all {
		if err := c.add(image, a); err != nil {
			return err
		}
	}
	return nil
}

// pairs reports whether the boxes and the polygons of a sample describe the same objects, in the same order.
func pairs(s *dataset.Sample) bool {
	if len(s.Boxes) != len(s.Polygons) {
		return false
	}
	for i, b := range s.Boxes {
		if b.Class != s.Polygons[i].Class {
			return false
		}
	}
	return true
}

func boxAnnotation(b dataset.Box, sx, sy float64) cocoAnnotation {
	x, y := float64(b.X0)*sx, float64(b.Y0)*sy
	width, height := float64(b.X1)*sx-x, float64(b.Y1)*sy-y
	return cocoAnnotation{Category: int(b.Class) + 1, Box: []float64{x, y, width, height}, Area: width * height}
}

// bounds returns the box around a polygon.
func bounds(p dataset.Polygon) dataset.Box {
	b := dataset.Box{X0: p.Rings[0][0], X1: p.Rings[0][0], Y0: p.Rings[0][1], Y1: p.Rings[0][1], Class: p.Class}
	for _, ring := range p.Rings {
		for i := 0; i < len(ring); i += 2 {
			b.X0, b.X1 = min(b.X0, ring[i]), max(b.X1, ring[i])
			b.Y0, b.Y1 = min(b.Y0, ring[i+1]), max(b.Y1, ring[i+1])
		}
	}
	return b
}

// outline adds a polygon: its rings, and its area by the shoelace formula.
func (a *cocoAnnotation) outline(p dataset.Polygon, sx, sy float64) {
	var rings [][]float64
	area := 0.0
	for _, ring := range p.Rings {
		var out []float64
		twice := 0.0
		for i := 0; i < len(ring); i += 2 {
			next := (i + 2) % len(ring)
			out = append(out, float64(ring[i])*sx, float64(ring[i+1])*sy)
			twice += float64(ring[i])*float64(ring[next+1]) - float64(ring[next])*float64(ring[i+1])
		}
		rings = append(rings, out)
		area += math.Abs(twice) / 2 * sx * sy
	}
	a.Segmentation, a.Area = rings, area
}

// maskAnnotations writes a mask as one run-length code for each class in it.
func (c *cocoFile) maskAnnotations(mask []byte) []cocoAnnotation {
	var out []cocoAnnotation
	for class, category := range c.masks {
		if !slices.Contains(mask, byte(class)) {
			continue
		}
		runs := cocoRuns{Size: [2]int{c.info.Height, c.info.Width}}
		area, run, inside := 0, 0, false
		x0, y0, x1, y1 := c.info.Width, c.info.Height, 0, 0
		for x := range c.info.Width {
			for y := range c.info.Height {
				in := mask[y*c.info.Width+x] == byte(class)
				if in != inside {
					runs.Counts = append(runs.Counts, run)
					run, inside = 0, in
				}
				run++
				if in {
					area++
					x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x+1), max(y1, y+1)
				}
			}
		}
		runs.Counts = append(runs.Counts, run)
		out = append(out, cocoAnnotation{Category: category, Area: float64(area), Segmentation: runs,
			Box: []float64{float64(x0), float64(y0), float64(x1 - x0), float64(y1 - y0)}})
	}
	return out
}
