package importer

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// maxDecoded is how many bytes of pixels a dataset holds decoded when nobody says how to store them.
const maxDecoded = 8 << 30

// background is the class 0 of masks that are drawn, and of those that are divided in two.
const background = "background"

// images settles what a listing leaves open: the task, the classes, and the size and channels of the images.
func (l *listing) images(o Options) (*Images, error) {
	m := &Images{Count: l.count, Findings: l.found, all: l.classes, options: o, folders: l.folders}
	m.Info = dataset.Info{Task: l.task, MaskClasses: l.maskClasses, Height: o.Size, Width: o.Size, Channels: o.Channels}
	if o.Task != "" {
		m.Info.Task = o.Task
	}
	m.items = l.items
	if err := m.labelsFrom(l); err != nil {
		return nil, err
	}
	if err := m.choose(l); err != nil {
		return nil, err
	}
	if m.Info.Task == dataset.Segmentation && m.Info.MaskClasses == nil {
		m.Info.MaskClasses = []string{background}
		for _, name := range m.Info.Classes {
			if name != background {
				m.Info.MaskClasses = append(m.Info.MaskClasses, name)
			}
		}
		if len(m.Info.MaskClasses) > int(dataset.Ignore) {
			return nil, sourceErrorf("Too many classes", "Masks have %d values for classes, and the source has %d. Name those to take in the argument \"classes\".", dataset.Ignore-1, len(m.Info.Classes))
		}
	}
	if err := m.headers(); err != nil {
		return nil, err
	}
	m.Info.Encoded = o.Store == "encoded" || (o.Store == "" || o.Store == "auto") && int64(m.Count)*int64(m.Info.ImageSize()) > maxDecoded
	return m, nil
}

// labelsFrom adds the classes that come from names or folders, where labels do.
func (m *Images) labelsFrom(l *listing) error {
	o := m.options
	if o.LabelFrom == "" {
		if o.Task == dataset.Classification && l.task == dataset.Detection {
			return sourceErrorf("No labels", "The source has boxes, and no label for each image. Say where the labels come from: label_from = \"name\" (the file's name up to the last underscore), \"folder\" or \"annotation\" (the class of most boxes).")
		}
		return nil
	}
	if o.LabelFrom == "annotation" {
		return nil
	}
	a := &assembler{Images: m, o: o}
	names := map[string]bool{}
	for it, err := range m.items {
		if err != nil {
			continue
		}
		if name := a.nameOf(&it); name != "" {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(keys(names)) {
		if !slices.ContainsFunc(m.all, func(c Class) bool { return c.Name == name }) {
			m.all = append(m.all, Class{Name: name})
		}
	}
	return nil
}

func keys(m map[string]bool) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// choose takes the classes that the user names, or all.
func (m *Images) choose(l *listing) error {
	if m.options.Classes == nil {
		m.Classes = m.all
	}
	for _, name := range m.options.Classes {
		i := slices.IndexFunc(m.all, func(c Class) bool { return c.Name == name })
		if i < 0 {
			var names []string
			for _, c := range m.all {
				names = append(names, c.Name)
			}
			if l.folders {
				return sourceErrorf("Class without images", "There is no folder %q with pictures. The classes found are %s.", name, strings.Join(names, ", "))
			}
			return sourceErrorf("Class without images", "The source has no class %q. The classes found are %s.", name, strings.Join(names, ", "))
		}
		m.Classes = append(m.Classes, m.all[i])
	}
	for _, c := range m.Classes {
		m.Info.Classes = append(m.Info.Classes, c.Name)
	}
	if len(m.Info.Classes) == 0 && m.Info.Task != dataset.Unlabelled && m.Info.Task != dataset.Segmentation {
		return sourceErrorf("No classes found", "None of the %d annotations names a class.", m.Count)
	}
	return nil
}

// headers fills in what the user left open: the size of the first picture that can be read, and RGB unless all are grey.
func (m *Images) headers() error {
	info := &m.Info
	if info.Height > 0 && info.Channels > 0 {
		return nil
	}
	wanted := info.Channels
	var height, width, n int
	var last error
	name := ""
	for it, err := range m.items {
		if err != nil {
			last = err
			continue
		}
		n++
		h, err := it.header()
		if err != nil {
			last, name = err, it.file // it is a damaged record, told where records are read
			continue
		}
		if height == 0 {
			height, width = h.Height, h.Width
		}
		if info.Channels = max(info.Channels, 1); !h.Grey() {
			info.Channels = 3
		}
		if info.Channels == 3 || wanted > 0 || it.read == nil { // raw pixels are all of one kind
			break
		}
	}
	if height == 0 {
		if name == "" && last != nil {
			return last
		}
		return fmt.Errorf("none of the %d pictures can be read; the last one, %s: %w", n, name, errors.Join(last))
	}
	if wanted > 0 {
		info.Channels = wanted
	}
	if info.Height == 0 {
		info.Height, info.Width = height, width
	}
	return nil
}

// header reads the header of the item's picture.
func (it *item) header() (picture.Header, error) {
	if it.read == nil {
		h := picture.Header{Height: it.size.Height, Width: it.size.Width, Model: "rgb"}
		if it.size.Channels == 1 {
			h.Model = "grey"
		}
		return h, nil
	}
	if it.head != nil {
		return it.head()
	}
	b, err := it.read()
	if err != nil {
		return picture.Header{}, err
	}
	return picture.ReadHeader(b)
}

// headBytes is how much of a file is read for its header at first.
const headBytes = 1 << 16

// header reads the header of a picture, and more of the file only where the header is longer than most.
func (s source) header(rel string) (picture.Header, error) {
	f, err := s.open(rel)
	if err != nil {
		return picture.Header{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, headBytes))
	if err != nil {
		return picture.Header{}, noEOF(err)
	}
	h, err := picture.ReadHeader(b)
	if err == nil || len(b) < headBytes {
		return h, err
	}
	rest, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return picture.Header{}, noEOF(err)
	}
	return picture.ReadHeader(append(b, rest...))
}
