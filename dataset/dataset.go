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
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sort"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// Limits of a dataset. A file that claims more is refused before anything is allocated for it.
const (
	MaxSide    = 16384
	MaxClasses = 100_000
)

// Info describes the images of a dataset. All have one size when they are read.
type Info struct {
	Task     Task     // "" stands for Classification
	Classes  []string // names; labels, and classes of boxes and polygons, are indexes
	Height   int      // pixels
	Width    int      // pixels
	Channels int      // 1: grey, 3: RGB
	// Encoded images are kept as the files that they were, and decoded, scaled and recoloured to what Info says when they are read.
	Encoded bool
	// MaskClasses are the names of the values in masks, the background's among them; nil: no image has a mask.
	MaskClasses []string
	Policy      *Policy // the attached augmentations; nil: none
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
	case !slices.Contains(tasks, i.Task):
		return fmt.Errorf("unknown task %q", i.Task)
	case len(i.Classes) < 1 && i.Task != Unlabelled && i.Task != Segmentation || len(i.Classes) > MaxClasses:
		return fmt.Errorf("%d classes: a dataset for %s has 1 to %d", len(i.Classes), i.Task, MaxClasses)
	case len(i.MaskClasses) > int(Ignore) || len(i.MaskClasses) == 0 && i.Task == Segmentation:
		return fmt.Errorf("%d classes of masks: a dataset for segmentation has 1 to %d", len(i.MaskClasses), Ignore)
	}
	return errors.Join(checkNames(i.Classes), checkNames(i.MaskClasses))
}

var tasks = []Task{Unlabelled, Classification, MultiLabel, Detection, Segmentation}

func checkNames(names []string) error {
	seen := make(map[string]bool, len(names))
	for _, c := range names {
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
	rows   int
	// size is the number of rows in every chunk but the last; 0 when they differ.
	size     int
	labelled bool
}

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
	d, err := parse(mapped, func() { release(mapped) })
	if err != nil {
		_ = unix.Munmap(mapped) // the first error is the one to report
		return nil, fmt.Errorf("%s is not a dataset that can be read: %w", path, err)
	}
	d.path, d.mapped = path, mapped
	return d, nil
}

// releaseEvery is how many record batches are checked before the pages that this took are released. Each takes some hundred kilobytes of them.
const releaseEvery = 256

// release gives the pages of a mapped file back, which the kernel would otherwise count as the process's memory for as long as there is some left; what is read
// again is mapped again. A kernel that declines costs nothing but that.
func release(mapped []byte) { _ = unix.Madvise(mapped, unix.MADV_DONTNEED) }

