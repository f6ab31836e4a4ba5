// Package exporter writes a dataset as the files that other tools read: a folder for each class, COCO, or YOLO.
//
// Rules of the room: what a format cannot hold is counted and told, never dropped silently. A sample's file is named after its
// id, so that what is read again has the same ids where the id names a picture of the written format.
package exporter

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// The formats.
const (
	Folder = "folder" // CLASS/ID.png
	COCO   = "coco"   // annotations.json and ID.png
	YOLO   = "yolo"   // data.yaml, images/ID.png and labels/ID.txt
)

// Formats lists them.
var Formats = []string{Folder, COCO, YOLO}

// FormatError is a dataset that a format cannot hold; its text says which would.
type FormatError struct{ Detail string }

func (e *FormatError) Error() string { return e.Detail }

// Written is what became of a dataset.
type Written struct {
	Images int      `json:"images"`
	Lost   []string `json:"lost"` // what the format cannot hold, counted, in words
}

// Write writes the dataset below dir, which it makes.
func Write(ctx context.Context, data *dataset.Dataset, dir, format string) (*Written, error) {
	w := &writer{ctx: ctx, data: data, info: data.Info(), dir: dir, taken: map[string]bool{}, lost: map[string]int{}}
	writers := map[string]func() error{Folder: w.folder, COCO: w.coco, YOLO: w.yolo}
	write, ok := writers[format]
	if !ok {
		return nil, &FormatError{fmt.Sprintf("%q is no format; a dataset is written as %s", format, strings.Join(Formats, ", "))}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("writing the dataset as %s: %w", format, err)
	}
	if err := write(); err != nil {
		return nil, fmt.Errorf("writing the dataset as %s: %w", format, err)
	}
	out := &Written{Images: data.Len(), Lost: []string{}}
	for _, what := range slices.Sorted(maps.Keys(w.lost)) {
		out.Lost = append(out.Lost, fmt.Sprintf("%d %s", w.lost[what], what))
	}
	return out, nil
}

type writer struct {
	ctx    context.Context
	data   *dataset.Dataset
	info   dataset.Info
	dir    string
	taken  map[string]bool // names of files
	lost   map[string]int
	buffer []byte
}

// each calls write for every sample with the name of its file, relative to the folder of pictures, after writing that file. An id that
// begins with that folder's name has it once.
func (w *writer) each(folder func(s *dataset.Sample) string, write func(s *dataset.Sample, name string, height, width int) error) error {
	rows := make([]int, w.data.Len())
	for i := range rows {
		rows[i] = i
	}
	return w.some(rows, folder, write)
}

// some is each for some of the rows.
func (w *writer) some(rows []int, folder func(s *dataset.Sample) string, write func(s *dataset.Sample, name string, height, width int) error) error {
	for _, i := range rows {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		s := w.data.Sample(i)
		file, suffix, height, width, err := w.picture(i, &s)
		if err != nil {
			return err
		}
		under := folder(&s)
		rel := strings.TrimPrefix(safe(s.ID), under+"/")
		if strings.HasPrefix(under, "images/") { // YOLO's readers find labels/ by the last folder of this name
			rel = strings.ReplaceAll("/"+rel, "/images/", "/")[1:]
		}
		name, err := w.name(under, rel, suffix)
		if err != nil {
			return err
		}
		if err := w.file(path.Join(under, name), file); err != nil {
			return err
		}
		if err := write(&s, name, height, width); err != nil {
			return err
		}
	}
	return nil
}

// picture returns the file of a sample's picture, the suffix that its name should have, and its size: as it was read where it is
// kept, else as PNG, which loses nothing.
func (w *writer) picture(i int, s *dataset.Sample) (file []byte, suffix string, height, width int, err error) {
	if w.info.Encoded && s.Mask == nil {
		h, err := picture.ReadHeader(s.Image)
		if err == nil && h.Orientation <= 1 {
			return s.Image, suffixes[h.Format], h.Height, h.Width, nil
		}
	}
	pixels, err := w.data.Pixels(i, w.buffer)
	if err != nil {
		return nil, "", 0, 0, err
	}
	if w.info.Encoded {
		w.buffer = pixels
	}
	b, err := encode(pixels, w.info.Height, w.info.Width, w.info.Channels)
	return b, ".png", w.info.Height, w.info.Width, err
}

