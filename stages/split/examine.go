package split

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/similar"
	"github.com/darkroom-dev/darkroom/stages"
)

// examined is what a division knows of the data.
type examined struct {
	items   []item
	source  []string // the part that the source puts each image into
	pairs   [][2]int // images that look alike
	classes []string // the names of the strata
	several bool     // whether images may have several classes
}

// examine reads what the division needs of every image.
func (p *split) examine(ctx context.Context, data *dataset.Dataset) (*examined, error) {
	info := data.Info()
	e := &examined{items: make([]item, data.Len()), source: make([]string, data.Len()), classes: strata(info), several: info.Task != dataset.Classification}
	pattern, err := p.pattern()
	if err != nil {
		return nil, err
	}
	var sketches []similar.Sketch
	times := make([]string, 0, data.Len())
	var buffer []byte
	for i := range e.items {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s := data.Sample(i)
		it := item{id: s.ID, content: artifact.DigestBytes(s.Image)}
		if p.stratify && p.orderBy == "" {
			it.labels = sampleStrata(&s, info)
		}
		if it.group, err = p.groupOf(&s, pattern); err != nil {
			return nil, err
		}
		if p.orderBy != "" {
			when, ok := value(&s, p.orderBy)
			if !ok {
				return nil, lacking(&s, "order_by", p.orderBy)
			}
			times = append(times, when)
		}
		if p.duplicates == alike {
			if buffer, err = data.Pixels(i, buffer); err != nil {
				return nil, err
			}
			sketches = append(sketches, similar.NewSketch(buffer, info.Height, info.Width, info.Channels))
			if !info.Encoded {
				buffer = nil // a view of the file, not ours to write to
			}
		}
		e.items[i], e.source[i] = it, s.Split
	}
	e.pairs = similar.Pairs(sketches)
	return e, e.setTimes(times)
}

// strata returns the names of what is stratified by: classes, or for segmentation without classes those of the masks.
func strata(info dataset.Info) []string {
	if byMask(info) {
		return info.MaskClasses
	}
	return info.Classes
}

func byMask(info dataset.Info) bool {
	return info.Task == dataset.Segmentation
}

// sampleStrata returns the strata of one image: its label, its labels, or the classes of its objects or of its mask, each once.
func sampleStrata(s *dataset.Sample, info dataset.Info) []int32 {
	set := map[int32]bool{}
	switch info.Task {
	case dataset.Segmentation:
		for _, v := range s.Mask {
			if v != dataset.Ignore {
				set[int32(v)] = true
			}
		}
	case dataset.Detection:
		for _, b := range s.Boxes {
			set[b.Class] = true
		}
		for _, q := range s.Polygons {
			set[q.Class] = true
		}
	case dataset.MultiLabel:
		return slices.Clone(s.Labels)
	default:
		if s.Label != dataset.NoLabel {
			set[s.Label] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// groupOf returns the group of an image, "" where there are none.
func (p *split) groupOf(s *dataset.Sample, pattern *regexp.Regexp) (string, error) {
	switch {
	case p.groupBy != "":
		group, ok := value(s, p.groupBy)
		if !ok {
			return "", lacking(s, "group_by", p.groupBy)
		}
		return group, nil
	case pattern != nil:
		m := pattern.FindStringSubmatch(s.ID)
		if m == nil {
			return "", stages.Problemf("group_pattern", "Image without a group", "The id %q does not match the pattern %q. Write a pattern that every id matches; an alternative such as \"|.*\" leaves the others on their own.", s.ID, pattern)
		}
		return m[min(1, len(m)-1)], nil
	}
	return "", nil
}

// value returns what the meta data of an image say under a name.
func value(s *dataset.Sample, name string) (string, bool) {
	for _, pair := range s.Meta {
		if pair.Name == name && pair.Value != "" {
			return pair.Value, true
		}
	}
	return "", false
}

func lacking(s *dataset.Sample, arg, name string) error {
	var names []string
	for _, pair := range s.Meta {
		names = append(names, pair.Name)
	}
	has := "It has no meta data."
	if len(names) > 0 {
		has = "It has " + strings.Join(names, ", ") + "."
	}
	return stages.Problemf(arg, "Missing meta data", "The meta data of the image %q have nothing under %q. %s", s.ID, name, has)
}

// timeLayouts are the ways of writing a time that are understood, besides numbers.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02", "2006/01/02", "2006:01:02 15:04:05"}

// setTimes reads the times of all images, which must be written in one way.
func (e *examined) setTimes(texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	read := func(text string) (float64, bool) {
		f, err := strconv.ParseFloat(text, 64)
		return f, err == nil && f == f
	}
	if _, number := read(texts[0]); !number {
		layout := slices.IndexFunc(timeLayouts, func(l string) bool { _, err := time.Parse(l, texts[0]); return err == nil })
		if layout < 0 {
			return stages.Problemf("order_by", "Value without an order", "%q, of the image %q, is neither a number nor a time such as 2026-11-25 or 2026-11-25T08:30:00Z.", texts[0], e.items[0].id)
		}
		read = func(text string) (float64, bool) {
			t, err := time.Parse(timeLayouts[layout], text)
			return float64(t.Unix()) + float64(t.Nanosecond())/1e9, err == nil
		}
	}
	for i, text := range texts {
		when, ok := read(text)
		if !ok {
			return stages.Problemf("order_by", "Value without an order", "%q, of the image %q, is not written like %q, of the image %q. All images must have a number, or a time in one format.", text, e.items[i].id, texts[0], e.items[0].id)
		}
		e.items[i].when = when
	}
	return nil
}

// reportAlike logs the first pairs of images that look alike.
func (e *examined) reportAlike(job *stages.Job) {
	const shown = 20
	for i, pair := range e.pairs {
		if i == shown {
			job.Logf("and %d more pairs look alike", len(e.pairs)-shown)
			break
		}
		job.Logf("%q and %q look alike", e.items[pair[0]].id, e.items[pair[1]].id)
	}
	job.Value("alike", len(e.pairs))
}

// leaks counts images of which an identical one is in another part, and names the first few.
func (e *examined) leaks(of []int) (n int, first []string) {
	type where struct {
		first int  // index of the first of them
		parts bool // whether they are in several
	}
	byContent := map[artifact.Digest]where{}
	for i, it := range e.items {
		if of[i] < 0 {
			continue
		}
		w, ok := byContent[it.content]
		if !ok {
			w.first = i
		}
		if of[w.first] != of[i] {
			w.parts = true
			if len(first) < 10 {
				first = append(first, fmt.Sprintf("%q and %q", e.items[w.first].id, it.id))
			}
		}
		byContent[it.content] = w
	}
	for i, it := range e.items {
		if of[i] >= 0 && byContent[it.content].parts {
			n++
		}
	}
	return n, first
}

// repeated is how many items have the content of an earlier one.
func repeated(items []item) int {
	seen := map[artifact.Digest]bool{}
	for _, it := range items {
		seen[it.content] = true
	}
	return len(items) - len(seen)
}
