package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Tables of images: CSV files, and the metadata files of Hugging Face's image folders (CSV or JSON lines), whose columns mean what
// their names say.

// columnNames are the names under which a column is known, in lower case.
var columnNames = map[string][]string{
	"path":   {"path", "file", "file_name", "filename", "image", "image_path", "filepath", "img"},
	"label":  {"label", "class", "category", "target", "class_name"},
	"labels": {"labels", "tags", "classes"},
	"split":  {"split", "subset", "partition", "set"},
	"x0":     {"xmin", "x0", "x_min", "left"},
	"y0":     {"ymin", "y0", "y_min", "top"},
	"x1":     {"xmax", "x1", "x_max", "right"},
	"y1":     {"ymax", "y1", "y_max", "bottom"},
	"width":  {"width"},
	"height": {"height"},
}

// meaning returns what a column's name stands for; "" for meta data.
func meaning(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	for m, names := range columnNames {
		for _, n := range names {
			if n == name {
				return m
			}
		}
	}
	return ""
}

// row is one row of a table, by column in the table's order.
type row struct {
	names  []string
	values []any // text, or what JSON holds
	line   int
}

// tableReader gathers the rows of one image into an item.
type tableReader struct {
	source
	*listing
	base     string // folder of the table
	file     string
	pictures finder
	places   map[string]int // of items by picture
	items    []item
	boxes    bool
	// byFolder takes the class from the folder where a row names none.
	byFolder bool
}

func (s source) csvFiles() []string {
	var out []string
	for _, f := range s.files {
		if strings.ToLower(path.Ext(f)) == ".csv" && !hidden(f) {
			out = append(out, f)
		}
	}
	return out
}

func (s source) openCSV(o Options) (*listing, error) {
	files := s.csvFiles()
	if len(files) == 0 {
		return nil, sourceErrorf("No annotations found", "The source holds no CSV file with a column of paths and one of labels.")
	}
	return s.openTables(files, false)
}

// metadataFiles are those of Hugging Face's image folders.
func (s source) metadataFiles() []string {
	var out []string
	for _, f := range s.files {
		if base := path.Base(f); base == "metadata.csv" || base == "metadata.jsonl" {
			out = append(out, f)
		}
	}
	return out
}

func (s source) openHuggingFace(o Options) (*listing, error) {
	if files := s.parquetFiles(); len(files) > 0 {
		return s.openParquet(files, o)
	}
	files := s.metadataFiles()
	if len(files) == 0 {
		return nil, sourceErrorf("No annotations found", "The source holds neither Parquet files, nor a metadata.csv or metadata.jsonl as an image folder of Hugging Face has.")
	}
	return s.openTables(files, true)
}

func (s source) openTables(files []string, byFolder bool) (*listing, error) {
	t := &tableReader{source: s, listing: &listing{}, pictures: s.finder(), places: map[string]int{}, byFolder: byFolder}
	for _, f := range files {
		t.base, t.file = path.Dir(f), f
		if err := t.read(f); err != nil {
			return nil, sourceErrorf("Damaged table", "The file %s cannot be read: %v.", f, noEOF(err))
		}
	}
	t.finish()
	return t.listing, nil
}

