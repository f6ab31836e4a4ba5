package importer

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/darkroom-dev/darkroom/dataset"
)

// yoloFiles are the files that describe a data set of YOLO: data.yaml, or another YAML file with names.
func (s source) yoloFile() string {
	for _, f := range s.files {
		ext := path.Ext(f)
		if (ext == ".yaml" || ext == ".yml") && !hidden(f) {
			if names, _, err := s.yoloNames(f); err == nil && len(names) > 0 {
				return f
			}
		}
	}
	return ""
}

// yoloNames reads the names by id, in the order of the ids, and the parts by path.
func (s source) yoloNames(f string) ([]Class, map[string]string, error) {
	b, err := s.read(f, 1<<24)
	if err != nil {
		return nil, nil, err
	}
	var v struct {
		Names yaml.Node `yaml:"names"`
		Train yaml.Node `yaml:"train"`
		Val   yaml.Node `yaml:"val"`
		Test  yaml.Node `yaml:"test"`
	}
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, nil, err
	}
	var classes []Class
	switch v.Names.Kind {
	case yaml.SequenceNode:
		for i, n := range v.Names.Content {
			classes = append(classes, Class{className(n.Value), strconv.Itoa(i)})
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(v.Names.Content); i += 2 {
			if _, err := strconv.Atoi(v.Names.Content[i].Value); err != nil {
				return nil, nil, fmt.Errorf("the class %q has no number", v.Names.Content[i].Value)
			}
			classes = append(classes, Class{className(v.Names.Content[i+1].Value), v.Names.Content[i].Value})
		}
		slices.SortStableFunc(classes, func(a, b Class) int {
			x, _ := strconv.Atoi(a.Source)
			y, _ := strconv.Atoi(b.Source)
			return x - y
		})
	}
	return classes, yoloParts(map[string]yaml.Node{"train": v.Train, "validation": v.Val, "test": v.Test}), nil
}

// yoloParts are the parts by the folders or lists that they are said to lie in.
func yoloParts(nodes map[string]yaml.Node) map[string]string {
	parts := map[string]string{}
	for split, n := range nodes {
		values := []*yaml.Node{&n}
		if n.Kind == yaml.SequenceNode {
			values = n.Content
		}
		for _, v := range values {
			if p := strings.Trim(path.Clean("/"+strings.ReplaceAll(v.Value, "\\", "/")), "/"); v.Value != "" && p != "" {
				parts[p] = split
			}
		}
	}
	return parts
}

func (s source) openYOLO(o Options) (*listing, error) {
	l := &listing{task: dataset.Detection, closed: true}
	parts := map[string]string{}
	if f := s.yoloFile(); f != "" {
		var err error
		if l.classes, parts, err = s.yoloNames(f); err != nil {
			return nil, sourceErrorf("Damaged annotations", "The file %s cannot be read: %v.", f, err)
		}
	} else if names := s.namesFile("classes.txt"); names != nil {
		l.classes = names
	} else if o.Classes != nil {
		for i, n := range o.Classes {
			l.classes = append(l.classes, Class{n, strconv.Itoa(i)})
		}
	} else {
		return nil, sourceErrorf("Class names missing", "The labels of YOLO are numbers, and the source holds no data.yaml (nor classes.txt) that says what they mean. Add it, or name the classes in the order of their numbers in the argument \"classes\".")
	}
	y := &yolo{source: s, names: map[string]string{}}
	for _, c := range l.classes {
		y.names[c.Source] = c.Name
	}
	var items []item
	labels := map[string]bool{}
	lists := s.splitLists()
	for _, f := range s.files {
		if !isPicture(f) {
			continue
		}
		it := s.pictureItem(f)
		it.relative = true
		label := y.labelFile(f)
		if label == "" {
			it.found = append(it.found, Finding{NoAnnotation, it.id, "there is no file of labels; YOLO takes it for an image without objects"})
		} else {
			labels[label] = true
			y.annotate(&it, label)
		}
		it.split = yoloSplit(f, parts, lists)
		items = append(items, it)
	}
	l.found = append(l.found, y.orphans(labels)...)
	if len(items) == 0 {
		return nil, sourceErrorf("No images found", "The source holds no pictures.")
	}
	l.items, l.count = each(items), len(items)
	return l, nil
}

