package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// cocoFile is the part of COCO's format that is read.
type cocoFile struct {
	Images []struct {
		ID       json.Number `json:"id"`
		FileName string      `json:"file_name"`
		Width    float64     `json:"width"`
		Height   float64     `json:"height"`
	} `json:"images"`
	Annotations []cocoAnnotation `json:"annotations"`
	Categories  []struct {
		ID   json.Number `json:"id"`
		Name string      `json:"name"`
	} `json:"categories"`
}

type cocoAnnotation struct {
	ID           json.Number     `json:"id"`
	Image        json.Number     `json:"image_id"`
	Category     json.Number     `json:"category_id"`
	Box          []*float64      `json:"bbox"`
	Segmentation json.RawMessage `json:"segmentation"`
	Crowd        json.Number     `json:"iscrowd"`
}

// isCOCO tells by the beginning of a file.
func isCOCO(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) && (bytes.Contains(b, []byte(`"images"`)) || bytes.Contains(b, []byte(`"categories"`)))
}

// cocoFiles finds the files of annotations.
func (s source) cocoFiles() []string {
	var out []string
	for _, f := range s.files {
		if strings.ToLower(path.Ext(f)) == ".json" && !hidden(f) && isCOCO(s.head(f)) {
			out = append(out, f)
		}
	}
	return out
}

// head returns the beginning of a file; nothing of one that cannot be read.
func (s source) head(f string) []byte {
	r, err := s.open(f)
	if err != nil {
		return nil
	}
	defer r.Close()
	b := make([]byte, headBytes)
	n := 0
	for n < len(b) {
		k, err := r.Read(b[n:])
		n += k
		if err != nil {
			break
		}
	}
	return b[:n]
}

func (s source) openCOCO(o Options) (*listing, error) {
	files := s.cocoFiles()
	if len(files) == 0 {
		return nil, sourceErrorf("No annotations found", "The source holds no COCO annotations, which are JSON files with \"images\", \"annotations\" and \"categories\".")
	}
	l := &listing{task: dataset.Detection, closed: true}
	c := &cocoReader{source: s, listing: l, names: map[string]string{}, mentioned: map[string]bool{}, pictures: s.finder()}
	for _, f := range files {
		if err := c.file(f); err != nil {
			return nil, sourceErrorf("Damaged annotations", "The file %s cannot be read: %v. Mend it, or export it again.", f, noEOF(err))
		}
	}
	l.found = append(l.found, s.unmentioned(c.mentioned)...)
	l.items, l.count = each(c.items), len(c.items)
	return l, nil
}

type cocoReader struct {
	source
	*listing
	pictures  finder
	names     map[string]string // of categories by id
	mentioned map[string]bool
	items     []item
}

func (c *cocoReader) file(f string) error {
	b, err := c.read(f, maxAnnotation)
	if err != nil {
		return err
	}
	var v cocoFile
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if err := c.categories(&v); err != nil {
		return err
	}
	split := cocoSplit(f)
	place := map[string]int{} // of images by id; -1: without a picture
	for _, m := range v.Images {
		if _, ok := place[m.ID.String()]; ok {
			return fmt.Errorf("two images have the id %s", m.ID)
		}
		rel, ok := c.pictures.find(m.FileName)
		if !ok {
			place[m.ID.String()] = -1
			c.found = append(c.found, Finding{NoImage, readable(m.FileName), fmt.Sprintf("%s lists it, and the source holds no such picture", f)})
			continue
		}
		c.mentioned[rel] = true
		it := c.pictureItem(rel)
		it.width, it.height, it.split = size(m.Width), size(m.Height), splitOfPath(rel)
		if split != "" {
			it.split = split
		}
		place[m.ID.String()] = len(c.items)
		c.items = append(c.items, it)
	}
	for i := range v.Annotations {
		a := &v.Annotations[i]
		at, ok := place[a.Image.String()]
		switch {
		case !ok:
			c.found = append(c.found, Finding{NoImage, fmt.Sprintf("annotation %s", a.ID), fmt.Sprintf("%s lists no image with the id %q", f, a.Image)})
		case at >= 0:
			c.annotate(&c.items[at], a)
		}
	}
	return nil
}