func (t *tableReader) read(f string) error {
	b, err := t.source.read(f, maxAnnotation)
	if err != nil {
		return err
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if path.Ext(f) == ".jsonl" {
		return t.lines(b)
	}
	return t.csv(b)
}

func (t *tableReader) csv(b []byte) error {
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	if first, _, _ := bytes.Cut(b, []byte("\n")); !bytes.Contains(first, []byte(",")) {
		for _, c := range ";\t" {
			if bytes.ContainsRune(first, c) {
				r.Comma = c
			}
		}
	}
	var names []string
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		if names == nil {
			if names = header(fields); names != nil {
				continue
			}
			// A table without a head: the path, the label, and more.
			names = []string{"path", "label"}
			for i := 2; i < len(fields); i++ {
				names = append(names, fmt.Sprintf("column%d", i+1))
			}
		}
		if len(fields) != len(names) {
			return fmt.Errorf("line %d has %d fields, the first one %d", line, len(fields), len(names))
		}
		v := row{names: names, line: line}
		for _, f := range fields {
			v.values = append(v.values, strings.TrimSpace(f))
		}
		if err := t.row(v); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
	if names == nil {
		return errors.New("it is empty")
	}
	return nil
}

// header returns the names of a first line that names a column of paths; nil for a line of data.
func header(fields []string) []string {
	for _, f := range fields {
		if meaning(f) == "path" {
			return fields
		}
	}
	return nil
}

func (t *tableReader) lines(b []byte) error {
	scan := bufio.NewScanner(bytes.NewReader(b))
	scan.Buffer(nil, 1<<28)
	for n := 1; scan.Scan(); n++ {
		if len(bytes.TrimSpace(scan.Bytes())) == 0 {
			continue
		}
		v := row{line: n}
		if err := v.object(scan.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := t.row(v); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return scan.Err()
}

// object reads a JSON object in the order of its keys.
func (v *row) object(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return errors.New("it is no JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return err
		}
		v.names, v.values = append(v.names, key.(string)), append(v.values, value)
	}
	_, err := d.Token()
	return err
}

// row adds what a row says to the item of its picture.
func (t *tableReader) row(v row) error {
	cells := map[string]any{}
	var meta []dataset.Pair
	for i, n := range v.names {
		switch m := meaning(n); {
		case m != "" && cells[m] == nil:
			cells[m] = v.values[i]
		case n == "objects":
			cells[n] = v.values[i]
		default:
			meta = append(meta, dataset.Pair{Name: readable(n), Value: text(v.values[i])})
		}
	}
	name := ""
	if cells["path"] != nil {
		name = text(cells["path"])
	}
	if name == "" {
		return errors.New("it names no file")
	}
	rel, ok := t.pictures.find(path.Join(t.base, name))
	if !ok {
		rel, ok = t.pictures.find(name)
	}
	if !ok {
		t.found = append(t.found, Finding{NoImage, readable(name), fmt.Sprintf("%s names it in line %d, and the source holds no such picture", t.file, v.line)})
		return nil
	}
	at, again := t.places[rel]
	if !again {
		at = len(t.items)
		t.places[rel] = at
		it := t.pictureItem(rel)
		it.meta, it.split = meta, splitOfPath(rel)
		t.items = append(t.items, it)
	}
	return t.fill(&t.items[at], cells, again)
}

func (t *tableReader) fill(it *item, cells map[string]any, again bool) error {
	label := ""
	if cells["label"] != nil {
		label = text(cells["label"])
	}
	if cells["split"] != nil {
		it.split = splitName(text(cells["split"]))
	}
	if cells["width"] != nil && cells["height"] != nil {
		it.width, it.height = whole(text(cells["width"])), whole(text(cells["height"]))
	}
	if cells["x0"] != nil && cells["y0"] != nil && cells["x1"] != nil && cells["y1"] != nil {
		t.boxes = true
		if text(cells["x0"]) == "" && label == "" { // an image without objects
			return nil
		}
		it.boxes = append(it.boxes, box{number(text(cells["x0"])), number(text(cells["y0"])), number(text(cells["x1"])), number(text(cells["y1"])), label})
		return nil
	}
	if objects, ok := cells["objects"].(map[string]any); ok {
		t.boxes = true
		return it.objects(objects, nil)
	}
	labels, many := labelList(cells["labels"])
	if again {
		if label != it.label || many {
			return fmt.Errorf("%s is named twice, with different labels", it.file)
		}
		it.found = append(it.found, Finding{SameID, it.id, "the table names it twice, with the same label"})
		return nil
	}
	it.label, it.labels = label, labels
	if many {
		t.task = dataset.MultiLabel
	}
	return nil
}

// objects reads the boxes of Hugging Face's detection sets: x, y, width, height, with a category each.
func (it *item) objects(o map[string]any, names []string) error {
	boxes, _ := o["bbox"].([]any)
	var categories []any
	for _, name := range []string{"categories", "category", "label", "labels"} {
		if c, ok := o[name].([]any); ok {
			categories = c
		}
	}
	if len(boxes) != len(categories) {
		return fmt.Errorf("%d boxes with %d categories", len(boxes), len(categories))
	}
	for i, b := range boxes {
		v, _ := b.([]any)
		if len(v) != 4 {
			return fmt.Errorf("the box %d has %d numbers, not 4", i, len(v))
		}
		x, y := number(text(v[0])), number(text(v[1]))
		class := text(categories[i])
		if k, err := indexOf(class, names); err == nil {
			class = names[k]
		}
		it.boxes = append(it.boxes, box{x, y, x + number(text(v[2])), y + number(text(v[3])), class})
	}
	return nil
}

// indexOf reads a number below the number of names.
func indexOf(text string, names []string) (int, error) {
	k := whole(text)
	if fmt.Sprint(k) != text || k >= len(names) {
		return 0, fmt.Errorf("%q is not one of the %d classes", text, len(names))
	}
	return k, nil
}

// labelList reads several labels: a JSON list, or text divided by | or ;.
func labelList(v any) ([]string, bool) {
	var out []string
	switch v := v.(type) {
	case nil:
		return nil, false
	case []any:
		for _, l := range v {
			out = append(out, text(l))
		}
	default:
		for _, l := range strings.FieldsFunc(text(v), func(r rune) bool { return r == '|' || r == ';' }) {
			if l = strings.TrimSpace(l); l != "" {
				out = append(out, l)
			}
		}
	}
	return out, true
}

// finish tells the task and the classes, and what no row names.
func (t *tableReader) finish() {
	mentioned := map[string]bool{}
	labelled := false
	for i := range t.items {
		it := &t.items[i]
		mentioned[it.file] = true
		if it.label == "" && !t.boxes && t.byFolder && t.task == "" {
			it.label = folderClass(it.file)
		}
		labelled = labelled || it.label != ""
	}
	t.found = append(t.found, t.unmentioned(mentioned)...)
	switch {
	case t.boxes:
		t.task = dataset.Detection
	case t.task == "" && labelled:
		t.task = dataset.Classification
	case t.task == "":
		t.task = dataset.Unlabelled
	}
	t.listing.items, t.count, t.classes = each(t.items), len(t.items), sortedClasses(t.items)
}

// folderClass is the folder that a picture lies in, if that is not one of a part.
func folderClass(rel string) string {
	dir := path.Base(path.Dir(rel))
	if dir == "." || splitOfPath(dir+"/x") != "" || dir == "images" {
		return ""
	}
	return readable(dir)
}
