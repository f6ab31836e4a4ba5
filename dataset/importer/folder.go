package importer

import (
	"fmt"
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
func (s source) openFolder(o Options) (*listing, error) {
	if l := s.unlabelled(o); l != nil {
		return l, nil
	}
	files, base, err := s.pictures(o.Subset)
	if err != nil {
		return nil, err
	}
	classes, err := s.folderClasses(files, base, o.Classes)
	if err != nil {
		return nil, err
	}
	l := &listing{task: dataset.Classification, classes: classesOf(classes), folders: true}
	if base == "" && o.Subset == "all" && partsOnly(classes) {
		return s.openParts(files)
	}
	var items []item
	for _, f := range files {
		it := s.pictureItem(f)
		it.id, it.label, it.split = readable(strings.TrimPrefix(f, base)), classOf(f, base), splitName(strings.TrimSuffix(base, "/"))
		items = append(items, it)
	}
	l.items, l.count = each(items), len(items)
	return l, nil
}

// unlabelled are pictures that lie in no folder of a class, which the user says have none.
func (s source) unlabelled(o Options) *listing {
	if o.Task != dataset.Unlabelled {
		return nil
	}
	var items []item
	for _, f := range s.files {
		if isPicture(f) && (o.Subset == "all" || strings.HasPrefix(f, o.Subset+"/")) {
			it := s.pictureItem(f)
			it.split = splitOfPath(f)
			items = append(items, it)
		}
	}
	if len(items) == 0 {
		return nil
	}
	return &listing{task: dataset.Unlabelled, items: each(items), count: len(items)}
}

// partsOnly reports whether the folders are parts of a data set (train, test), and so no classes.
func partsOnly(folders []string) bool {
	for _, f := range folders {
		if s := splitName(f); s != "train" && s != "validation" && s != "test" {
			return false
		}
	}
	return len(folders) > 0
}

// openParts reads folders of parts, with the folders of classes in them; without those the images have no labels.
func (s source) openParts(files []string) (*listing, error) {
	l := &listing{task: dataset.Classification, folders: true}
	var items []item
	for _, f := range files {
		part, _, _ := strings.Cut(f, "/")
		it := s.pictureItem(f)
		it.split, it.label = splitName(part), classOf(f, part+"/")
		if it.label == "" {
			l.task = dataset.Unlabelled
		}
		items = append(items, it)
	}
	if l.task == dataset.Unlabelled {
		for i := range items {
			items[i].label = ""
		}
	}
	l.items, l.count, l.classes = each(items), len(items), sortedClasses(items)
	return l, nil
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
			return nil, "", sourceErrorf("Picture outside of a class folder", "The picture %s lies in no folder, so its class is not known. Put the pictures of each class into a folder named after it, or write task = \"none\" for images without labels.", f)
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
	return found, nil
}
