package importer

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// maxAnnotation bounds the bytes of a file of annotations that is read as a whole.
const maxAnnotation = 1 << 30

// vocFile is one file of annotations as Pascal VOC and LabelImg write it.
type vocFile struct {
	XMLName  xml.Name
	Filename string `xml:"filename"`
	Size     struct {
		Width  string `xml:"width"`
		Height string `xml:"height"`
		Depth  string `xml:"depth"`
	} `xml:"size"`
	Objects []struct {
		Name      string    `xml:"name"`
		Box       *vocBox   `xml:"bndbox"`
		Polygon   *vocPoint `xml:"polygon"`
		Difficult string    `xml:"difficult"`
	} `xml:"object"`
}

type vocBox struct {
	XMin string `xml:"xmin"`
	YMin string `xml:"ymin"`
	XMax string `xml:"xmax"`
	YMax string `xml:"ymax"`
}

// vocPoint is the points of an outline in the order of the file: x1, y1, x2, y2, ….
type vocPoint struct {
	Points []struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
	} `xml:",any"`
}

// decodeXML reads a file of any encoding that the web knows.
func decodeXML(b []byte, to any) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(label string, r io.Reader) (io.Reader, error) {
		e, err := htmlindex.Get(label)
		if err != nil {
			return nil, fmt.Errorf("it is in the encoding %q, which is not known", label)
		}
		return e.NewDecoder().Reader(r), nil
	}
	return d.Decode(to)
}

// isVOC reports whether a file begins as a file of VOC annotations does.
func isVOC(b []byte) bool { return rootElement(b) == "annotation" }

func rootElement(b []byte) string {
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		if e, ok := t.(xml.StartElement); ok {
			return e.Name.Local
		}
	}
}

// openVOC reads one file of annotations for each image. An image belongs to the annotation of its stem; what the annotation calls it is
// only asked for when there is none.
func (s source) openVOC(o Options) (*listing, error) {
	images := s.stems()
	l := &listing{task: dataset.Detection}
	var items []item
	mentioned := map[string]bool{}
	splits := s.splitLists()
	for _, f := range s.files {
		if strings.ToLower(path.Ext(f)) != ".xml" || hidden(f) {
			continue
		}
		v, err := s.vocFile(f)
		var foreign errForeign
		if errors.As(err, &foreign) {
			continue
		}
		stem := strings.TrimSuffix(path.Base(f), path.Ext(f))
		picture := images.match(f, stem)
		if picture == "" && err == nil {
			picture = images.match(f, strings.TrimSuffix(path.Base(v.Filename), path.Ext(v.Filename)))
		}
		switch {
		case err != nil && picture != "":
			items = append(items, item{id: readable(picture), file: picture, bad: &annotationError{f, err}})
		case err != nil:
			l.found = append(l.found, Finding{DamagedAnnotation, readable(f), err.Error()})
		case picture == "":
			l.found = append(l.found, Finding{NoImage, readable(f), fmt.Sprintf("no picture of the source is named %s, nor %q as the annotation says", stem, v.Filename)})
		default:
			it := s.pictureItem(picture)
			v.into(&it)
			it.split = splits.of(picture, stem)
			items = append(items, it)
		}
		mentioned[picture] = picture != ""
	}
	if len(items) == 0 && len(l.found) == 0 {
		return nil, sourceErrorf("No annotations found", "The source holds no Pascal VOC annotations, which are XML files with the element <annotation>.")
	}
	l.found = append(l.found, s.unmentioned(mentioned)...)
	l.items, l.count, l.classes = each(items), len(items), sortedClasses(items)
	return l, nil
}

// errForeign is a file of another kind.
type errForeign struct{ what string }

func (e errForeign) Error() string { return e.what }

// annotationError is an annotation that makes its image unusable.
type annotationError struct {
	file string
	err  error
}

func (e *annotationError) Error() string {
	return fmt.Sprintf("its annotation %s cannot be read: %v", e.file, e.err)
}
func (e *annotationError) Unwrap() error { return e.err }

func (s source) vocFile(f string) (*vocFile, error) {
	b, err := s.read(f, maxAnnotation)
	if err != nil {
		return nil, err
	}
	if root := rootElement(b); root != "annotation" && root != "" {
		return nil, errForeign{root}
	}
	if len(b) == 0 {
		return nil, errors.New("the file is empty")
	}
	var v vocFile
	if err := decodeXML(b, &v); err != nil {
		return nil, noEOF(err)
	}
	for i, o := range v.Objects {
		if strings.TrimSpace(o.Name) == "" {
			return nil, fmt.Errorf("object %d has no name", i)
		}
	}
	return &v, nil
}

