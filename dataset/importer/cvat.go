package importer

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// cvatFile is what CVAT exports as "CVAT for images 1.1".
type cvatFile struct {
	Meta struct {
		Task    cvatLabels `xml:"task"`
		Job     cvatLabels `xml:"job"`
		Project cvatLabels `xml:"project"`
	} `xml:"meta"`
	Images []cvatImage `xml:"image"`
	Tracks []struct{}  `xml:"track"`
}

type cvatLabels struct {
	Labels []struct {
		Name string `xml:"name"`
	} `xml:"labels>label"`
}

type cvatImage struct {
	Name     string      `xml:"name,attr"`
	Width    string      `xml:"width,attr"`
	Height   string      `xml:"height,attr"`
	Subset   string      `xml:"subset,attr"`
	Boxes    []cvatShape `xml:"box"`
	Polygons []cvatShape `xml:"polygon"`
	Masks    []cvatShape `xml:"mask"`
	Tags     []cvatShape `xml:"tag"`
	Lines    []cvatShape `xml:"polyline"`
	Points   []cvatShape `xml:"points"`
	Ellipses []cvatShape `xml:"ellipse"`
	Cuboids  []cvatShape `xml:"cuboid"`
	Skeleton []cvatShape `xml:"skeleton"`
}

type cvatShape struct {
	Label  string `xml:"label,attr"`
	X0     string `xml:"xtl,attr"`
	Y0     string `xml:"ytl,attr"`
	X1     string `xml:"xbr,attr"`
	Y1     string `xml:"ybr,attr"`
	Turned string `xml:"rotation,attr"`
	Points string `xml:"points,attr"`
	RLE    string `xml:"rle,attr"`
	Left   string `xml:"left,attr"`
	Top    string `xml:"top,attr"`
	CX     string `xml:"cx,attr"`
	CY     string `xml:"cy,attr"`
	RX     string `xml:"rx,attr"`
	RY     string `xml:"ry,attr"`
	Width  string `xml:"width,attr"`
	Height string `xml:"height,attr"`
}

func (s source) openCVAT(o Options) (*listing, error) {
	l := &listing{}
	var items []item
	declared := map[string]bool{}
	mentioned := map[string]bool{}
	pictures := s.finder()
	files := 0
	for _, f := range s.files {
		if strings.ToLower(path.Ext(f)) != ".xml" || hidden(f) {
			continue
		}
		b, err := s.read(f, maxAnnotation)
		if err == nil && rootElement(b) != "annotations" {
			continue
		}
		var c cvatFile
		if err == nil {
			err = decodeXML(b, &c)
		}
		if err != nil {
			return nil, sourceErrorf("Damaged annotations", "The file %s cannot be read: %v. Export it again.", f, noEOF(err))
		}
		files++
		if len(c.Tracks) > 0 {
			l.found = append(l.found, Finding{Unsupported, readable(f), fmt.Sprintf("%d tracks: annotations of a video are exported with \"CVAT for images\"", len(c.Tracks))})
		}
		for _, labels := range []cvatLabels{c.Meta.Task, c.Meta.Job, c.Meta.Project} {
			for _, n := range labels.Labels {
				if name := readable(strings.TrimSpace(n.Name)); name != "" && !declared[name] {
					declared[name] = true
					l.classes = append(l.classes, Class{Name: name})
				}
			}
		}
		for _, image := range c.Images {
			rel, ok := pictures.find(image.Name)
			if !ok {
				l.found = append(l.found, Finding{NoImage, readable(image.Name), fmt.Sprintf("%s has annotations of it, and the source holds no such picture", f)})
				continue
			}
			mentioned[rel] = true
			items = append(items, image.item(s, rel))
		}
	}
	if files == 0 {
		return nil, sourceErrorf("No annotations found", "The source holds no CVAT annotations, which are XML files with the element <annotations>.")
	}
	l.found = append(l.found, s.unmentioned(mentioned)...)
	l.closed = len(l.classes) > 0
	if !l.closed {
		l.classes = sortedClasses(items)
	}
	l.task = cvatTask(items)
	l.items, l.count = each(items), len(items)
	return l, nil
}

// cvatTask tells what the annotations are for: objects; else tags, of which an image has one or several.
func cvatTask(items []item) dataset.Task {
	task := dataset.Classification
	for i := range items {
		it := &items[i]
		switch {
		case len(it.boxes)+len(it.polygons) > 0:
			return dataset.Detection
		case len(it.labels) != 1:
			task = dataset.MultiLabel
		}
	}
	if task == dataset.Classification {
		for i := range items {
			items[i].label, items[i].labels = items[i].labels[0], nil
		}
	}
	return task
}

