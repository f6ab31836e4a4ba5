package importer

import (
	"errors"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// shardEntries adds the members of tar files below the source to it, below the tar files' names, so that a folder of shards is read as one.
func (s *source) shardEntries(root string, o Options) error {
	var shards []string
	for _, f := range s.files {
		if strings.HasSuffix(s.entries[f].stored, ".tar") {
			shards = append(shards, f)
		}
	}
	for _, f := range shards {
		inner, ok, err := listArchive(filepath.Join(root, filepath.FromSlash(f)), o)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		s.closeAlso(inner.close)
		for name, e := range inner.entries {
			s.entries[f+"/"+name] = e
		}
	}
	*s = s.sorted()
	return nil
}

func (s *source) closeAlso(more func() error) {
	first := s.close
	s.close = func() error {
		var err error
		if first != nil {
			err = first()
		}
		if more != nil {
			err = errors.Join(err, more())
		}
		return err
	}
}

// webKey divides a member's name at the first dot of its base name, as WebDataset does.
func webKey(f string) (key, extension string) {
	base := path.Base(f)
	stem, extension, _ := strings.Cut(base, ".")
	return path.Join(path.Dir(f), stem), strings.ToLower(extension)
}

// isWebDataset reports whether labels stand beside pictures as members of one key.
func (s source) isWebDataset() bool {
	for _, f := range s.files {
		if _, ext := webKey(f); ext == "cls" || ext == "cls.txt" {
			return true
		}
	}
	return false
}

func (s source) openWebDataset(o Options) (*listing, error) {
	members := map[string]map[string]string{}
	var keys []string
	for _, f := range s.files {
		key, ext := webKey(f)
		if members[key] == nil {
			members[key] = map[string]string{}
			keys = append(keys, key)
		}
		members[key][ext] = f
	}
	l := &listing{task: dataset.Unlabelled}
	w := &webReader{source: s, listing: l}
	if names := s.namesFile("classes.txt"); names != nil {
		w.names, l.closed, l.classes = names, true, names
	}
	var items []item
	for _, key := range keys {
		it, ok := w.item(key, members[key])
		if ok {
			items = append(items, it)
		}
	}
	if len(items) == 0 {
		return nil, sourceErrorf("No images found", "The source holds no WebDataset: tar files with members such as 000017.jpg and 000017.cls.")
	}
	if !l.closed {
		if l.classes = sortedClasses(items); o.Classes == nil {
			sortNumbers(l.classes)
		}
	}
	l.items, l.count = each(items), len(items)
	return l, nil
}

type webReader struct {
	source
	*listing
	names []Class
}

func (w *webReader) item(key string, members map[string]string) (item, bool) {
	picture := ""
	for _, ext := range []string{"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm"} {
		if picture = members[ext]; picture != "" {
			break
		}
	}
	if picture == "" {
		for _, ext := range []string{"cls", "cls.txt"} {
			if f := members[ext]; f != "" {
				w.found = append(w.found, Finding{NoImage, readable(f), "no picture has its key"})
			}
		}
		return item{}, false
	}
	it := w.pictureItem(picture)
	it.id = readable(key)
	it.split = cocoSplit(strings.SplitN(key, "/", 2)[0] + ".tar")
	if err := w.annotate(&it, members); err != nil {
		it.bad = err
	}
	if it.label != "" {
		w.task = dataset.Classification
	}
	return it, true
}

func (w *webReader) annotate(it *item, members map[string]string) error {
	if f := members["json"]; f != "" {
		b, err := w.read(f, maxAnnotation)
		if err != nil {
			return &annotationError{f, err}
		}
		v := row{}
		if err := v.object(b); err != nil {
			return &annotationError{f, err}
		}
		for i, n := range v.names {
			if meaning(n) == "label" && it.label == "" {
				it.label = w.name(text(v.values[i]))
				continue
			}
			it.meta = append(it.meta, dataset.Pair{Name: readable(n), Value: text(v.values[i])})
		}
	}
	for _, ext := range []string{"cls", "cls.txt"} {
		f := members[ext]
		if f == "" {
			continue
		}
		b, err := w.read(f, 1<<16)
		if err != nil {
			return &annotationError{f, err}
		}
		if it.label = w.name(className(string(b))); it.label == "" {
			return &annotationError{f, errors.New("it is empty")}
		}
	}
	if f := members["txt"]; f != "" {
		b, err := w.read(f, 1<<24)
		if err != nil {
			return &annotationError{f, err}
		}
		it.meta = append(it.meta, dataset.Pair{Name: "text", Value: readable(strings.TrimSpace(string(b)))})
	}
	return nil
}

// name turns a number into the class of that number where the source lists names.
func (w *webReader) name(label string) string {
	if k, err := strconv.Atoi(label); err == nil && k >= 0 && k < len(w.names) {
		return w.names[k].Name
	}
	return label
}

// sortNumbers puts classes that are all numbers into the order of the numbers.
func sortNumbers(classes []Class) {
	n := make([]int, len(classes))
	for i, c := range classes {
		var err error
		if n[i], err = strconv.Atoi(c.Name); err != nil {
			return
		}
	}
	for i := range classes { // few, and nearly sorted
		for k := i; k > 0 && n[k] < n[k-1]; k-- {
			n[k], n[k-1] = n[k-1], n[k]
			classes[k], classes[k-1] = classes[k-1], classes[k]
		}
	}
}
