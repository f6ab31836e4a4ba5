package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/darkroom-dev/darkroom/dataset"
)

// parquetRows is how many rows are read at a time.
const parquetRows = 64

func (s source) parquetFiles() []string {
	var out []string
	for _, f := range s.files {
		if path.Ext(f) == ".parquet" && !hidden(f) {
			out = append(out, f)
		}
	}
	return out
}

// parquetFile is an open Parquet file and the columns that are known in it.
type parquetFile struct {
	name        string
	reader      *pqarrow.FileReader
	rows        int64
	image       int // columns, -1: none
	label       int
	labels      int
	objects     int
	names       []string // of the label's classes, by number; nil: the label is text or a bare number
	objectNames []string
	close       func() error
}

// openParquet reads tables as Hugging Face's datasets library writes them: a column of images {bytes, path}, labels as numbers whose
// names stand in the metadata, or as text, perhaps objects {bbox, category}.
func (s source) openParquet(files []string, o Options) (*listing, error) {
	l := &listing{task: dataset.Unlabelled}
	plain := map[string]bool{}
	for _, f := range files {
		p, err := s.parquet(f, o)
		if err != nil {
			return nil, sourceErrorf("Damaged table", "The Parquet file %s cannot be read: %v.", f, err)
		}
		l.count += int(p.rows)
		err = p.classes(l, plain)
		if err = errors.Join(err, p.close()); err != nil {
			return nil, sourceErrorf("Damaged table", "The Parquet file %s cannot be read: %v.", f, err)
		}
	}
	if len(plain) > 0 {
		var names []string
		for n := range plain {
			names = append(names, n)
		}
		slices.Sort(names)
		l.classes = classesOf(names)
		sortNumbers(l.classes)
	}
	l.items = func(yield func(item, error) bool) {
		for _, f := range files {
			if !s.parquetItems(f, o, yield) {
				return
			}
		}
	}
	return l, nil
}

// guard turns a panic of the library, which trusts its files, into an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("malformed Parquet file: %v", r)
	}
}

func (s source) parquet(f string, o Options) (p *parquetFile, err error) {
	defer guard(&err)
	r, closer, err := s.seekable(f, o)
	if err != nil {
		return nil, err
	}
	pf, err := file.NewParquetReader(r, file.WithReadProps(parquet.NewReaderProperties(memory.DefaultAllocator)))
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	reader, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: parquetRows}, memory.DefaultAllocator)
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	p = &parquetFile{name: f, reader: reader, rows: pf.NumRows(), image: -1, label: -1, labels: -1, objects: -1, close: closer}
	schema, err := reader.Schema()
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	if err := p.columns(schema); err != nil {
		return nil, errors.Join(err, closer())
	}
	return p, nil
}

// seekable opens a file for reading at any place; one that can only be read through is copied first.
func (s source) seekable(f string, o Options) (parquet.ReaderAtSeeker, func() error, error) {
	r, err := s.open(f)
	if err != nil {
		return nil, nil, err
	}
	if at, ok := r.(parquet.ReaderAtSeeker); ok {
		return at, r.Close, nil
	}
	defer r.Close()
	t, err := os.CreateTemp(o.Scratch, "table-*.parquet")
	if err != nil {
		return nil, nil, err
	}
	if err := os.Remove(t.Name()); err != nil {
		return nil, nil, errors.Join(err, t.Close())
	}
	if _, err := io.Copy(t, r); err != nil {
		return nil, nil, errors.Join(noEOF(err), t.Close())
	}
	return t, t.Close, nil
}

// columns finds the columns by their names and types.
func (p *parquetFile) columns(schema *arrow.Schema) error {
	features := huggingFaceFeatures(schema)
	for i, f := range schema.Fields() {
		_, isStruct := f.Type.(*arrow.StructType)
		_, isList := f.Type.(arrow.ListLikeType)
		switch {
		case p.image < 0 && imageColumn(f):
			p.image = i
		case p.objects < 0 && f.Name == "objects" && (isStruct || isList):
			p.objects, p.objectNames = i, features[f.Name]
		case p.label < 0 && !isStruct && !isList && (meaning(f.Name) == "label" || f.Name == "fine_label"):
			p.label, p.names = i, features[f.Name]
		case p.labels < 0 && isList && meaning(f.Name) == "labels":
			p.labels, p.names = i, features[f.Name]
		}
	}
	if p.image < 0 {
		return errors.New("it has no column of images, which is a structure of bytes and path, or bytes alone")
	}
	return nil
}