func (c *cvatImage) item(s source, rel string) item {
	it := s.pictureItem(rel)
	it.width, it.height, it.split = whole(c.Width), whole(c.Height), splitOfPath(rel)
	if c.Subset != "" && c.Subset != "default" {
		it.split = splitName(c.Subset)
	}
	unsupported := func(what string, n int) {
		if n > 0 {
			it.found = append(it.found, Finding{Unsupported, it.id, fmt.Sprintf("%d of the kind %s", n, what)})
		}
	}
	converted := func(what string, n int) {
		if n > 0 {
			it.found = append(it.found, Finding{Converted, it.id, fmt.Sprintf("%d of the kind %s", n, what)})
		}
	}
	turned := 0
	for _, b := range c.Boxes {
		if ring := b.corners(); ring != nil {
			turned++
			it.polygons = append(it.polygons, polygon{className(b.Label), [][]float64{ring}})
			it.boxes = append(it.boxes, around(ring, className(b.Label)))
			continue
		}
		it.boxes = append(it.boxes, box{number(b.X0), number(b.Y0), number(b.X1), number(b.Y1), className(b.Label)})
	}
	for _, p := range c.Polygons {
		var ring []float64
		for _, point := range strings.Split(p.Points, ";") {
			x, y, _ := strings.Cut(point, ",")
			ring = append(ring, number(x), number(y))
		}
		it.polygons = append(it.polygons, polygon{className(p.Label), [][]float64{ring}})
	}
	for _, e := range c.Ellipses {
		it.polygons = append(it.polygons, polygon{className(e.Label), [][]float64{e.ellipse()}})
	}
	converted("rotated box", turned)
	converted("ellipse", len(c.Ellipses))
	for _, m := range c.Masks {
		rings, err := m.mask()
		if err != nil {
			it.bad = &annotationError{"mask", err}
		} else {
			it.polygons = append(it.polygons, polygon{className(m.Label), rings})
		}
	}
	for _, t := range c.Tags {
		it.labels = append(it.labels, className(t.Label))
	}
	unsupported("polyline", len(c.Lines))
	unsupported("points", len(c.Points))
	unsupported("cuboid", len(c.Cuboids))
	unsupported("skeleton", len(c.Skeleton))
	return it
}

// corners are those of a box that is turned about its centre, clockwise in degrees, as CVAT does; nil for one that is not.
func (c *cvatShape) corners() []float64 {
	angle := number(c.Turned)
	if angle != angle || math.Mod(angle, 360) == 0 {
		return nil
	}
	x0, y0, x1, y1 := number(c.X0), number(c.Y0), number(c.X1), number(c.Y1)
	return turnedRing((x0+x1)/2, (y0+y1)/2, angle, []float64{(x0 - x1) / 2, (y0 - y1) / 2, (x1 - x0) / 2, (y0 - y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, (x0 - x1) / 2, (y1 - y0) / 2})
}

// ellipsePoints is how many points an ellipse becomes: its area is then less by 0.13 %.
const ellipsePoints = 72

// ellipse is the outline of an ellipse, turned as a box is.
func (c *cvatShape) ellipse() []float64 {
	rx, ry, angle := number(c.RX), number(c.RY), number(c.Turned)
	if angle != angle {
		angle = 0
	}
	offsets := make([]float64, 0, 2*ellipsePoints)
	for i := range ellipsePoints {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / ellipsePoints)
		offsets = append(offsets, rx*cos, ry*sin)
	}
	return turnedRing(number(c.CX), number(c.CY), angle, offsets)
}

// turnedRing turns offsets from a centre clockwise by an angle in degrees, the axis y pointing down.
func turnedRing(cx, cy, angle float64, offsets []float64) []float64 {
	sin, cos := math.Sincos(angle * math.Pi / 180)
	ring := make([]float64, len(offsets))
	for i := 0; i < len(offsets); i += 2 {
		x, y := offsets[i], offsets[i+1]
		ring[i], ring[i+1] = cx+x*cos-y*sin, cy+x*sin+y*cos
	}
	return ring
}

func className(label string) string { return readable(strings.TrimSpace(label)) }

// mask turns run lengths, row by row within their rectangle, into outlines.
func (c *cvatShape) mask() ([][]float64, error) {
	var counts []int
	for _, n := range strings.Split(c.RLE, ",") {
		v, err := strconv.Atoi(strings.TrimSpace(n))
		if err != nil {
			return nil, errors.New("its run lengths are no numbers")
		}
		counts = append(counts, v)
	}
	h, w := whole(c.Height), whole(c.Width)
	mask, err := runs(counts, h, w, false)
	if err != nil {
		return nil, err
	}
	return outline(mask, h, w, float64(whole(c.Left)), float64(whole(c.Top))), nil
}

// finder finds pictures by what annotations call them.
type finder map[string][]string // by base name

func (s source) finder() finder {
	m := finder{}
	for _, f := range s.files {
		if isPicture(f) {
			m[path.Base(f)] = append(m[path.Base(f)], f)
		}
	}
	return m
}

// find returns the picture of that path; else that whose path ends so; else that of its base name, where only one is.
func (m finder) find(name string) (string, bool) {
	name = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, "\\", "/")), "/")
	candidates := m[path.Base(name)]
	if len(candidates) == 1 {
		return candidates[0], true
	}
	match, n := "", 0
	for _, f := range candidates {
		switch {
		case f == name:
			return f, true
		case strings.HasSuffix(f, "/"+name):
			match = f
			n++
		}
	}
	return match, n == 1
}
