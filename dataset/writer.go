package dataset

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

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
	schema *arrow.Schema

	ids    *array.StringBuilder
	labels *array.Int32Builder
	images *array.FixedSizeListBuilder
	pixels *array.Uint8Builder
	rows   int // in the batch that is being filled
	total  int
}

// Create begins a dataset file at path.
func Create(path string, info Info) (*Writer, error) {
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
	w := &Writer{path: path, info: info, file: f, ipc: fw, schema: schema}
	mem := memory.DefaultAllocator
	w.ids = array.NewStringBuilder(mem)
	w.labels = array.NewInt32Builder(mem)
	w.images = array.NewFixedSizeListBuilderWithField(mem, int32(info.ImageSize()), pixelField)
	w.pixels = w.images.ValueBuilder().(*array.Uint8Builder)
	return w, nil
}

var pixelField = arrow.Field{Name: "item", Type: arrow.PrimitiveTypes.Uint8}

func newSchema(info Info) (*arrow.Schema, error) {
	classes, err := json.Marshal(info.Classes)
	if err != nil {
		return nil, err
	}
	keys := []string{keyFormat, keyClasses, keyHeight, keyWidth, keyChannels}
	values := []string{format, string(classes), strconv.Itoa(info.Height), strconv.Itoa(info.Width), strconv.Itoa(info.Channels)}
	if info.Policy != nil {
		keys, values = append(keys, keyPolicy), append(values, string(info.Policy.JSON()))
	}
	meta := arrow.NewMetadata(keys, values)
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "image", Type: arrow.FixedSizeListOfField(int32(info.ImageSize()), pixelField)},
		{Name: "label", Type: arrow.PrimitiveTypes.Int32},
	}, &meta), nil
}

// Add appends an image of (H, W, C) bytes. It does not keep image.
func (w *Writer) Add(id string, label int32, image []byte) error {
	if len(image) != w.info.ImageSize() {
		return fmt.Errorf("image %q has %d bytes, not %d", id, len(image), w.info.ImageSize())
	}
	if label < 0 || int(label) >= len(w.info.Classes) {
		return fmt.Errorf("image %q has the label %d, which is not one of the %d classes", id, label, len(w.info.Classes))
	}
	w.ids.Append(id)
	w.labels.Append(label)
	w.images.Append(true)
	w.pixels.AppendValues(image, nil)
	w.rows++
	w.total++
	if w.rows >= max(1, batchBytes/w.info.ImageSize()) {
		return w.flush()
	}
	return nil
}

func (w *Writer) flush() error {
	if w.rows == 0 {
		return nil
	}
	columns := []arrow.Array{w.ids.NewArray(), w.images.NewArray(), w.labels.NewArray()}
	batch := array.NewRecordBatch(w.schema, columns, int64(w.rows))
	w.rows = 0
	err := w.ipc.Write(batch)
	batch.Release()
	for _, c := range columns {
		c.Release()
	}
	if err != nil {
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
