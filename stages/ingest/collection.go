package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"sort"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/importer"
	"github.com/darkroom-dev/darkroom/dataset/quality"
)

// collection is what the report tells of the images that were taken.
type collection struct {
	info    dataset.Info
	classes []importer.Class

	ids      []string
	seen     map[string]bool
	measures []quality.Image
	labels   []int32
	splits   []string
	notes    []string // the annotations of each image in short, to compare those of identical images
	masked   []bool

	images  []int   // by class: images of that label, or that hold an object of it
	objects []int   // by class: boxes, or polygons where there are none
	pixels  []int64 // by class of masks
	colours quality.Colours
	areas   [10]int // boxes by the decimal logarithm of their share of the image
	formats map[string]int

	samples [][]sample // by class
	found   map[*importer.Kind][]importer.Finding
	skipped int
	pairs   []quality.Pair
}

// sample is an image of a class's contact sheet: those with the smallest hashes of their ids are taken, which is as good as by chance.
type sample struct {
	hash uint64
	row  int
}

// Numbers of pictures in a report.
const (
	samplesPerClass = 12
	samplesInAll    = 240
)

func newCollection(m *importer.Images) *collection {
	n := len(m.Info.Classes)
	return &collection{
		info: m.Info, classes: m.Classes, seen: map[string]bool{}, images: make([]int, n), objects: make([]int, n), pixels: make([]int64, len(m.Info.MaskClasses)),
		formats: map[string]int{}, samples: make([][]sample, max(1, n)), found: map[*importer.Kind][]importer.Finding{},
	}
}

func (c *collection) find(f importer.Finding) { c.found[f.Kind] = append(c.found[f.Kind], f) }

// kinds are those that were found, the gravest first.
func (c *collection) kinds() []*importer.Kind {
	var out []*importer.Kind
	for _, k := range importer.Kinds() {
		if len(c.found[k]) > 0 {
			out = append(out, k)
		}
	}
	return out
}

// repeated refuses a second image of one id.
func (c *collection) repeated(id string) error {
	if !c.seen[id] {
		c.seen[id] = true
		return nil
	}
	return &importer.RecordError{File: id, Kind: importer.SameID, Err: errors.New("another image has the same id, so they could not be told apart")}
}

// add takes a record that was written to the dataset.
func (c *collection) add(r importer.Read) {
	row := len(c.ids)
	s := r.Sample
	c.ids, c.measures, c.labels, c.splits = append(c.ids, s.ID), append(c.measures, r.Measure), append(c.labels, s.Label), append(c.splits, s.Split)
	c.masked = append(c.masked, s.Mask != nil)
	c.notes = append(c.notes, annotationsOf(&s))
	c.colours.Add(r.Colours)
	c.formats[r.Format]++
	for _, f := range r.Findings {
		c.find(f)
	}
	holds := map[int32]bool{}
	if s.Label != dataset.NoLabel {
		holds[s.Label] = true
	}
	for _, l := range s.Labels {
		holds[l] = true
	}
	for _, b := range s.Boxes {
		holds[b.Class] = true
		c.objects[b.Class]++
		share := float64(b.X1-b.X0) * float64(b.Y1-b.Y0) / float64(c.info.Height*c.info.Width)
		c.areas[min(9, max(0, int(10+2*math.Log10(share))))]++
	}
	for _, p := range s.Polygons {
		holds[p.Class] = true
		if len(s.Boxes) == 0 {
			c.objects[p.Class]++
		}
	}
	for _, v := range s.Mask {
		if v != dataset.Ignore {
			c.pixels[v]++
		}
	}
	h := fnv.New64a()
	h.Write([]byte(s.ID))
	for k := range holds {
		if c.info.Task == dataset.Classification && k != s.Label { // an image counts for its label alone
			continue
		}
		c.images[k]++
		c.sample(int(k), sample{h.Sum64(), row})
	}
	if len(holds) == 0 && len(c.images) == 0 {
		c.sample(0, sample{h.Sum64(), row})
	}
}

func (c *collection) sample(class int, s sample) {
	list := append(c.samples[class], s)
	sort.Slice(list, func(i, j int) bool {
		return list[i].hash < list[j].hash || list[i].hash == list[j].hash && list[i].row < list[j].row
	})
	c.samples[class] = list[:min(len(list), samplesPerClass)]
}

