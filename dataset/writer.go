package dataset

import (
	"fmt"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// batchBytes is about how many bytes of pixels one record batch holds. It is part of the file's bytes: a change
// of it raises the versions of the kinds that write datasets.
const batchBytes = 4 << 20

// Writer writes a dataset file. It is not safe for concurrent use.
type Writer struct {
	path   string
	info   Info
	file   *os.File
	ipc    *ipc.FileWriter
	record *array.RecordBuilder
	to     builders
	rows   int // in the batch that is being filled
	bytes  int // of its images and masks
	total  int
}

// builders are the columns that are being filled.
type builders struct {
	id, split               *array.StringBuilder
	images                  *array.FixedSizeListBuilder // of decoded images
	pixels                  *array.Uint8Builder
	encoded                 *array.BinaryBuilder // of encoded ones
	height, width, label    *array.Int32Builder
	labels, boxes, polygons *array.ListBuilder
	labelValues             *array.Int32Builder
	box, polygon            *array.StructBuilder
	sides                   [4]*array.Float32Builder
	boxClass, polygonClass  *array.Int32Builder
	rings, points           *array.ListBuilder
	coordinates             *array.Float32Builder
	mask                    *array.BinaryBuilder
	meta                    *array.ListBuilder
	pair                    *array.StructBuilder
	names, values           *array.StringBuilder
}

// Create begins a dataset file at path.
func Create(path string, info Info) (*Writer, error) {
	if info.Task == "" {
		info.Task = Classification
	}
	if err := info.check(); err != nil {
		return nil, fmt.Errorf("writing the dataset %s: %w", path, err)
	}
	schema, err := newSchema(info)
	if err != nil {
		return nil, fmt.Errorf("writing the dataset %s: %w", path, err)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("writing the dataset: %w", err)
	}
	fw, err := ipc.NewFileWriter(f, ipc.WithSchema(schema))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("writing the dataset %s: %w", path, err)
	}
	w := &Writer{path: path, info: info, file: f, ipc: fw, record: array.NewRecordBuilder(memory.DefaultAllocator, schema)}
	w.bind(schema)
	return w, nil
}

// bind finds the builder of every column.
func (w *Writer) bind(schema *arrow.Schema) {
	at := func(name string) array.Builder { return w.record.Field(schema.FieldIndices(name)[0]) }
	b := &w.to
	b.id, b.split = at("id").(*array.StringBuilder), at("split").(*array.StringBuilder)
	if w.info.Encoded {
		b.encoded = at("image").(*array.BinaryBuilder)
	} else {
		b.images = at("image").(*array.FixedSizeListBuilder)
		b.pixels = b.images.ValueBuilder().(*array.Uint8Builder)
	}
	b.height, b.width, b.label = at("height").(*array.Int32Builder), at("width").(*array.Int32Builder), at("label").(*array.Int32Builder)
	b.labels, b.boxes, b.polygons = at("labels").(*array.ListBuilder), at("boxes").(*array.ListBuilder), at("polygons").(*array.ListBuilder)
	b.labelValues = b.labels.ValueBuilder().(*array.Int32Builder)
	b.box, b.polygon = b.boxes.ValueBuilder().(*array.StructBuilder), b.polygons.ValueBuilder().(*array.StructBuilder)
	for i := range b.sides {
		b.sides[i] = b.box.FieldBuilder(i).(*array.Float32Builder)
	}
	b.boxClass, b.polygonClass = b.box.FieldBuilder(4).(*array.Int32Builder), b.polygon.FieldBuilder(0).(*array.Int32Builder)
	b.rings = b.polygon.FieldBuilder(1).(*array.ListBuilder)
	b.points = b.rings.ValueBuilder().(*array.ListBuilder)
	b.coordinates = b.points.ValueBuilder().(*array.Float32Builder)
	b.mask, b.meta = at("mask").(*array.BinaryBuilder), at("meta").(*array.ListBuilder)
	b.pair = b.meta.ValueBuilder().(*array.StructBuilder)
	b.names, b.values = b.pair.FieldBuilder(0).(*array.StringBuilder), b.pair.FieldBuilder(1).(*array.StringBuilder)
}

// Add appends an image of (H, W, C) bytes with its label. It does not keep image.
func (w *Writer) Add(id string, label int32, image []byte) error {
	return w.AddSample(Sample{ID: id, Label: label, Image: image})
}

// AddSample appends a row. It keeps nothing of s.
func (w *Writer) AddSample(s Sample) error {
	if err := s.check(w.info); err != nil {
		return fmt.Errorf("image %q: %w", s.ID, err)
	}
	if s.Height == 0 || s.Width == 0 {
		s.Height, s.Width = w.info.Height, w.info.Width
	}
	w.to.add(&s)
	w.rows++
	w.total++
	w.bytes += len(s.Image) + len(s.Mask)
	if w.rows >= max(1, batchBytes/w.info.ImageSize()) && !w.info.Encoded || w.bytes >= 2*batchBytes {
		return w.flush()
	}
	return nil
}

func (b *builders) add(s *Sample) {
	b.id.Append(s.ID)
	if b.encoded != nil {
		b.encoded.Append(s.Image)
	} else {
		b.images.Append(true)
		b.pixels.AppendValues(s.Image, nil)
	}
	b.height.Append(int32(s.Height))
	b.width.Append(int32(s.Width))
	if s.Label == NoLabel {
		b.label.AppendNull()
	} else {
		b.label.Append(s.Label)
	}
	b.labels.Append(true)
	b.labelValues.AppendValues(s.Labels, nil)
	b.boxes.Append(true)
	for _, box := range s.Boxes {
		b.box.Append(true)
		for i, v := range [4]float32{box.X0, box.Y0, box.X1, box.Y1} {
			b.sides[i].Append(v)
		}
		b.boxClass.Append(box.Class)
	}
	b.polygons.Append(true)
	for _, p := range s.Polygons {
		b.polygon.Append(true)
		b.polygonClass.Append(p.Class)
		b.rings.Append(true)
		for _, ring := range p.Rings {
			b.points.Append(true)
			b.coordinates.AppendValues(ring, nil)
		}
	}
	if s.Mask == nil {
		b.mask.AppendNull()
	} else {
		b.mask.Append(s.Mask)
	}
	b.split.Append(s.Split)
	b.meta.Append(true)
	for _, p := range s.Meta {
		b.pair.Append(true)
		b.names.Append(p.Name)
		b.values.Append(p.Value)
	}
}

func (w *Writer) flush() error {
	if w.rows == 0 {
		return nil
	}
	batch := w.record.NewRecordBatch()
	defer batch.Release()
	w.rows, w.bytes = 0, 0
	if err := w.ipc.Write(batch); err != nil {
		return fmt.Errorf("writing the dataset %s: %w", w.path, err)
	}
	return nil
}

// Len returns the number of images added so far.
func (w *Writer) Len() int { return w.total }

// Close finishes the file. A dataset without images is an error. After an error the file is not a dataset.
func (w *Writer) Close() error {
	err := w.flush()
	if e := w.ipc.Close(); err == nil && e != nil {
		err = fmt.Errorf("writing the dataset %s: %w", w.path, e)
	}
	// The Arrow writer closes files that it can close; a second Close only tells what the first did.
	_ = w.file.Close()
	if err == nil && w.total == 0 {
		err = fmt.Errorf("writing the dataset %s: it has no images", w.path)
	}
	return err
}
