package importer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// The magic numbers of idx files of unsigned bytes: two zeros, the type 8, the number of dimensions.
const (
	idxLabels = 0x0801
	idxImages = 0x0803
)

// idxPair is a file of images with its file of labels, relative to the source.
type idxPair struct{ subset, images, labels string }

// idxPairs finds the pairs by the names that MNIST gave them: train- and t10k- (or test-), images-idx3-ubyte and
// labels-idx1-ubyte, or a dot for the last dash of the first part.
func (s source) idxPairs(subset string) []idxPair {
	have := map[string]string{} // canonical name to file
	for _, f := range s.files {
		name := strings.ReplaceAll(path.Base(f), ".idx", "-idx")
		if _, ok := have[name]; !ok {
			have[name] = f
		}
	}
	var pairs []idxPair
	for _, p := range []struct{ subset, prefix string }{{"train", "train"}, {"test", "t10k"}, {"test", "test"}} {
		images, ok := have[p.prefix+"-images-idx3-ubyte"]
		if !ok || subset != "all" && subset != p.subset {
			continue
		}
		pairs = append(pairs, idxPair{p.subset, images, have[p.prefix+"-labels-idx1-ubyte"]})
	}
	return pairs
}

func (s source) openIDX(o Options) (*listing, error) {
	pairs := s.idxPairs(o.Subset)
	if len(pairs) == 0 {
		return nil, sourceErrorf("No images found", "The source holds no idx images of the subset %q. They are looked for as train-images-idx3-ubyte and t10k-images-idx3-ubyte.", o.Subset)
	}
	var info dataset.Info
	l := &listing{task: dataset.Classification, closed: true}
	var labels [][]byte
	classes := 0
	for i, p := range pairs {
		if p.labels == "" {
			return nil, sourceErrorf("Labels missing", "The images %s have no file of labels beside them, %s.", p.images, strings.NewReplacer("images", "labels", "idx3", "idx1").Replace(p.images))
		}
		count, height, width, err := s.idxHeader(p.images)
		if err != nil {
			return nil, err
		}
		values, err := s.idxLabels(p.labels, count)
		if err != nil {
			return nil, err
		}
		if i > 0 && (height != info.Height || width != info.Width) {
			return nil, sourceErrorf("Images of different sizes", "The images of %s are %d×%d, those of %s are %d×%d.", pairs[0].images, info.Width, info.Height, p.images, width, height)
		}
		info.Height, info.Width, info.Channels = height, width, 1
		l.count += count
		labels = append(labels, values)
		for _, v := range values {
			classes = max(classes, int(v)+1)
		}
	}
	if o.Classes == nil {
		if err := checkGap(pairs, labels, classes); err != nil {
			return nil, err
		}
	}
	info.Classes = classNames(o.Classes, classes)
	l.classes = numbered(info.Classes)
	l.items = func(yield func(item, error) bool) {
		for i, p := range pairs {
			if !s.idxRecords(p, labels[i], info, yield) {
				return
			}
		}
	}
	return l, nil
}

// checkGap finds a label that a damaged file invented: without names the labels are 0 to classes-1, and one that no image
// has tells that a larger one is wrong.
func checkGap(pairs []idxPair, labels [][]byte, classes int) error {
	seen := make([]bool, classes)
	for _, l := range labels {
		for _, v := range l {
			seen[v] = true
		}
	}
	gap := slices.Index(seen, false)
	if gap < 0 {
		return nil
	}
	for i, l := range labels {
		for k, v := range l {
			if int(v) > gap {
				return sourceErrorf("Label out of range", "Record %d of %s has the label %d, but no image has the label %d: labels are 0, 1, 2 and so on without a gap. Mend the file, or name the classes in the argument \"classes\"; a record with a label beyond them is damaged, and left out with on_error = \"skip\".", k, pairs[i].labels, v, gap)
			}
		}
	}
	return nil
}