// Release says that what was read so far is not needed soon. Views stay valid. It is for those who look at large images here and there.
func (d *Dataset) Release() {
	if d.mapped != nil {
		release(d.mapped)
	}
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

// at returns the chunk of row i and its place there.
func (d *Dataset) at(i int) (*chunk, int) {
	if d.size > 0 {
		return &d.chunks[i/d.size], i % d.size
	}
	n := sort.Search(len(d.chunks), func(n int) bool { return d.chunks[n].first > i }) - 1
	return &d.chunks[n], i - d.chunks[n].first
}

// ID returns the name that the image had where it came from.
func (d *Dataset) ID(i int) string { c, k := d.at(i); return c.ids.Value(k) }

// Label returns the index of the image's class, NoLabel when it has none.
func (d *Dataset) Label(i int) int32 { c, k := d.at(i); return c.labels[k] }

// Labelled reports whether every image has a label.
func (d *Dataset) Labelled() bool { return d.labelled }

// Labels returns the classes of an image of a multi-label dataset, rising; a view that must not be written to.
func (d *Dataset) Labels(i int) []int32 { c, k := d.at(i); return c.labelsOf(k) }

// Boxes returns the image's boxes.
func (d *Dataset) Boxes(i int) []Box { c, k := d.at(i); return c.boxesOf(k) }

// Polygons returns the image's polygons. Their rings are views that must not be written to.
func (d *Dataset) Polygons(i int) []Polygon { c, k := d.at(i); return c.polygonsOf(k) }

// Mask returns the image's mask, (H, W) indexes of Info.MaskClasses or Ignore, nil when it has none; a view that must not be written to.
func (d *Dataset) Mask(i int) []byte { c, k := d.at(i); return c.mask(k) }

// Split returns the part into which the source puts the image; "" for none.
func (d *Dataset) Split(i int) string {
	if c, k := d.at(i); c.splits != nil {
		return c.splits.Value(k)
	}
	return ""
}

// Meta returns what else the source says of the image, in the source's order.
func (d *Dataset) Meta(i int) []Pair { c, k := d.at(i); return c.metaOf(k) }

// Sample returns everything of row i, so that it can be added to another dataset of the same Info. Its texts, pixels, mask and rings are
// views of the file that must not be written to; its lists of boxes and polygons are new.
func (d *Dataset) Sample(i int) Sample {
	c, k := d.at(i)
	var s Sample
	c.fill(&s, k, d.info)
	return s
}

// Image returns the pixels of a dataset that is not encoded, (H, W, C) bytes: a view of the file that must not be written to. Of an
// encoded one use Pixels, which may fail.
func (d *Dataset) Image(i int) []byte {
	if d.info.Encoded {
		panic("dataset: Image of an encoded dataset; use Pixels")
	}
	c, k := d.at(i)
	return c.image(k, d.info)
}

// Pixels returns the pixels, (H, W, C) bytes: those of the file, which must not be written to, or, in an encoded dataset, decoded into
// buffer when that is large enough. It is safe for concurrent use with different buffers.
func (d *Dataset) Pixels(i int, buffer []byte) ([]byte, error) {
	c, k := d.at(i)
	if !d.info.Encoded {
		return c.image(k, d.info), nil
	}
	out, err := picture.Decode(c.image(k, d.info), d.info.Target(), buffer)
	if err != nil {
		return nil, fmt.Errorf("image %q of the dataset %s: %w", c.ids.Value(k), d.path, err)
	}
	return out, nil
}

// Target is what pictures are decoded to for images of this kind.
func (i Info) Target() picture.Target {
	return picture.Target{Height: i.Height, Width: i.Width, Channels: i.Channels}
}

// Counts returns the number of images of each label; images without one are in none.
func (d *Dataset) Counts() []int {
	counts := make([]int, len(d.info.Classes))
	for _, c := range d.chunks {
		for _, l := range c.labels {
			if l != NoLabel {
				counts[l]++
			}
		}
	}
	return counts
}

// parse reads an Arrow IPC file, and calls release now and then. The Arrow library panics on some malformed files; here that becomes an error.
func parse(data []byte, release func()) (d *Dataset, err error) {
	defer func() {
		if r := recover(); r != nil {
			d, err = nil, fmt.Errorf("malformed Arrow file: %v", r)
		}
	}()
	data = data[:len(data):len(data)] // the library slices by what the file says, up to the capacity
	if err := checkLengths(data); err != nil {
		return nil, err
	}
	r, err := ipc.NewMappedFileReader(data, ipc.WithMetadataSizeLimit(64<<20), ipc.WithBodySizeLimit(int64(len(data))))
	if err != nil {
		return nil, err
	}
	d = &Dataset{labelled: true}
	info, old, err := readInfo(r.Schema())
	if err != nil {
		return nil, err
	}
	d.info = info
	for n := range r.NumRecords() {
		batch, err := r.RecordBatch(n)
		if err != nil {
			return nil, fmt.Errorf("record batch %d: %w", n, err)
		}
		c, err := readChunk(batch, info, old)
		if err != nil {
			return nil, fmt.Errorf("record batch %d: %w", n, err)
		}
		if err := d.append(c, n == r.NumRecords()-1); err != nil {
			return nil, fmt.Errorf("record batch %d: %w", n, err)
		}
		if n%releaseEvery == releaseEvery-1 {
			release()
		}
	}
	if d.rows == 0 {
		return nil, errors.New("it has no images")
	}
	return d, nil
}

// append adds a chunk.
func (d *Dataset) append(c chunk, last bool) error {
	switch {
	case c.rows == 0:
		return errors.New("it has no rows")
	case len(d.chunks) == 0:
		d.size = c.rows
	case c.rows > d.size || !last && c.rows != d.size:
		d.size = 0
	}
	c.first = d.rows
	d.chunks = append(d.chunks, c)
	d.rows += c.rows
	d.labelled = d.labelled && !slices.Contains(c.labels, NoLabel)
	return nil
}
