// Package importer reads images from the files that people have: idx (MNIST), the CIFAR binary format, and folders
// with one folder of pictures for each class.
//
// A source is a folder, an archive or one file; compressed files and archives are read without unpacking them (source.go).
//
// Rules of the room: files are not trusted. A record that cannot be read is a *RecordError, which names the record and the file and
// lets the caller go on with the next; any other error ends the reading. Nothing is allocated on a header's word alone. Records come
// in an order that follows from the names and contents of the files.
package importer

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// Options say what to read and how.
type Options struct {
	Subset   string   // "train", "test" or "all"
	Classes  []string // names by label (idx, CIFAR), or the folders to take, in order; nil: as the source says
	Channels int      // 1 grey, 3 RGB, 0 as the source has them
	Size     int      // side of the square to scale to, in pixels; 0: as they are

	MaxExpansion int    // how many times its size an archive may expand to; 0: 200
	Scratch      string // folder for a compressed archive while it is read; "": the system's
}

// Images are the records of a source. Records may be walked once or more.
type Images struct {
	Info    dataset.Info
	Count   int // of records, damaged ones included; 0 when not known beforehand
	Records iter.Seq2[Record, error]

	close func() error // nil: nothing to close
}

// Record is one image. Image is valid until the next.
type Record struct {
	ID    string
	Label int32
	Image []byte // (H, W, C)
}

// RecordError is a record that cannot be read.
type RecordError struct {
	Record string // its number or name; "" when the file is the record
	File   string // relative to the source
	Err    error
}

// Error says which record of which file.
func (e *RecordError) Error() string {
	if e.Record == "" {
		return fmt.Sprintf("the picture %s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s of %s: %v", e.Record, e.File, e.Err)
}

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// SourceError is a source that does not hold what it should; Detail says so in full sentences, for the user.
type SourceError struct{ Summary, Detail string }

// Error joins both.
func (e *SourceError) Error() string { return e.Summary + ": " + e.Detail }

func sourceErrorf(summary, detail string, args ...any) error {
	return &SourceError{summary, fmt.Sprintf(detail, args...)}
}

// The formats.
const (
	IDX    = "idx"
	CIFAR  = "cifar"
	Folder = "folder"
)

// Detect tells the format of the source at path by its files' names.
func Detect(path string, o Options) (string, error) {
	s, err := list(path, o)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if len(s.idxPairs("all")) > 0 {
		return IDX, nil
	}
	if len(s.cifarFiles("all")) > 0 {
		return CIFAR, nil
	}
	for _, f := range s.files {
		if isPicture(f) {
			return Folder, nil
		}
	}
	return "", sourceErrorf("No images found", "The source holds %d files, but neither idx files (train-images-idx3-ubyte), nor CIFAR batches (data_batch_1.bin), nor pictures (%s). An archive is given by its own name, and not by that of its folder.", len(s.files), strings.Join(picture.Extensions, ", "))
}

// Open reads the source at path, a folder, an archive or one file, in one of the formats. The caller closes the images.
func Open(path, format string, o Options) (*Images, error) {
	s, err := list(path, o)
	if err != nil {
		return nil, err
	}
	images, err := s.images(format, o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	images.close = s.close
	return images, nil
}

func (s source) images(format string, o Options) (*Images, error) {
	var images *Images
	var err error
	switch format {
	case IDX:
		images, err = s.openIDX(o)
	case CIFAR:
		images, err = s.openCIFAR(o)
	case Folder:
		return s.openFolder(o)
	default:
		return nil, fmt.Errorf("unknown format %q", format)
	}
	if err != nil {
		return nil, err
	}
	return images.convert(o), nil
}

// Close releases the source. The records must not be walked afterwards.
func (m *Images) Close() error {
	if m.close == nil {
		return nil
	}
	return m.close()
}

// convert scales and recolours raw records.
func (m *Images) convert(o Options) *Images {
	from, to := m.Info, m.Info
	if o.Size > 0 {
		to.Height, to.Width = o.Size, o.Size
	}
	if o.Channels > 0 {
		to.Channels = o.Channels
	}
	if to.Height == from.Height && to.Width == from.Width && to.Channels == from.Channels {
		return m
	}
	records := m.Records
	return &Images{Info: to, Count: m.Count, Records: func(yield func(Record, error) bool) {
		for r, err := range records {
			if err == nil {
				r.Image = picture.Pixels(picture.FromPixels(r.Image, from.Target()), to.Target(), nil)
			}
			if !yield(r, err) {
				return
			}
		}
	}}
}

// classNames returns names for n labels: those given, or the numbers.
func classNames(given []string, n int) []string {
	if given != nil {
		return given
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	return names
}