func size(f float64) int {
	if !(f >= 0 && f <= math.MaxInt32) {
		return 0
	}
	return int(f)
}

// categories adds the classes of a file, in the order of their ids. Names stand for classes: one id with two names in one source is an error.
func (c *cocoReader) categories(v *cocoFile) error {
	cats := v.Categories
	sort.SliceStable(cats, func(i, j int) bool {
		a, _ := cats[i].ID.Float64()
		b, _ := cats[j].ID.Float64()
		return a < b
	})
	clear(c.names) // ids are those of one file
	for _, k := range cats {
		name := className(k.Name)
		if name == "" {
			return fmt.Errorf("the category %s has no name", k.ID)
		}
		if old, ok := c.names[k.ID.String()]; ok {
			return fmt.Errorf("the categories %q and %q have the same id %s", old, name, k.ID)
		}
		c.names[k.ID.String()] = name
		known := false
		for i := range c.classes {
			if c.classes[i].Name == name {
				if known = true; c.classes[i].Source != k.ID.String() && !strings.Contains(c.classes[i].Source, k.ID.String()) {
					c.classes[i].Source += ", " + k.ID.String()
				}
			}
		}
		if !known {
			c.classes = append(c.classes, Class{Name: name, Source: k.ID.String()})
		}
	}
	return nil
}

func (c *cocoReader) annotate(it *item, a *cocoAnnotation) {
	class, ok := c.names[a.Category.String()]
	if !ok {
		it.found = append(it.found, Finding{UnknownClass, it.id, fmt.Sprintf("an annotation of the category %q, which the file does not list", a.Category)})
		return
	}
	if len(a.Box) == 4 {
		v := [4]float64{}
		for i, p := range a.Box {
			if v[i] = math.NaN(); p != nil {
				v[i] = *p
			}
		}
		it.boxes = append(it.boxes, box{v[0], v[1], v[0] + v[2], v[1] + v[3], class})
	}
	rings, err := cocoOutline(a.Segmentation)
	if err != nil {
		it.bad = &annotationError{fmt.Sprintf("(annotation %s)", a.ID), err}
		return
	}
	if len(rings) > 0 {
		it.polygons = append(it.polygons, polygon{class, rings})
	}
	if len(rings) == 0 && len(a.Box) == 0 {
		it.labels = append(it.labels, class)
	}
}

// cocoOutline reads a segmentation: rings, or run lengths down the columns, compressed or not.
func cocoOutline(raw json.RawMessage) ([][]float64, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if raw[0] == '[' {
		var rings [][]float64
		if err := json.Unmarshal(raw, &rings); err != nil {
			return nil, fmt.Errorf("its polygons: %w", err)
		}
		return rings, nil
	}
	var r struct {
		Counts json.RawMessage `json:"counts"`
		Size   []int           `json:"size"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("its run lengths: %w", err)
	}
	if len(r.Size) != 2 {
		return nil, errors.New("its run lengths lack their size")
	}
	var counts []int
	if text := ""; json.Unmarshal(r.Counts, &text) == nil {
		var err error
		if counts, err = cocoCounts(text); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(r.Counts, &counts); err != nil {
		return nil, fmt.Errorf("its run lengths: %w", err)
	}
	mask, err := runs(counts, r.Size[0], r.Size[1], true)
	if err != nil {
		return nil, err
	}
	return outline(mask, r.Size[0], r.Size[1], 0, 0), nil
}

// cocoSplit tells the part by the name of a file, instances_train2017.json.
func cocoSplit(f string) string {
	name := strings.TrimSuffix(path.Base(f), path.Ext(f))
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return r == '_' || r == '-' || r == '.' }) {
		word = strings.TrimRight(word, "0123456789")
		if s := splitName(word); s == "train" || s == "validation" || s == "test" {
			return s
		}
	}
	return splitOfPath(f)
}

// text writes a JSON scalar as meta data has it.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return readable(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