var suffixes = map[string]string{"jpeg": ".jpg", "png": ".png", "gif": ".gif", "bmp": ".bmp", "tiff": ".tif", "webp": ".webp"}

// encode writes (height, width, channels) bytes as PNG.
func encode(pixels []byte, height, width, channels int) ([]byte, error) {
	area := image.Rect(0, 0, width, height)
	var img image.Image
	if channels == 1 {
		img = &image.Gray{Pix: pixels, Stride: width, Rect: area}
	} else {
		opaque := make([]byte, 0, 4*height*width)
		for at := 0; at < len(pixels); at += 3 {
			opaque = append(opaque, pixels[at], pixels[at+1], pixels[at+2], 255)
		}
		img = &image.NRGBA{Pix: opaque, Stride: 4 * width, Rect: area}
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}

func (w *writer) file(name string, content []byte) error {
	full := filepath.Join(w.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
		return err
	}
	return os.WriteFile(full, content, 0o666)
}

// name makes a file name below a folder of an id: it keeps a suffix that says what the file is, and nothing that leads elsewhere.
func (w *writer) name(folder, id, suffix string) (string, error) {
	clean := safe(id)
	stem := clean
	if old := strings.ToLower(path.Ext(clean)); slices.Contains(picture.Extensions, old) {
		if sameFormat(old, suffix) {
			suffix = path.Ext(clean)
		}
		stem = strings.TrimSuffix(clean, path.Ext(clean))
	}
	for _, name := range []string{stem + suffix, clean + suffix} {
		if key := path.Join(folder, name); !w.taken[key] {
			w.taken[key] = true
			return name, nil
		}
	}
	return "", &FormatError{fmt.Sprintf("two images would be written to the file %q: the id %q occurs twice, or differs from another only in characters that file names cannot have", stem+suffix, id)}
}

func sameFormat(a, b string) bool {
	full := map[string]string{".jpeg": ".jpg", ".tiff": ".tif"}
	for from, to := range full {
		a, b = strings.ReplaceAll(a, from, to), strings.ReplaceAll(b, from, to)
	}
	return a == b
}

// safe makes a relative path of an id.
func safe(id string) string {
	var parts []string
	for part := range strings.SplitSeq(id, "/") {
		part = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || strings.ContainsRune(`\:*?"<>|`, r) {
				return '_'
			}
			return r
		}, strings.ToValidUTF8(part, "_"))
		switch part {
		case "", ".", "..":
			part = "_"
		}
		parts = append(parts, part)
	}
	return path.Join(parts...)
}

// folder writes CLASS/ID.png.
func (w *writer) folder() error {
	if w.info.Task != dataset.Classification {
		return &FormatError{fmt.Sprintf("folders hold one class an image, and this dataset is for %s; write it as coco", w.info.Task)}
	}
	for _, c := range w.info.Classes {
		if safe(c) != c || strings.Contains(c, "/") {
			return &FormatError{fmt.Sprintf("the class %q cannot name a folder; write the dataset as coco", c)}
		}
	}
	return w.each(func(s *dataset.Sample) string {
		return w.info.Classes[s.Label]
	}, func(s *dataset.Sample, _ string, _, _ int) error {
		w.countObjects(s, "that folders of classes cannot hold")
		return nil
	})
}

// countObjects counts what a format does not take of a sample.
func (w *writer) countObjects(s *dataset.Sample, why string) {
	w.losing(len(s.Boxes), "boxes "+why)
	w.losing(len(s.Polygons), "polygons "+why)
	if s.Mask != nil {
		w.losing(1, "masks "+why)
	}
	w.losing(len(s.Meta), "entries of meta data "+why)
}

func (w *writer) losing(n int, what string) {
	if n > 0 {
		w.lost[what] += n
	}
}
