package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// The keys of the schema's metadata.
const (
	keyFormat      = "darkroom.format"
	keyTask        = "darkroom.task"
	keyClasses     = "darkroom.classes"
	keyMaskClasses = "darkroom.mask_classes"
	keyHeight      = "darkroom.height"
	keyWidth       = "darkroom.width"
	keyChannels    = "darkroom.channels"
	keyEncoded     = "darkroom.encoded"
	keyPolicy      = "darkroom.policy"

	format = "dataset 2"
	// format1 has the columns id, image and label alone. It is read, and no more written.
	format1 = "dataset 1"
)

// The columns' types. Lists of pairs stand for maps, which not every reader of Arrow files has.
var (
	pixelField  = arrow.Field{Name: "item", Type: arrow.PrimitiveTypes.Uint8}
	labelsType  = listOf(arrow.PrimitiveTypes.Int32)
	boxType     = arrow.StructOf(floatField("x0"), floatField("y0"), floatField("x1"), floatField("y1"), arrow.Field{Name: "class", Type: arrow.PrimitiveTypes.Int32})
	ringsType   = listOf(listOf(arrow.PrimitiveTypes.Float32))
	polygonType = arrow.StructOf(arrow.Field{Name: "class", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "rings", Type: ringsType})
	pairType    = arrow.StructOf(arrow.Field{Name: "name", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "value", Type: arrow.BinaryTypes.String})
)

func listOf(t arrow.DataType) *arrow.ListType {
	return arrow.ListOfField(arrow.Field{Name: "item", Type: t})
}

func floatField(name string) arrow.Field {
	return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float32}
}

func newSchema(info Info) (*arrow.Schema, error) {
	var image arrow.DataType = arrow.FixedSizeListOfField(int32(info.ImageSize()), pixelField)
	if info.Encoded {
		image = arrow.BinaryTypes.Binary
	}
	meta, err := info.metadata()
	if err != nil {
		return nil, err
	}
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "image", Type: image},
		{Name: "height", Type: arrow.PrimitiveTypes.Int32},
		{Name: "width", Type: arrow.PrimitiveTypes.Int32},
		{Name: "label", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "labels", Type: labelsType},
		{Name: "boxes", Type: listOf(boxType)},
		{Name: "polygons", Type: listOf(polygonType)},
		{Name: "mask", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "split", Type: arrow.BinaryTypes.String},
		{Name: "meta", Type: listOf(pairType)},
	}, meta), nil
}

func (i Info) metadata() (*arrow.Metadata, error) {
	classes, err := json.Marshal(append([]string{}, i.Classes...))
	if err != nil {
		return nil, err
	}
	keys := []string{keyFormat, keyTask, keyClasses, keyHeight, keyWidth, keyChannels}
	values := []string{format, string(i.Task), string(classes), strconv.Itoa(i.Height), strconv.Itoa(i.Width), strconv.Itoa(i.Channels)}
	if i.MaskClasses != nil {
		names, err := json.Marshal(i.MaskClasses)
		if err != nil {
			return nil, err
		}
		keys, values = append(keys, keyMaskClasses), append(values, string(names))
	}
	if i.Encoded {
		keys, values = append(keys, keyEncoded), append(values, "true")
	}
	if i.Policy != nil {
		keys, values = append(keys, keyPolicy), append(values, string(i.Policy.JSON()))
	}
	meta := arrow.NewMetadata(keys, values)
	return &meta, nil
}

// readInfo reads the schema's metadata; old is true for a file of format 1.
func readInfo(s *arrow.Schema) (info Info, old bool, err error) {
	meta := s.Metadata()
	get := func(key string) string {
		v, _ := meta.GetValue(key)
		return v
	}
	switch get(keyFormat) {
	case format:
		info.Task, info.Encoded = Task(get(keyTask)), get(keyEncoded) == "true"
	case format1:
		info.Task, old = Classification, true
	default:
		return info, false, fmt.Errorf("the schema's metadata lacks %s = %q", keyFormat, format)
	}
	if err := json.Unmarshal([]byte(get(keyClasses)), &info.Classes); err != nil {
		return info, old, fmt.Errorf("class names: %w", err)
	}
	if text := get(keyMaskClasses); text != "" {
		if err := json.Unmarshal([]byte(text), &info.MaskClasses); err != nil {
			return info, old, fmt.Errorf("names of the masks' classes: %w", err)
		}
	}
	for _, n := range []struct {
		key string
		to  *int
	}{{keyHeight, &info.Height}, {keyWidth, &info.Width}, {keyChannels, &info.Channels}} {
		v, err := strconv.Atoi(get(n.key))
		if err != nil {
			return info, old, fmt.Errorf("%s: %w", n.key, err)
		}
		*n.to = v
	}
	if err := info.check(); err != nil {
		return info, old, err
	}
	if text := get(keyPolicy); text != "" {
		p, err := ParsePolicy([]byte(text))
		if err != nil {
			return info, old, fmt.Errorf("augmentation policy: %w", err)
		}
		info.Policy = p
	}
	return info, old, nil
}