func imageColumn(f arrow.Field) bool {
	switch t := f.Type.(type) {
	case *arrow.StructType:
		_, ok := t.FieldByName("bytes")
		return ok
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		return true
	}
	return false
}

// huggingFaceFeatures reads the class names that the metadata gives for columns.
func huggingFaceFeatures(schema *arrow.Schema) map[string][]string {
	out := map[string][]string{}
	meta := schema.Metadata()
	v, _ := meta.GetValue("huggingface")
	var h struct {
		Info struct {
			Features map[string]json.RawMessage `json:"features"`
		} `json:"info"`
	}
	if json.Unmarshal([]byte(v), &h) != nil {
		return out
	}
	for name, raw := range h.Info.Features {
		var tree any
		if json.Unmarshal(raw, &tree) == nil {
			if names := namesIn(tree); names != nil {
				out[name] = names
			}
		}
	}
	return out
}

// namesIn finds the list "names" of a ClassLabel within a description of a column.
func namesIn(tree any) []string {
	switch t := tree.(type) {
	case map[string]any:
		if list, ok := t["names"].([]any); ok {
			var names []string
			for _, n := range list {
				names = append(names, className(text(n)))
			}
			return names
		}
		for _, v := range t {
			if names := namesIn(v); names != nil {
				return names
			}
		}
	case []any:
		for _, v := range t {
			if names := namesIn(v); names != nil {
				return names
			}
		}
	}
	return nil
}

// classes adds the classes of the file to the listing: the names of its metadata, or, into plain, the labels that it holds.
func (p *parquetFile) classes(l *listing, plain map[string]bool) error {
	names := p.names
	switch {
	case p.objects >= 0:
		l.task, names = dataset.Detection, p.objectNames
	case p.labels >= 0:
		l.task = dataset.MultiLabel
	case p.label >= 0:
		l.task = dataset.Classification
	default:
		return nil
	}
	if names != nil {
		l.closed = true
		for i, n := range names {
			if !slices.ContainsFunc(l.classes, func(c Class) bool { return c.Name == n }) {
				l.classes = append(l.classes, Class{n, fmt.Sprint(i)})
			}
		}
		return nil
	}
	return p.walk(func(r arrow.RecordBatch, i int) bool {
		it := p.item(r, i, 0, true)
		for _, c := range it.classes() {
			plain[c] = true
		}
		return true
	}, p.label, p.labels, p.objects)
}

// walk calls visit with every row, of the columns given or all.
func (p *parquetFile) walk(visit func(r arrow.RecordBatch, i int) bool, only ...int) (err error) {
	defer guard(&err)
	var leaves []int
	if len(only) > 0 {
		manifest := p.reader.Manifest
		var add func(f pqarrow.SchemaField)
		add = func(f pqarrow.SchemaField) {
			if f.ColIndex >= 0 {
				leaves = append(leaves, f.ColIndex)
			}
			for _, c := range f.Children {
				add(c)
			}
		}
		for _, c := range only {
			if c >= 0 {
				add(manifest.Fields[c])
			}
		}
	}
	r, err := p.reader.GetRecordReader(context.Background(), leaves, nil)
	if err != nil {
		return err
	}
	defer r.Release()
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			if !visit(b, i) {
				return nil
			}
		}
	}
	if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// parquetItems yields the rows of one file, and reports whether to go on.
