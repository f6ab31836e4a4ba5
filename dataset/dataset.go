// Package dataset is the image dataset artifact: its Arrow file, the importers that make one from what people have,
// the augmentation policy that travels with it, and the loader that turns it into batches.
//
// Rules of the room: it imports artifact at most, never stages or the engine. Everything random is counter-based, a
// function of (seed, purpose, epoch, sample), so no result depends on the number of workers or on timing. What is read
// from a file is validated once, when it is opened; after that no access can fail.
//
// Floating point: Go does not fuse multiplications and additions on amd64, so the same source gives the same bits on
// every machine of that kind.
package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"golang.org/x/sys/unix"
)

// Limits of a dataset. A file that claims more is refused before anything is allocated for it.
const (
	MaxSide    = 16384
	MaxClasses = 100_000
)

// Info describes the images of a dataset. All have one size.
type Info struct {
	Classes  []string // names; the label is the index
	Height   int      // pixels
	Width    int      // pixels
	Channels int      // 1: grey, 3: RGB
	Policy   *Policy  // the attached augmentations; nil: none
}

// ImageSize returns the number of bytes of one image.
func (i Info) ImageSize() int { return i.Height * i.Width * i.Channels }

// check refuses sizes that no dataset has.
func (i Info) check() error {
	switch {
	case i.Height < 1 || i.Width < 1 || i.Height > MaxSide || i.Width > MaxSide:
		return fmt.Errorf("image size %d×%d is not within 1 to %d", i.Width, i.Height, MaxSide)
	case i.Channels != 1 && i.Channels != 3:
		return fmt.Errorf("%d channels: an image has 1 (grey) or 3 (RGB)", i.Channels)
	case len(i.Classes) < 1 || len(i.Classes) > MaxClasses:
		return fmt.Errorf("%d classes: a dataset has 1 to %d", len(i.Classes), MaxClasses)
	}
	seen := make(map[string]bool, len(i.Classes))
	for _, c := range i.Classes {
		if c == "" || seen[c] {
			return fmt.Errorf("class name %q is empty or occurs twice", c)
		}
		seen[c] = true
	}
	return nil
}

// Dataset is an open dataset file. It is immutable and safe for concurrent use until Close.
type Dataset struct {
	path   string
	info   Info
	mapped []byte
	chunks []chunk
	// size is the number of rows in every chunk but the last.
	size, rows int
}

// chunk is one record batch: views into the mapped file.
type chunk struct {
	ids    *array.String
	labels []int32
	pixels []byte
}

// The keys of the schema's metadata.
const (
	keyFormat   = "darkroom.format"
	keyClasses  = "darkroom.classes"
	keyHeight   = "darkroom.height"
	keyWidth    = "darkroom.width"
	keyChannels = "darkroom.channels"
	keyPolicy   = "darkroom.policy"
	format      = "dataset 1"
)

// Open maps the dataset file at path and validates it. Errors name the file and the record.
func Open(path string) (*Dataset, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the dataset: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the dataset: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > math.MaxInt {
		return nil, fmt.Errorf("%s is not a dataset: it is empty or not a file", path)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping the dataset %s: %w", path, err)
	}
	d, err := parse(mapped)
	if err != nil {
		_ = unix.Munmap(mapped) // the first error is the one to report
		return nil, fmt.Errorf("%s is not a dataset that can be read: %w", path, err)
	}
	d.path, d.mapped = path, mapped
	return d, nil
}

// Close releases the mapped file; no view of it may be used afterwards.
func (d *Dataset) Close() error {
	if d.mapped == nil {
		return nil
	}
	err := unix.Munmap(d.mapped)
	d.mapped, d.chunks, d.rows = nil, nil, 0
	return err
}

// Info describes the images. The caller must not change what it refers to.
func (d *Dataset) Info() Info { return d.info }

// Len returns the number of images.
func (d *Dataset) Len() int { return d.rows }

// ID returns the name that the image had where it came from.
func (d *Dataset) ID(i int) string { return d.chunks[i/d.size].ids.Value(i % d.size) }

// Label returns the index of the image's class.
func (d *Dataset) Label(i int) int32 { return d.chunks[i/d.size].labels[i%d.size] }

// Image returns the pixels, (H, W, C) bytes: a view of the file that must not be written to.
func (d *Dataset) Image(i int) []byte {
	n := d.info.ImageSize()
	at := (i % d.size) * n
	return d.chunks[i/d.size].pixels[at : at+n : at+n]
}

// Counts returns the number of images of each class.
func (d *Dataset) Counts() []int {
	counts := make([]int, len(d.info.Classes))
	for _, c := range d.chunks {
		for _, l := range c.labels {
			counts[l]++
		}
	}
	return counts
}

