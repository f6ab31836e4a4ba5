package importer

import (
	"fmt"
	"image"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

func isPicture(name string) bool {
	return slices.Contains(picture.Extensions, strings.ToLower(path.Ext(name))) && !strings.HasPrefix(path.Base(name), ".")
}

// maxFile bounds the bytes of a picture's file.
const maxFile = 1 << 30

// openFolder reads pictures below one folder for each class; deeper folders belong to the class above them.
func (s source) openFolder(o Options) (*Images, error) {
	files, base, err := s.pictures(o.Subset)
	if err != nil {
		return nil, err
	}
	classes, err := s.folderClasses(files, base, o.Classes)
	if err != nil {
		return nil, err
	}
	info := dataset.Info{Classes: classes, Height: o.Size, Width: o.Size, Channels: o.Channels}
	if err := s.headers(files, &info); err != nil {
		return nil, err
	}
	m := &Images{Info: info}
	var taken []string
	for _, f := range files {
		if slices.Contains(classes, classOf(f, base)) {
			taken = append(taken, f)
		}
	}
	m.Count = len(taken)
	m.Records = func(yield func(Record, error) bool) {
		for _, f := range taken {
			pixels, err := s.picture(f, info, o.Size == 0)
			r := Record{ID: readable(strings.TrimPrefix(f, base)), Label: int32(slices.Index(classes, classOf(f, base))), Image: pixels}
			if err != nil {
				r, err = Record{}, &RecordError{"", f, err}
			}
			if !yield(r, err) {
				return
			}
		}
	}
	return m, nil
}

// pictures lists the pictures of a subset: those below the folder of its name. base is the prefix of the class folders.
func (s source) pictures(subset string) (files []string, base string, err error) {
	if subset != "all" {
		base = subset + "/"
	}
	for _, f := range s.files {
		if isPicture(f) && strings.HasPrefix(f, base) {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		where := "The source"
		if base != "" {
			where = fmt.Sprintf("The folder %q of the source", base)
		}
		return nil, "", sourceErrorf("No images found", "%s holds no pictures (%s). It needs one folder of pictures for each class.", where, strings.Join(picture.Extensions, ", "))
	}
	for _, f := range files {
		if classOf(f, base) == "" {
			return nil, "", sourceErrorf("Picture outside of a class folder", "The picture %s lies in no folder, so its class is not known. Put the pictures of each class into a folder named after it.", f)
		}
	}
	return files, base, nil
}

// classOf returns the first folder below base; "" when there is none.
func classOf(file, base string) string {
	class, _, ok := strings.Cut(strings.TrimPrefix(file, base), "/")
	if !ok {
		return ""
	}
	return readable(class)
}

// folderClasses returns the class names, sorted or as given, each of which must have pictures.
func (s source) folderClasses(files []string, base string, given []string) ([]string, error) {
	var found, all []string
	for _, f := range files {
		found = append(found, classOf(f, base))
	}
	slices.Sort(found)
	found = slices.Compact(found)
	for _, f := range s.files {
		if c := classOf(f, base); strings.HasPrefix(f, base) && c != "" && !strings.HasPrefix(c, ".") && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	if given == nil {
		for _, c := range all {
			if !slices.Contains(found, c) {
				return nil, sourceErrorf("Class without images", "The folder %q holds files, but no pictures (%s). Remove it, or name the classes to take in the argument \"classes\".", c, strings.Join(picture.Extensions, ", "))
			}
		}
		return found, nil
	}
	for _, c := range given {
		if !slices.Contains(found, c) {
			return nil, sourceErrorf("Class without images", "There is no folder %q with pictures. The classes found are %s.", c, strings.Join(found, ", "))
		}
	}
	return given, nil
}

// headers fills in what the user left open: the size of the first picture that can be read, and RGB unless all are grey.
func (s source) headers(files []string, info *dataset.Info) error {
	if info.Height > 0 && info.Channels > 0 {
		return nil
	}
	channels, size := 1, image.Point{}
	var last error
	for _, f := range files {
		c, err := s.header(f)
		if err != nil {
			last = err // it is a damaged record, told where records are read
			continue
		}
		if size == (image.Point{}) {
			size = image.Pt(c.Width, c.Height)
		}
		if !c.Grey() {
			channels = 3
		}
	}
	if size == (image.Point{}) {
		return fmt.Errorf("none of the %d pictures can be read; the last one, %s: %w", len(files), files[len(files)-1], last)
	}
	if info.Height == 0 {
		info.Width, info.Height = size.X, size.Y
	}
	if info.Channels == 0 {
		info.Channels = channels
	}
	return nil
}

// headBytes is how much of a picture's file is read for its header at first.
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

// picture decodes one file; keep refuses pictures of another size than info's instead of scaling them.
func (s source) picture(rel string, info dataset.Info, keep bool) ([]byte, error) {
	b, err := s.read(rel, maxFile)
	if err != nil {
		return nil, err
	}
	return decode(b, info, keep)
}

func decode(b []byte, info dataset.Info, keep bool) ([]byte, error) {
	m, h, err := picture.Read(b, picture.DefaultPixels)
	if err != nil {
		return nil, err
	}
	if keep && (h.Width != info.Width || h.Height != info.Height) {
		return nil, fmt.Errorf("it has %d×%d pixels, the first one %d×%d; the argument \"size\" scales all to one size", h.Width, h.Height, info.Width, info.Height)
	}
	return picture.Pixels(m, info.Target(), nil), nil
}