// chunk is one record batch: views into the mapped file. In a file of format 1 only ids, labels and pixels are there.
type chunk struct {
	first, rows int // the place of its first row in the dataset, and their number

	ids     *array.String
	labels  []int32 // NoLabel where there is none
	pixels  []byte  // of decoded images
	encoded *array.Binary

	heights, widths []int32
	labelSets       *array.List
	labelValues     []int32
	boxes           *array.List
	boxSides        [4][]float32 // x0, y0, x1, y1
	boxClasses      []int32
	polygons        *array.List
	polygonClasses  []int32
	rings, points   *array.List
	coordinates     []float32
	masks           *array.Binary
	splits          *array.String
	meta            *array.List
	names, values   *array.String
}

// columns finds typed columns by name; the first that is missing or of another type is kept in err.
type columns struct {
	batch arrow.RecordBatch
	rows  int
	err   error
}

func (c *columns) fail(name string, err error) {
	if c.err == nil {
		c.err = fmt.Errorf("column %s: %w", name, err)
	}
}

var (
	errType = errors.New("it is missing or of another type")
	errNull = errors.New("a value is missing")
)

// column returns a column as an array of type A that is whole.
func column[A arrow.Array](c *columns, name string, nullable bool) (out A) {
	if c.err != nil {
		return out
	}
	for i, f := range c.batch.Schema().Fields() {
		if f.Name != name {
			continue
		}
		a, err := typed[A](c.batch.Column(i), c.rows, nullable)
		if err != nil {
			c.fail(name, err)
		}
		return a
	}
	c.fail(name, errType)
	return out
}

// typed returns a as an array of type A that has at least rows values, none missing unless that is allowed, and offsets within its data.
func typed[A arrow.Array](a arrow.Array, rows int, nullable bool) (A, error) {
	t, ok := a.(A)
	switch {
	case !ok:
		return t, errType
	case a.Len() < rows:
		return t, errors.New("it is too short")
	case !nullable && a.NullN() > 0:
		return t, errNull
	}
	if full, ok := any(t).(interface{ ValidateFull() error }); ok {
		if err := full.ValidateFull(); err != nil {
			return t, err
		}
	}
	return t, nil
}

// part returns the values of a list, or a field of a structure, as an array of type A.
func part[A arrow.Array](c *columns, name string, a arrow.Array) (out A) {
	if c.err != nil {
		return out
	}
	t, err := typed[A](a, 0, false)
	if err != nil {
		c.fail(name, err)
	}
	return t
}

// fields returns the fields of the structures in a list, n of them.
func fields(c *columns, name string, list *array.List, n int) []arrow.Array {
	s := part[*array.Struct](c, name, list.ListValues())
	if c.err != nil {
		return nil
	}
	if s.NumField() != n {
		c.fail(name, errType)
		return nil
	}
	out := make([]arrow.Array, n)
	for i := range out {
		if out[i] = s.Field(i); out[i].Len() < s.Len() {
			c.fail(name, errors.New("it is too short"))
			return nil
		}
	}
	return out
}

// readChunk checks that a record batch has the columns of a dataset and returns views of them.
func readChunk(b arrow.RecordBatch, info Info, old bool) (chunk, error) {
	c := &columns{batch: b, rows: int(b.NumRows())}
	k := chunk{rows: c.rows}
	k.ids = column[*array.String](c, "id", false)
	k.readImages(c, info)
	k.readLabels(c, old)
	if !old {
		k.readAnnotations(c)
	}
	if c.err != nil {
		return k, c.err
	}
	b.Retain() // the reader gives a batch up when it reads the next
	var s Sample
	for i := range k.rows {
		k.fill(&s, i, info)
		if err := s.check(info); err != nil && !(old && s.ID == "") {
			return k, fmt.Errorf("record %d (%q): %w", i, s.ID, err)
		}
	}
	return k, nil
}

func (k *chunk) readImages(c *columns, info Info) {
	if info.Encoded {
		k.encoded = column[*array.Binary](c, "image", false)
		return
	}
	images := column[*array.FixedSizeList](c, "image", false)
	if c.err != nil {
		return
	}
	pixels := part[*array.Uint8](c, "image", images.ListValues())
	if c.err != nil || k.rows == 0 {
		return
	}
	n := info.ImageSize()
	start, _ := images.ValueOffsets(0)
	values := pixels.Uint8Values()
	if int(images.DataType().(*arrow.FixedSizeListType).Len()) != n || start < 0 || int64(len(values))-start < int64(k.rows)*int64(n) {
		c.fail("image", errors.New("it does not fit the image size"))
		return
	}
	k.pixels = values[start : start+int64(k.rows)*int64(n)]
}