// parse reads an Arrow IPC file. The Arrow library panics on some malformed files; here that becomes an error.
func parse(data []byte) (d *Dataset, err error) {
	defer func() {
		if r := recover(); r != nil {
			d, err = nil, fmt.Errorf("malformed Arrow file: %v", r)
		}
	}()
	if err := checkLengths(data); err != nil {
		return nil, err
	}
	r, err := ipc.NewMappedFileReader(data, ipc.WithMetadataSizeLimit(64<<20), ipc.WithBodySizeLimit(int64(len(data))))
	if err != nil {
		return nil, err
	}
	d = &Dataset{}
	if d.info, err = readInfo(r.Schema()); err != nil {
		return nil, err
	}
	for n := range r.NumRecords() {
		batch, err := r.RecordBatch(n)
		if err != nil {
			return nil, fmt.Errorf("record batch %d: %w", n, err)
		}
		c, err := d.readChunk(batch)
		if err != nil {
			return nil, fmt.Errorf("record batch %d: %w", n, err)
		}
		if n == 0 {
			d.size = len(c.labels)
		}
		last := n == r.NumRecords()-1
		if len(c.labels) == 0 || !last && len(c.labels) != d.size || len(c.labels) > d.size {
			return nil, fmt.Errorf("record batch %d has %d rows, the first has %d", n, len(c.labels), d.size)
		}
		d.chunks = append(d.chunks, c)
		d.rows += len(c.labels)
	}
	if d.rows == 0 {
		return nil, errors.New("it has no images")
	}
	return d, nil
}

func readInfo(s *arrow.Schema) (Info, error) {
	meta := s.Metadata()
	get := func(key string) string {
		v, _ := meta.GetValue(key)
		return v
	}
	var info Info
	if get(keyFormat) != format {
		return info, fmt.Errorf("the schema's metadata lacks %s = %q", keyFormat, format)
	}
	if err := json.Unmarshal([]byte(get(keyClasses)), &info.Classes); err != nil {
		return info, fmt.Errorf("class names: %w", err)
	}
	for _, n := range []struct {
		key string
		to  *int
	}{{keyHeight, &info.Height}, {keyWidth, &info.Width}, {keyChannels, &info.Channels}} {
		v, err := strconv.Atoi(get(n.key))
		if err != nil {
			return info, fmt.Errorf("%s: %w", n.key, err)
		}
		*n.to = v
	}
	if err := info.check(); err != nil {
		return info, err
	}
	if text := get(keyPolicy); text != "" {
		p, err := ParsePolicy([]byte(text))
		if err != nil {
			return info, fmt.Errorf("augmentation policy: %w", err)
		}
		info.Policy = p
	}
	return info, nil
}

// readChunk checks that a record batch has the columns of a dataset and returns views of them.
func (d *Dataset) readChunk(b arrow.RecordBatch) (chunk, error) {
	var c chunk
	column := func(name string) arrow.Array {
		for i, f := range b.Schema().Fields() {
			if f.Name == name {
				return b.Column(i)
			}
		}
		return nil
	}
	ids, ok := column("id").(*array.String)
	labels, ok2 := column("label").(*array.Int32)
	images, ok3 := column("image").(*array.FixedSizeList)
	if !ok || !ok2 || !ok3 {
		return c, errors.New("the columns id (string), label (int32) or image (fixed-size list) are missing or of another type")
	}
	pixels, ok := images.ListValues().(*array.Uint8)
	if !ok {
		return c, errors.New("the column image does not hold bytes")
	}
	if err := ids.ValidateFull(); err != nil {
		return c, fmt.Errorf("column id: %w", err)
	}
	n, rows := d.info.ImageSize(), int(b.NumRows())
	if ids.NullN()+labels.NullN()+images.NullN()+pixels.NullN() > 0 {
		return c, errors.New("a value is missing")
	}
	start, _ := int64(0), int64(0)
	if rows > 0 {
		start, _ = images.ValueOffsets(0)
	}
	values := pixels.Uint8Values()
	if int(images.DataType().(*arrow.FixedSizeListType).Len()) != n || int64(len(values))-start < int64(rows)*int64(n) || ids.Len() != rows || len(labels.Int32Values()) != rows {
		return c, errors.New("the columns do not fit the image size")
	}
	ids.Retain() // the reader gives a batch up when it reads the next
	c.ids, c.labels, c.pixels = ids, labels.Int32Values(), values[start:start+int64(rows)*int64(n)]
	for i, l := range c.labels {
		if l < 0 || int(l) >= len(d.info.Classes) {
			return c, fmt.Errorf("record %d (%q): label %d is not one of the %d classes", d.rows+i, ids.Value(i), l, len(d.info.Classes))
		}
	}
	return c, nil
}