// annotationsOf names the classes that an image holds, and digests their places: identical images should agree in both.
func annotationsOf(s *dataset.Sample) string {
	var classes []int32
	for _, b := range s.Boxes {
		classes = append(classes, b.Class)
	}
	for _, p := range s.Polygons {
		classes = append(classes, p.Class)
	}
	slices.Sort(classes)
	h := fnv.New64a()
	fmt.Fprint(h, s.Boxes, s.Polygons)
	h.Write(s.Mask)
	return fmt.Sprintf("%d %v %v|%x", s.Label, s.Labels, classes, h.Sum64())
}

// judge finds what only all images together tell.
func (c *collection) judge() {
	c.judgeMasks()
	c.pairs = quality.Duplicates(c.measures)
	for _, p := range c.pairs {
		a, b := c.ids[p.A], c.ids[p.B]
		add := func(k *importer.Kind, format string, args ...any) {
			c.find(importer.Finding{Kind: k, Record: a, Detail: b + fmt.Sprintf(format, args...)})
		}
		classesA, placesA := cut(c.notes[p.A])
		classesB, placesB := cut(c.notes[p.B])
		switch {
		case !p.Same:
			add(importer.NearDuplicate, "")
		case classesA != classesB:
			add(importer.Identical, "")
			add(importer.LabelConflict, ": %s and %s", c.describe(p.A), c.describe(p.B))
		case placesA != placesB:
			add(importer.Identical, ", with objects at slightly different places")
		default:
			add(importer.Identical, "")
		}
		if x, y := c.splits[p.A], c.splits[p.B]; x != y {
			add(importer.Leak, ": %s and %s", part(x), part(y))
		}
	}
}

func part(split string) string {
	if split == "" {
		return "no part"
	}
	return split
}

func cut(note string) (classes, places string) {
	for i := len(note) - 1; i >= 0; i-- {
		if note[i] == '|' {
			return note[:i], note[i+1:]
		}
	}
	return note, ""
}

func (c *collection) describe(row int) string {
	if l := c.labels[row]; l != dataset.NoLabel {
		return c.info.Classes[l]
	}
	classes, _ := cut(c.notes[row])
	return "classes " + classes
}

// judgeMasks finds empty masks where others of the class are not.
func (c *collection) judgeMasks() {
	marked, empty := map[int32]int{}, map[int32][]int{}
	for i := range c.ids {
		switch {
		case c.masked[i] && c.measures[i].Marked:
			marked[c.labels[i]]++
		case c.masked[i]:
			empty[c.labels[i]] = append(empty[c.labels[i]], i)
		}
	}
	for label := int32(-1); int(label) < len(c.info.Classes); label++ {
		name := "the data set"
		if label >= 0 {
			name = c.info.Classes[label]
		}
		if marked[label] == 0 && len(empty[label]) > 0 {
			c.find(importer.Finding{Kind: importer.NoMarks, Record: name, Detail: fmt.Sprintf("%d masks", len(empty[label]))})
			continue
		}
		for _, i := range empty[label] {
			c.find(importer.Finding{Kind: importer.EmptyMask, Record: c.ids[i], Detail: fmt.Sprintf("%d other masks of %s are not empty", marked[label], name)})
		}
	}
}

// splitCounts are the parts of the source with their numbers of images, by name.
func (c *collection) splitCounts() (names []string, counts map[string]int) {
	counts = map[string]int{}
	for _, s := range c.splits {
		if counts[s] == 0 && s != "" {
			names = append(names, s)
		}
		counts[s]++
	}
	slices.Sort(names)
	if len(names) > 0 && counts[""] > 0 {
		names = append(names, "")
	}
	return names, counts
}

// listedInJSON bounds the records of one kind that are listed; their number is always exact.
const listedInJSON = 100_000

// The form of the JSON.
type (
	jsonQuality struct {
		Task     dataset.Task    `json:"task"`
		Images   int             `json:"images"`
		Skipped  int             `json:"skipped"`
		Height   int             `json:"height"`
		Width    int             `json:"width"`
		Channels []jsonChannel   `json:"channels"`
		Encoded  bool            `json:"encoded"`
		Classes  []jsonClass     `json:"classes"`
		Masks    []jsonMaskClass `json:"mask_classes,omitempty"`
		Splits   map[string]int  `json:"splits,omitempty"`
		Formats  map[string]int  `json:"formats,omitempty"`
		Sizes    []jsonSize      `json:"sizes"`
		Aspects  []jsonBin       `json:"aspect_ratios"`
		Areas    []jsonBin       `json:"box_areas,omitempty"`
		Findings []jsonFindings  `json:"findings"`
	}
	jsonChannel struct {
		Mean      float64 `json:"mean"`
		Deviation float64 `json:"deviation"`
	}
	jsonClass struct {
		Index int `json:"index"`
		importer.Class
		Images  int `json:"images"`
		Objects int `json:"objects"`
	}
	jsonMaskClass struct {
		Index  int    `json:"index"`
		Name   string `json:"name"`
		Pixels int64  `json:"pixels"`
	}
	jsonSize struct {
		Width  int `json:"width"`
		Height int `json:"height"`
		Images int `json:"images"`
	}
	jsonBin struct {
		From  float64 `json:"from"`
		To    float64 `json:"to"`
		Count int     `json:"count"`
	}
	jsonFindings struct {
		Kind    string         `json:"kind"`
		Level   importer.Level `json:"level"`
		Text    string         `json:"text"`
		Count   int            `json:"count"`
		Records []jsonRecord   `json:"records"`
	}
	jsonRecord struct {
		Record string `json:"record"`
		Detail string `json:"detail"`
	}
)