func (k *chunk) readLabels(c *columns, old bool) {
	labels := column[*array.Int32](c, "label", !old)
	if c.err != nil {
		return
	}
	if k.labels = labels.Int32Values()[:k.rows]; labels.NullN() == 0 {
		return
	}
	k.labels = append([]int32(nil), k.labels...)
	for i := range k.labels {
		if labels.IsNull(i) {
			k.labels[i] = NoLabel
		}
	}
}

func (k *chunk) readAnnotations(c *columns) {
	heights, widths := column[*array.Int32](c, "height", false), column[*array.Int32](c, "width", false)
	k.labelSets = column[*array.List](c, "labels", false)
	k.boxes = column[*array.List](c, "boxes", false)
	k.polygons = column[*array.List](c, "polygons", false)
	k.masks = column[*array.Binary](c, "mask", true)
	k.splits = column[*array.String](c, "split", false)
	k.meta = column[*array.List](c, "meta", false)
	if c.err != nil {
		return
	}
	k.heights, k.widths = heights.Int32Values(), widths.Int32Values()
	labels := part[*array.Int32](c, "labels", k.labelSets.ListValues())
	box, polygon, pair := fields(c, "boxes", k.boxes, 5), fields(c, "polygons", k.polygons, 2), fields(c, "meta", k.meta, 2)
	if c.err != nil {
		return
	}
	k.labelValues = labels.Int32Values()
	for i := range k.boxSides {
		if side := part[*array.Float32](c, "boxes", box[i]); c.err == nil {
			k.boxSides[i] = side.Float32Values()
		}
	}
	boxClasses, polygonClasses := part[*array.Int32](c, "boxes", box[4]), part[*array.Int32](c, "polygons", polygon[0])
	k.names, k.values = part[*array.String](c, "meta", pair[0]), part[*array.String](c, "meta", pair[1])
	if k.rings = part[*array.List](c, "polygons", polygon[1]); c.err != nil {
		return
	}
	k.boxClasses, k.polygonClasses = boxClasses.Int32Values(), polygonClasses.Int32Values()
	if k.points = part[*array.List](c, "polygons", k.rings.ListValues()); c.err != nil {
		return
	}
	if coordinates := part[*array.Float32](c, "polygons", k.points.ListValues()); c.err == nil {
		k.coordinates = coordinates.Float32Values()
	}
}

// fill sets s to row i. Its lists are new, its texts and pixels are views.
func (k *chunk) fill(s *Sample, i int, info Info) {
	*s = Sample{
		ID: k.ids.Value(i), Image: k.image(i, info), Label: k.labels[i], Labels: k.labelsOf(i), Boxes: k.boxesOf(i),
		Polygons: k.polygonsOf(i), Mask: k.mask(i), Meta: k.metaOf(i), Height: info.Height, Width: info.Width,
	}
	if k.splits != nil {
		s.Split, s.Height, s.Width = k.splits.Value(i), int(k.heights[i]), int(k.widths[i])
	}
}

func (k *chunk) image(i int, info Info) []byte {
	if k.encoded != nil {
		b := k.encoded.Value(i)
		return b[:len(b):len(b)]
	}
	n := info.ImageSize()
	return k.pixels[i*n : (i+1)*n : (i+1)*n]
}

func (k *chunk) labelsOf(i int) []int32 {
	if k.labelSets == nil {
		return nil
	}
	from, to := k.labelSets.ValueOffsets(i)
	return k.labelValues[from:to:to]
}

func (k *chunk) boxesOf(i int) []Box {
	if k.boxes == nil {
		return nil
	}
	from, to := k.boxes.ValueOffsets(i)
	if from == to {
		return nil
	}
	out := make([]Box, 0, to-from)
	for b := from; b < to; b++ {
		out = append(out, Box{k.boxSides[0][b], k.boxSides[1][b], k.boxSides[2][b], k.boxSides[3][b], k.boxClasses[b]})
	}
	return out
}

func (k *chunk) polygonsOf(i int) []Polygon {
	if k.polygons == nil {
		return nil
	}
	from, to := k.polygons.ValueOffsets(i)
	if from == to {
		return nil
	}
	out := make([]Polygon, 0, to-from)
	for p := from; p < to; p++ {
		polygon := Polygon{Class: k.polygonClasses[p]}
		first, end := k.rings.ValueOffsets(int(p))
		for r := first; r < end; r++ {
			a, b := k.points.ValueOffsets(int(r))
			polygon.Rings = append(polygon.Rings, k.coordinates[a:b:b])
		}
		out = append(out, polygon)
	}
	return out
}

func (k *chunk) mask(i int) []byte {
	if k.masks == nil || k.masks.IsNull(i) {
		return nil
	}
	b := k.masks.Value(i)
	return b[:len(b):len(b)]
}

func (k *chunk) metaOf(i int) []Pair {
	if k.meta == nil {
		return nil
	}
	from, to := k.meta.ValueOffsets(i)
	if from == to {
		return nil
	}
	out := make([]Pair, 0, to-from)
	for p := int(from); p < int(to); p++ {
		out = append(out, Pair{k.names.Value(p), k.values.Value(p)})
	}
	return out
}