func (s source) parquetItems(f string, o Options, yield func(item, error) bool) bool {
	p, err := s.parquet(f, o)
	if err != nil {
		return yield(item{}, fmt.Errorf("reading %s: %w", f, err))
	}
	defer p.close() //nolint:errcheck // it was only read
	split := cocoSplit(f)
	n, goOn := 0, true
	err = p.walk(func(r arrow.RecordBatch, i int) bool {
		it := p.item(r, i, n, false)
		it.split = split
		n++
		goOn = yield(it, nil)
		return goOn
	})
	if err != nil && goOn {
		return yield(item{}, fmt.Errorf("reading %s after %d rows: %w", f, n, err))
	}
	return goOn
}

// item reads row i of a batch, row n of the file. Where only annotations are read, the batch lacks the other columns.
func (p *parquetFile) item(r arrow.RecordBatch, i, n int, annotations bool) item {
	base := strings.TrimSuffix(p.name, ".parquet")
	it := item{id: readable(fmt.Sprintf("%s/%d", base, n)), file: fmt.Sprintf("%s, row %d", p.name, n)}
	schema, err := p.reader.Schema()
	if err != nil {
		it.bad = err
		return it
	}
	for c := range int(r.NumCols()) {
		name := r.ColumnName(c)
		column := r.Column(c)
		of := func(place int) bool { return place >= 0 && schema.Field(place).Name == name }
		switch {
		case of(p.image):
			if !annotations {
				it.picture(column, i)
			}
		case of(p.label):
			it.label, err = cell(column, i, p.names)
			it.fail(err)
		case of(p.labels):
			list, _ := column.GetOneForMarshal(i).(json.RawMessage)
			var values []any
			if json.Unmarshal(list, &values) == nil {
				for _, v := range values {
					name, err := named(text(v), p.names)
					it.fail(err)
					it.labels = append(it.labels, name)
				}
			}
		case of(p.objects):
			it.fail(it.marshalled(column, i, p.objectNames))
		case !annotations && !column.IsNull(i):
			it.meta = append(it.meta, dataset.Pair{Name: readable(name), Value: readable(column.ValueStr(i))})
		}
	}
	return it
}

func (it *item) fail(err error) {
	if err != nil && it.bad == nil {
		it.bad = err
	}
}

// marshalled reads a structure of lists, or a list of structures, of boxes and categories.
func (it *item) marshalled(column arrow.Array, i int, names []string) error {
	b, err := json.Marshal(column.GetOneForMarshal(i))
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if list, ok := v.([]any); ok {
		joined := map[string]any{}
		for _, o := range list {
			m, _ := o.(map[string]any)
			for k, x := range m {
				l, _ := joined[k].([]any)
				joined[k] = append(l, x)
			}
		}
		v = joined
	}
	if m, ok := v.(map[string]any); ok {
		return it.objects(m, names)
	}
	return nil
}

// cell reads a label.
func cell(column arrow.Array, i int, names []string) (string, error) {
	if column.IsNull(i) {
		return "", nil
	}
	return named(column.ValueStr(i), names)
}

// named is the name of a label that is a number, where the numbers have names.
func named(label string, names []string) (string, error) {
	if names == nil {
		return className(label), nil
	}
	k, err := indexOf(label, names)
	if err != nil {
		if slices.Contains(names, label) {
			return label, nil
		}
		return "", fmt.Errorf("its label: %w", err)
	}
	return names[k], nil
}

// picture takes the bytes of an image, and its name where it has one.
func (it *item) picture(column arrow.Array, i int) {
	if s, ok := column.(*array.Struct); ok {
		t := s.DataType().(*arrow.StructType)
		if k, ok := t.FieldIdx("path"); ok && !s.Field(k).IsNull(i) {
			it.meta = append(it.meta, dataset.Pair{Name: "path", Value: readable(s.Field(k).ValueStr(i))})
		}
		k, _ := t.FieldIdx("bytes")
		column = s.Field(k)
	}
	var b []byte
	switch c := column.(type) {
	case *array.Binary:
		if !c.IsNull(i) {
			b = slices.Clone(c.Value(i))
		}
	case *array.LargeBinary:
		if !c.IsNull(i) {
			b = slices.Clone(c.Value(i))
		}
	}
	it.read = func() ([]byte, error) {
		if b == nil {
			return nil, errors.New("the table holds the path of the image, but not its bytes")
		}
		return b, nil
	}
}