// readHeader reads the magic number and the dimensions that follow it.
func readHeader(r io.Reader, magic uint32, dimensions int) ([]int, error) {
	words := make([]uint32, 1+dimensions)
	if err := binary.Read(r, binary.BigEndian, words); err != nil {
		return nil, fmt.Errorf("the file is too short for its header: %w", noEOF(err))
	}
	if words[0] != magic {
		return nil, fmt.Errorf("the file begins with %#08x, not with %#08x as an idx file of %d dimensions does", words[0], magic, dimensions)
	}
	out := make([]int, dimensions)
	for i := range out {
		if words[1+i] > 1<<31-1 {
			return nil, fmt.Errorf("the header claims %d elements", words[1+i])
		}
		out[i] = int(words[1+i])
	}
	return out, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s source) idxHeader(rel string) (count, height, width int, err error) {
	r, err := s.open(rel)
	if err != nil {
		return 0, 0, 0, err
	}
	defer r.Close()
	n, err := readHeader(r, idxImages, 3)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("reading %s: %w", rel, err)
	}
	if n[0] < 1 || n[1] < 1 || n[2] < 1 || n[1] > dataset.MaxSide || n[2] > dataset.MaxSide {
		return 0, 0, 0, fmt.Errorf("reading %s: the header says %d images of %d×%d pixels", rel, n[0], n[2], n[1])
	}
	return n[0], n[1], n[2], nil
}

// idxLabels reads a file of labels, which must be as many as there are images.
func (s source) idxLabels(rel string, images int) ([]byte, error) {
	r, err := s.open(rel)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	n, err := readHeader(r, idxLabels, 1)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", rel, err)
	}
	if n[0] != images {
		return nil, fmt.Errorf("reading %s: it has %d labels for %d images", rel, n[0], images)
	}
	labels, err := io.ReadAll(io.LimitReader(r, int64(images)))
	if err != nil {
		return nil, fmt.Errorf("reading %s: label %d: %w", rel, len(labels), noEOF(err))
	}
	if len(labels) < images {
		return nil, fmt.Errorf("reading %s: it ends after %d of %d labels", rel, len(labels), images)
	}
	return labels, nil
}

// numbered are classes that the source calls by their numbers.
func numbered(names []string) []Class {
	out := classesOf(names)
	for i := range out {
		out[i].Source = strconv.Itoa(i)
	}
	return out
}

// idxRecords yields the records of one pair, and reports whether to go on.
func (s source) idxRecords(p idxPair, labels []byte, info dataset.Info, yield func(item, error) bool) bool {
	f, err := s.open(p.images)
	if err != nil {
		return yield(item{}, err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<18)
	if _, err := readHeader(r, idxImages, 3); err != nil {
		return yield(item{}, fmt.Errorf("reading %s: %w", p.images, err))
	}
	var image []byte
	for i, label := range labels {
		bad := func(err error) bool {
			return yield(item{}, &RecordError{Record: fmt.Sprintf("record %d", i), File: p.images, Err: err})
		}
		var err error
		if image == nil { // grows with what is there, whatever size the header claims
			image, err = io.ReadAll(io.LimitReader(r, int64(info.ImageSize())))
			if err == nil && len(image) < info.ImageSize() {
				err = io.ErrUnexpectedEOF
			}
		} else {
			_, err = io.ReadFull(r, image)
		}
		if err != nil {
			// What follows cannot be found any more.
			return bad(fmt.Errorf("the file is cut off or damaged here, %d records are lost: %w", len(labels)-i, noEOF(err)))
		}
		if int(label) >= len(info.Classes) {
			if !bad(fmt.Errorf("the label %d is out of range, there are %d classes", label, len(info.Classes))) {
				return false
			}
			continue
		}
		if !yield(item{id: fmt.Sprintf("%s/%d", p.subset, i), file: p.images, pixels: image, size: info.Target(), label: info.Classes[label], split: p.subset}, nil) {
			return false
		}
	}
	return true
}
