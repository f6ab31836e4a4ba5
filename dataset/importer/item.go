package importer

import (
	"iter"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// item is one image of a source before it is read, with what the source says of it. Classes go by name.
type item struct {
	id   string
	file string // for messages: the picture's, or that of the records

	// read returns the picture's file; nil: pixels are (H, W, C) bytes of that size, valid until the next item.
	read   func() ([]byte, error)
	head   func() (picture.Header, error) // reads less than read; nil: there is no such way
	pixels []byte
	size   picture.Target

	label    string   // "": none
	labels   []string // of a multi-label source
	boxes    []box
	polygons []polygon
	mask     func(h, w int) (mask []byte, found []Finding, err error) // (h, w) of the picture, indexes of the listing's mask classes; nil: none

	// height and width are what the annotation says of the picture in pixels, channels of its depth; 0: it does not say.
	height, width, channels int
	relative                bool // boxes and polygons are in shares of the picture's size

	split string
	meta  []dataset.Pair
	found []Finding // what was seen while the annotation was read
	bad   error     // the image's annotation cannot be used, so the image cannot
}

// box is a rectangle in pixels of the picture as it is stored.
type box struct {
	x0, y0, x1, y1 float64
	class          string
}

// polygon is an outline, as in dataset.Polygon.
type polygon struct {
	class string
	rings [][]float64
}

// listing is what a format makes of a source: its images, in an order that follows from names and contents alone.
type listing struct {
	task    dataset.Task
	classes []Class // in the order of their indexes; names are unique
	// closed says that the source itself lists its classes, so that another one in an annotation is a mistake of the source.
	closed      bool
	maskClasses []string
	count       int // of items; 0 when not known beforehand
	items       iter.Seq2[item, error]
	found       []Finding
	folders     bool   // classes are folders, for messages
	base        string // prefix of their names
}

// Class is a class of a source: its name, and what the source itself calls it by.
type Class struct {
	Name   string `json:"name"`
	Source string `json:"source"` // a number, or a name; "" where it is the name
}

func classesOf(names []string) []Class {
	out := make([]Class, len(names))
	for i, n := range names {
		out[i].Name = n
	}
	return out
}

// each yields items that are known beforehand.
func each(items []item) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// sortedClasses are the classes that the items name, by name.
func sortedClasses(items []item) []Class {
	seen := map[string]bool{}
	for i := range items {
		for _, c := range items[i].classes() {
			seen[c] = true
		}
	}
	names := make([]string, 0, len(seen))
	for c := range seen {
		names = append(names, c)
	}
	slices.Sort(names)
	return classesOf(names)
}

// classes lists the names that the item's annotations hold, with repetitions.
func (it *item) classes() []string {
	var out []string
	if it.label != "" {
		out = append(out, it.label)
	}
	out = append(out, it.labels...)
	for _, b := range it.boxes {
		out = append(out, b.class)
	}
	for _, p := range it.polygons {
		out = append(out, p.class)
	}
	return out
}

// splitName gives the parts of data sets one name each: train, validation, test; another one stays.
func splitName(name string) string {
	switch strings.ToLower(name) {
	case "train", "training":
		return "train"
	case "val", "valid", "validation", "dev":
		return "validation"
	case "test", "testing", "t10k":
		return "test"
	}
	return readable(name)
}

// splitOfPath returns the part that one of the folders of a path names; "" for none.
func splitOfPath(rel string) string {
	folders := strings.Split(rel, "/")
	for _, f := range folders[:len(folders)-1] {
		if s := splitName(strings.TrimRight(f, "0123456789")); s == "train" || s == "validation" || s == "test" {
			return s
		}
	}
	return ""
}