type yolo struct {
	source
	names map[string]string // of classes by number
}

// labelFile returns the file of labels of a picture: beside it, or below labels/ where the picture is below images/.
func (y *yolo) labelFile(picture string) string {
	stem := strings.TrimSuffix(picture, path.Ext(picture)) + ".txt"
	candidates := []string{stem}
	if i := strings.LastIndex("/"+stem, "/images/"); i >= 0 {
		candidates = append(candidates, strings.TrimPrefix(("/" + stem)[:i]+"/labels/"+("/" + stem)[i+len("/images/"):], "/"))
	}
	for _, c := range candidates {
		if _, ok := y.entries[c]; ok {
			return c
		}
	}
	return ""
}

// orphans lists files of labels without a picture: those below a folder labels.
func (y *yolo) orphans(used map[string]bool) []Finding {
	var out []Finding
	for _, f := range y.files {
		if path.Ext(f) == ".txt" && !used[f] && strings.Contains("/"+path.Dir(f)+"/", "/labels/") && path.Base(f) != "classes.txt" {
			out = append(out, Finding{NoImage, readable(f), "the labels are of no picture of the source"})
		}
	}
	return out
}

func (y *yolo) annotate(it *item, label string) {
	b, err := y.read(label, maxAnnotation)
	if err != nil {
		it.bad = &annotationError{label, err}
		return
	}
	for n, line := range strings.Split(string(b), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if err := y.line(it, fields); err != nil {
			it.bad = &annotationError{fmt.Sprintf("%s, line %d,", label, n+1), err}
			return
		}
	}
}

// line reads one object: its class and a box (centre, width, height, perhaps a confidence), or the points of an outline.
func (y *yolo) line(it *item, fields []string) error {
	number64, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return fmt.Errorf("it begins with %q, and not with the number of a class", fields[0])
	}
	id := strconv.FormatFloat(number64, 'f', -1, 64)
	class, ok := y.names[id]
	if !ok {
		it.found = append(it.found, Finding{UnknownClass, it.id, fmt.Sprintf("an object of the class %s, which has no name", id)})
		return nil
	}
	var v []float64
	for _, f := range fields[1:] {
		v = append(v, number(f))
	}
	switch {
	case len(v) == 4 || len(v) == 5:
		it.boxes = append(it.boxes, box{v[0] - v[2]/2, v[1] - v[3]/2, v[0] + v[2]/2, v[1] + v[3]/2, class})
	case len(v) >= 6 && len(v)%2 == 0:
		it.polygons = append(it.polygons, polygon{class, [][]float64{v}})
		it.boxes = append(it.boxes, around(v, class))
	default:
		return errors.New("it has neither the four numbers of a box nor the points of an outline")
	}
	return nil
}

// around is the box of a ring.
func around(ring []float64, class string) box {
	b := box{ring[0], ring[1], ring[0], ring[1], class}
	for i := 0; i+1 < len(ring); i += 2 {
		b.x0, b.x1 = min(b.x0, ring[i]), max(b.x1, ring[i])
		b.y0, b.y1 = min(b.y0, ring[i+1]), max(b.y1, ring[i+1])
	}
	return b
}

// yoloSplit is the part that data.yaml, a list or a folder puts a picture into.
func yoloSplit(f string, parts map[string]string, lists splitLists) string {
	best, length := "", -1
	for p, split := range parts {
		for strings.HasPrefix(p, "../") {
			p = p[3:]
		}
		if (strings.HasPrefix(f, p+"/") || strings.Contains(f, "/"+p+"/")) && len(p) > length {
			best, length = split, len(p)
		}
	}
	if best != "" {
		return best
	}
	return lists.of(f, strings.TrimSuffix(path.Base(f), path.Ext(f)))
}

// namesFile returns the classes that a file of that name lists, one a line.
func (s source) namesFile(name string) []Class {
	files := s.named(name)
	if len(files) == 0 {
		return nil
	}
	b, err := s.read(files[0], 1<<20)
	if err != nil {
		return nil
	}
	var out []Class
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if line = className(line); line != "" {
			out = append(out, Class{line, strconv.Itoa(len(out))})
		}
	}
	return out
}
