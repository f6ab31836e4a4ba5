package importer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

const (
	cifarSide   = 32
	cifarPixels = 3 * cifarSide * cifarSide
)

var cifar10 = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}

// cifarFiles finds the batches by their usual names: data_batch_N.bin and test_batch.bin of CIFAR-10, train.bin and
// test.bin of CIFAR-100.
func (s source) cifarFiles(subset string) []string {
	var train, test []string
	for _, f := range s.files {
		name := path.Base(f)
		switch {
		case strings.HasPrefix(name, "data_batch_") && strings.HasSuffix(name, ".bin"), name == "train.bin":
			train = append(train, f)
		case name == "test_batch.bin", name == "test.bin":
			test = append(test, f)
		}
	}
	switch subset {
	case "train":
		return train
	case "test":
		return test
	}
	return append(train, test...)
}

func (s source) openCIFAR(o Options) (*listing, error) {
	files := s.cifarFiles(o.Subset)
	if len(files) == 0 {
		return nil, sourceErrorf("No images found", "The source holds no CIFAR batches of the subset %q. They are looked for as data_batch_1.bin and test_batch.bin (CIFAR-10), train.bin and test.bin (CIFAR-100).", o.Subset)
	}
	l := &listing{task: dataset.Classification, closed: true}
	head := 1 // label bytes of a record: one, or a coarse and a fine one
	if base := path.Base(files[0]); base == "train.bin" || base == "test.bin" {
		head = 2
	}
	for _, f := range files {
		if size := s.entries[f].size; size >= 0 {
			l.count += int((size + int64(head+cifarPixels) - 1) / int64(head+cifarPixels))
		}
	}
	classes := o.Classes
	switch {
	case classes != nil:
	case head == 2:
		if classes = s.lines("fine_label_names.txt"); classes == nil {
			classes = classNames(nil, 100)
		}
	default:
		if classes = s.lines("batches.meta.txt"); classes == nil {
			classes = cifar10
		}
	}
	l.classes = numbered(classes)
	l.items = func(yield func(item, error) bool) {
		for _, f := range files {
			if !s.cifarRecords(f, head, classes, yield) {
				return
			}
		}
	}
	return l, nil
}

// lines returns the lines of a small file of names anywhere in the source, or nil.
func (s source) lines(name string) []string {
	files := s.named(name)
	if len(files) == 0 {
		return nil
	}
	b, err := s.read(files[0], 1<<16)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

// cifarRecords yields the records of one file, and reports whether to go on.
func (s source) cifarRecords(rel string, head int, classes []string, yield func(item, error) bool) bool {
	f, err := s.open(rel)
	if err != nil {
		return yield(item{}, err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<18)
	raw, image := make([]byte, head+cifarPixels), make([]byte, cifarPixels)
	name := strings.TrimSuffix(path.Base(rel), ".bin")
	split := "train"
	if strings.HasPrefix(name, "test") {
		split = "test"
	}
	for i := 0; ; i++ {
		bad := func(err error) bool {
			return yield(item{}, &RecordError{Record: fmt.Sprintf("record %d", i), File: rel, Err: err})
		}
		n, err := io.ReadFull(r, raw)
		switch {
		case errors.Is(err, io.EOF):
			return true
		case errors.Is(err, io.ErrUnexpectedEOF):
			return bad(fmt.Errorf("the file ends after %d of its %d bytes", n, len(raw)))
		case err != nil:
			return yield(item{}, fmt.Errorf("reading %s: %w", rel, err))
		}
		label := raw[head-1]
		if int(label) >= len(classes) {
			if !bad(fmt.Errorf("the label %d is out of range, there are %d classes", label, len(classes))) {
				return false
			}
			continue
		}
		// The file has planes (C, H, W).
		const plane = cifarSide * cifarSide
		for p := range plane {
			for c := range 3 {
				image[3*p+c] = raw[head+c*plane+p]
			}
		}
		if !yield(item{id: fmt.Sprintf("%s/%d", name, i), file: rel, pixels: image, size: picture.Target{Height: cifarSide, Width: cifarSide, Channels: 3},
			label: classes[label], split: split}, nil) {
			return false
		}
	}
}
