// Package importer reads images and their annotations from the files that people have. Each format has a file of its own, which turns a source
// into a listing of items whose classes go by name; assemble.go decodes them, judges their annotations and makes samples of them.
//
// A source is a folder, an archive or one file; compressed files and archives are read without unpacking them (source.go).
//
// Rules of the room: files are not trusted. A record that cannot be read is a *RecordError, which names the record and the file and
// lets the caller go on with the next; any other error ends the reading. What is odd, or was changed, is a Finding: nothing is left out or
// repaired in silence. Nothing is allocated on a header's word alone. Records come
// in an order that follows from the names and contents of the files.
package importer

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// Options say what to read and how.
type Options struct {
	Subset   string   // "train", "test" or "all"
	Classes  []string // names by label where the source has none (idx, CIFAR, YOLO), else the classes to take, in order; nil: as the source says
	Channels int      // 1 grey, 3 RGB, 0 as the source has them
	Size     int      // side of the square to scale to, in pixels; 0: as they are

	Task      dataset.Task // "": what the source is for
	LabelFrom string       // where an image's label comes from: "" the source, "name", "folder", "annotation"
	Store     string       // "decoded", "encoded"; "" or "auto": decoded where that stays small

	MaskClasses   []string // names of the values in masks; nil: background and foreground, divided at MaskThreshold
	MaskThreshold int      // grey levels above it are foreground
	// MaskColors are the colours, as #rrggbb, of the classes of masks that are in colours; their order is that of MaskClasses, else of their names.
	MaskColors   map[string]string
	MaxPixels    int64  // of a picture; 0: picture.DefaultPixels
	MaxExpansion int    // how many times its size an archive may expand to; 0: 200
	Scratch      string // folder for a compressed archive while it is read; "": the system's
}

func (o Options) maxPixels() int64 {
	if o.MaxPixels == 0 {
		return picture.DefaultPixels
	}
	return o.MaxPixels
}

// Images are the records of a source. Records may be walked once or more.
type Images struct {
	Info     dataset.Info
	Count    int       // of records, damaged ones included; 0 when not known beforehand
	Classes  []Class   // of Info.Classes, what the source calls each
	Findings []Finding // of the source as a whole, and of annotations without an image

	items   iter.Seq2[item, error]
	all     []Class // of the source, those that are left out among them
	options Options
	folders bool         // classes are folders, which each must have images
	close   func() error // nil: nothing to close
}

// RecordError is a record that cannot be read.
type RecordError struct {
	Record string // its number or name; "" when the file is the record
	File   string // relative to the source
	Err    error
	Kind   *Kind // nil: a damaged image
}

func (e *RecordError) name() string {
	if e.Record == "" {
		return readable(e.File)
	}
	return e.Record + " of " + readable(e.File)
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
	IDX         = "idx"
	CIFAR       = "cifar"
	Folder      = "folder"
	CSV         = "csv"
	VOC         = "voc"
	CVAT        = "cvat"
	COCO        = "coco"
	YOLO        = "yolo"
	Masks       = "masks"
	WebDataset  = "webdataset"
	HuggingFace = "huggingface"
)

// Formats lists the formats in the order in which Detect looks for them.
func Formats() []string {
	return []string{IDX, CIFAR, HuggingFace, COCO, CVAT, VOC, YOLO, CSV, WebDataset, Masks, Folder}
}

// Detect tells the format of the source at path by its files' names and beginnings.
func Detect(path string, o Options) (string, error) {
	s, err := list(path, o)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if f := s.detect(); f != "" {
		return f, nil
	}
	return "", sourceErrorf("No images found", "The source holds %d files, but neither idx files (train-images-idx3-ubyte), nor CIFAR batches (data_batch_1.bin), nor pictures (%s). An archive is given by its own name, and not by that of its folder.", len(s.files), strings.Join(picture.Extensions, ", "))
}

func (s source) detect() string {
	switch {
	case len(s.idxPairs("all")) > 0:
		return IDX
	case len(s.cifarFiles("all")) > 0:
		return CIFAR
	case len(s.parquetFiles()) > 0, len(s.metadataFiles()) > 0:
		return HuggingFace
	}
	pictures := false
	for _, f := range s.files {
		pictures = pictures || isPicture(f)
	}
	if !pictures {
		for _, f := range s.files {
			if path.Ext(f) == ".tar" {
				return WebDataset
			}
		}
		return ""
	}
	if len(s.cocoFiles()) > 0 {
		return COCO
	}
	for _, f := range s.files { // the first file tells; there may be one for each image
		if strings.ToLower(path.Ext(f)) == ".xml" && !hidden(f) {
			switch rootElement(s.head(f)) {
			case "annotations":
				return CVAT
			case "annotation":
				return VOC
			}
		}
	}
	return s.detectText()
}

// detectText tells among the formats of pictures with text beside them, or nothing.
func (s source) detectText() string {
	if s.yoloFile() != "" || len(s.named("classes.txt")) > 0 && slices.ContainsFunc(s.files, func(f string) bool {
		_, ok := s.entries[strings.TrimSuffix(f, path.Ext(f))+".txt"]
		return isPicture(f) && ok
	}) {
		return YOLO
	}
	for _, f := range s.csvFiles() {
		first, _, _ := bytes.Cut(s.head(f), []byte("\n"))
		if header(strings.FieldsFunc(string(first), func(r rune) bool { return strings.ContainsRune(",;\t\r", r) })) != nil {
			return CSV
		}
	}
	if s.isWebDataset() {
		return WebDataset
	}
	if masks, _, _ := s.maskPairs(); len(masks) > 0 {
		return Masks
	}
	return Folder
}

// Open reads the source at path, a folder, an archive or one file, in one of the formats. The caller closes the images.
func Open(path, format string, o Options) (*Images, error) {
	s, err := list(path, o)
	if err != nil {
		return nil, err
	}
	if format == WebDataset {
		if err := s.shardEntries(path, o); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	l, err := s.listing(format, o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	m, err := l.images(o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	m.close = s.close
	return m, nil
}

func (s source) listing(format string, o Options) (*listing, error) {
	open, ok := map[string]func(Options) (*listing, error){
		IDX: s.openIDX, CIFAR: s.openCIFAR, Folder: s.openFolder, CSV: s.openCSV, VOC: s.openVOC, CVAT: s.openCVAT, COCO: s.openCOCO,
		YOLO: s.openYOLO, Masks: s.openMasks, WebDataset: s.openWebDataset, HuggingFace: s.openHuggingFace,
	}[format]
	if !ok {
		return nil, fmt.Errorf("unknown format %q", format)
	}
	return open(o)
}

// FromPixels are images that a program makes: (H, W, C) bytes of info's size, with labels of info's classes.
func FromPixels(info dataset.Info, count int, records iter.Seq2[Record, error]) *Images {
	info.Task = dataset.Classification
	m := &Images{Info: info, Count: count, Classes: classesOf(info.Classes), all: classesOf(info.Classes)}
	m.items = func(yield func(item, error) bool) {
		for r, err := range records {
			if !yield(item{id: r.ID, file: r.ID, pixels: r.Image, size: info.Target(), label: info.Classes[r.Label]}, err) {
				return
			}
		}
	}
	return m
}

// Record is one image of FromPixels. Image is valid until the next.
type Record struct {
	ID    string
	Label int32
	Image []byte // (H, W, C)
}

// Close releases the source. The records must not be walked afterwards.
func (m *Images) Close() error {
	if m.close == nil {
		return nil
	}
	return m.close()
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
