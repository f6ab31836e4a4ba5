package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/cmd/live"
	"github.com/darkroom-dev/darkroom/dataset"
)

// withDataset opens a stored dataset where it lies, through a link.
func (f *found) withDataset(use func(*dataset.Dataset) error) error {
	dir, err := f.cache.TempDir("read-*")
	if err != nil {
		return lackingf("making a place to read the dataset: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "data.arrow")
	if err := f.cache.Materialize(f.ref, path, cache.Link); err != nil {
		return f.unreadable(err)
	}
	d, err := dataset.Open(path)
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.name, err)
	}
	defer d.Close()
	return use(d)
}

// summarize counts what a stored dataset holds.
func (f *found) summarize() (s dataset.Summary, err error) {
	err = f.withDataset(func(d *dataset.Dataset) error {
		s = d.Summarize()
		return nil
	})
	return s, err
}

// shownClasses is how many classes a summary lists for people; --json has all.
const shownClasses = 30

func (a *app) printSummary(s dataset.Summary) {
	colour := "RGB"
	if s.Channels == 1 {
		colour = "grey"
	}
	rows := [][]string{
		{"images", fmt.Sprintf("%d of %d×%d, %s, %s", s.Images, s.Width, s.Height, colour, s.Storage)},
		{"task", string(s.Task)},
	}
	var has []string
	for _, what := range []struct {
		n    int
		noun string
	}{{s.Boxes, "boxes"}, {s.Polygons, "polygons"}, {s.Masks, "masks"}} {
		if what.n > 0 {
			has = append(has, fmt.Sprintf("%d %s", what.n, what.noun))
		}
	}
	if s.Unannotated > 0 {
		has = append(has, fmt.Sprintf("%d images without any", s.Unannotated))
	}
	if len(has) > 0 {
		rows = append(rows, []string{"annotations", strings.Join(has, ", ")})
	}
	for _, list := range []struct {
		name   string
		counts map[string]int
	}{{"source's parts", s.Parts}, {"meta data", s.Meta}} {
		var parts []string
		for _, name := range sortedKeys(list.counts) {
			parts = append(parts, fmt.Sprintf("%s %d", live.Clean(name), list.counts[name]))
		}
		if len(parts) > 0 {
			rows = append(rows, []string{list.name, live.Cut(strings.Join(parts, ", "), 90)})
		}
	}
	if len(s.MaskClasses) > 0 {
		rows = append(rows, []string{"mask classes", live.Cut(live.Clean(strings.Join(s.MaskClasses, ", ")), 90)})
	}
	if len(s.Policy) > 0 {
		rows = append(rows, []string{"policy", strings.Join(s.Policy, ", ")})
	}
	table(a.out, "", rows)
	a.printClasses(s)
}

func (a *app) printClasses(s dataset.Summary) {
	if len(s.Classes) == 0 {
		return
	}
	fmt.Fprintf(a.out, "\n%s\n", a.paint(a.out, bold, "classes"))
	var rows [][]string
	for i, c := range s.Classes {
		if i == shownClasses {
			rows = append(rows, []string{fmt.Sprintf("… and %d more", len(s.Classes)-i)})
			break
		}
		row := []string{live.Cut(live.Clean(c.Name), 60), plural(c.Images, "image")}
		if s.Boxes+s.Polygons > 0 {
			row = append(row, plural(c.Objects, "object"))
		} else if s.Images > 0 {
			row = append(row, strconv.FormatFloat(100*float64(c.Images)/float64(s.Images), 'f', 1, 64)+" %")
		}
		rows = append(rows, row)
	}
	table(a.out, "  ", rows)
}