// into adds what the file says to the item.
func (v *vocFile) into(it *item) {
	it.width, it.height, it.channels = whole(v.Size.Width), whole(v.Size.Height), whole(v.Size.Depth)
	if v.Filename != "" && path.Base(strings.ReplaceAll(v.Filename, "\\", "/")) != path.Base(it.file) {
		it.found = append(it.found, Finding{NameDiffers, it.id, fmt.Sprintf("the annotation calls it %q", readable(v.Filename))})
	}
	difficult := 0
	for _, o := range v.Objects {
		class := readable(strings.TrimSpace(o.Name))
		if o.Difficult == "1" {
			difficult++
		}
		if o.Polygon != nil {
			var ring []float64
			for _, p := range o.Polygon.Points {
				ring = append(ring, number(p.Text))
			}
			it.polygons = append(it.polygons, polygon{class, [][]float64{ring}})
		}
		switch {
		case o.Box != nil:
			it.boxes = append(it.boxes, box{number(o.Box.XMin), number(o.Box.YMin), number(o.Box.XMax), number(o.Box.YMax), class})
		case o.Polygon == nil:
			it.found = append(it.found, Finding{Unsupported, it.id, fmt.Sprintf("an object %q with neither a box nor a polygon", class)})
		}
	}
	if difficult > 0 {
		it.meta = append(it.meta, dataset.Pair{Name: "difficult", Value: strconv.Itoa(difficult)})
	}
}

// pictureItem is the item of a picture's file.
func (s source) pictureItem(rel string) item {
	return item{id: readable(rel), file: rel,
		read: func() ([]byte, error) { return s.read(rel, maxFile) }, head: func() (picture.Header, error) { return s.header(rel) }}
}

// unmentioned lists the pictures without an annotation.
func (s source) unmentioned(mentioned map[string]bool) []Finding {
	var out []Finding
	for _, f := range s.files {
		if isPicture(f) && !mentioned[f] {
			out = append(out, Finding{Unlisted, readable(f), "there is no annotation of it"})
		}
	}
	return out
}

// stems are the pictures of a source by the stem of their names.
type stems map[string][]string

func (s source) stems() stems {
	out := stems{}
	for _, f := range s.files {
		if isPicture(f) {
			stem := strings.TrimSuffix(path.Base(f), path.Ext(f))
			out[stem] = append(out[stem], f)
		}
	}
	return out
}

// match returns the picture of that stem, of several the one that shares most folders with the annotation's file; "" for none.
func (m stems) match(annotation, stem string) string {
	best, most := "", -1
	for _, f := range m[stem] {
		if n := shared(annotation, f); n > most {
			best, most = f, n
		}
	}
	return best
}

// shared counts the folders that two paths have in common, by name.
func shared(a, b string) int {
	have := map[string]bool{}
	for _, f := range strings.Split(path.Dir(a), "/") {
		have[f] = true
	}
	n := 0
	for _, f := range strings.Split(path.Dir(b), "/") {
		if have[f] && f != "." {
			n++
		}
	}
	return n
}

func hidden(f string) bool { return strings.HasPrefix(path.Base(f), ".") }

// splitLists are the parts that lists in text files (ImageSets/Main/train.txt, validation.txt) put images into, by stem.
type splitLists map[string]string

func (s source) splitLists() splitLists {
	out := splitLists{}
	for _, f := range s.files {
		if path.Ext(f) != ".txt" {
			continue
		}
		split := splitName(strings.TrimSuffix(path.Base(f), ".txt"))
		if split != "train" && split != "validation" && split != "test" {
			continue
		}
		b, err := s.read(f, maxAnnotation)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(b), "\n") {
			line = strings.TrimSpace(line)
			name := path.Base(line)
			if line == "" || strings.ContainsAny(line, " \t") {
				continue
			}
			if ext := path.Ext(name); pictureExtension(ext) {
				name = strings.TrimSuffix(name, ext)
			}
			out[name] = split
		}
	}
	return out
}

// of returns the part of an image: that of a list, else that of a folder.
func (l splitLists) of(rel, stem string) string {
	if s, ok := l[stem]; ok {
		return s
	}
	return splitOfPath(rel)
}

func pictureExtension(ext string) bool {
	for _, e := range picture.Extensions {
		if strings.EqualFold(e, ext) {
			return true
		}
	}
	return false
}