func (c *collection) writeJSON(path string) error {
	q := jsonQuality{
		Task: c.info.Task, Images: len(c.ids), Skipped: c.skipped, Height: c.info.Height, Width: c.info.Width, Encoded: c.info.Encoded,
		Classes: []jsonClass{}, Sizes: c.sizes(), Aspects: c.aspects(), Areas: c.boxAreas(), Findings: []jsonFindings{},
	}
	for i := range c.info.Channels {
		q.Channels = append(q.Channels, jsonChannel{round(c.colours.Mean(i)), round(c.colours.Deviation(i))})
	}
	for i, k := range c.classes {
		q.Classes = append(q.Classes, jsonClass{i, k, c.images[i], c.objects[i]})
	}
	for i, name := range c.info.MaskClasses {
		q.Masks = append(q.Masks, jsonMaskClass{i, name, c.pixels[i]})
	}
	if names, counts := c.splitCounts(); len(names) > 0 {
		q.Splits = counts
	}
	if c.formats[""] == 0 {
		q.Formats = c.formats
	}
	for _, k := range c.kinds() {
		f := jsonFindings{Kind: k.Name, Level: k.Level, Text: k.Text, Count: len(c.found[k])}
		for _, r := range c.found[k][:min(len(c.found[k]), listedInJSON)] {
			f.Records = append(f.Records, jsonRecord{r.Record, r.Detail})
		}
		q.Findings = append(q.Findings, f)
	}
	b, err := json.MarshalIndent(q, "", " ")
	if err != nil {
		return fmt.Errorf("writing the quality of the data: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o666); err != nil {
		return fmt.Errorf("writing the quality of the data: %w", err)
	}
	return nil
}

// round keeps six digits, which is more than the data tells.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// sizes are the sizes of the images where they came from, the most frequent first.
func (c *collection) sizes() []jsonSize {
	counts := map[[2]int]int{}
	for _, m := range c.measures {
		counts[[2]int{int(m.Width), int(m.Height)}]++
	}
	out := make([]jsonSize, 0, len(counts))
	for k, n := range counts {
		out = append(out, jsonSize{k[0], k[1], n})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		switch {
		case a.Images != b.Images:
			return a.Images > b.Images
		case a.Width != b.Width:
			return a.Width < b.Width
		}
		return a.Height < b.Height
	})
	return out
}

// aspectEdges divide ratios of width to height.
var aspectEdges = []float64{0, 0.25, 0.5, 2. / 3, 0.8, 0.95, 1.05, 1.25, 1.5, 2, 4, math.Inf(1)}

func (c *collection) aspects() []jsonBin {
	out := make([]jsonBin, len(aspectEdges)-1)
	for i := range out {
		out[i].From, out[i].To = round(aspectEdges[i]), aspectEdges[i+1]
		if math.IsInf(out[i].To, 1) {
			out[i].To = dataset.MaxSide
		}
		out[i].To = round(out[i].To)
	}
	for _, m := range c.measures {
		ratio := float64(m.Width) / float64(m.Height)
		for i := range out {
			if ratio < aspectEdges[i+1] {
				out[i].Count++
				break
			}
		}
	}
	return out
}

// boxAreas are boxes by their share of the image, in half decades; nil when there are none.
func (c *collection) boxAreas() []jsonBin {
	total := 0
	out := make([]jsonBin, len(c.areas))
	for i, n := range c.areas {
		total += n
		out[i] = jsonBin{math.Pow(10, float64(i-10)/2), math.Pow(10, float64(i-9)/2), n}
		out[i].From, out[i].To = round(out[i].From), round(out[i].To)
	}
	if total == 0 {
		return nil
	}
	out[0].From = 0
	return out
}
