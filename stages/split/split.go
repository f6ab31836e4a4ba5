// Package split is the kind that divides a dataset: by shares or sizes with names, into folds for cross-validation, along
// time, or as the source or lists say.
//
// Rules of the room: the algorithms work on plain slices (items, units, parts) and know no dataset; split.go says what a user
// writes, examine.go reads a dataset into items, write.go writes the parts. Images that belong together are one unit and
// never part, whatever the shares; where both cannot hold the unit wins, and the log and the values say so. A division is a
// function of the images, the arguments and the seed, not of the order of the images.
package split

import (
	"context"
	"fmt"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:    "split",
	Version: 3,
	Seeded:  true,
	Doc: "Divides a dataset, the same way for the same images and the same seed, in whatever order the images come. What a sample carries (id, boxes, masks, meta data) " +
		"goes with it. One of these says into what:\n\n" +
		"- `ratio`: shares, a list for `train`, `validation` and `test`, in this order, of which the last may be left out, or a map that names the outputs itself. Without anything, 8 to 1 to 1.\n" +
		"- `sizes`: numbers of images in place of shares; images beyond them are left out.\n" +
		"- `folds = n`: outputs `folds[\"0\"].train` and `folds[\"0\"].validation` and so on for cross-validation, in which each image is validated once.\n" +
		"- `source_parts`: outputs and the parts, as the source has them, that go there.\n" +
		"- `lists`: outputs and the ids that go there.\n\n" +
		"Every class keeps its share within one image, also where images have several classes (iterative stratification: Sechidis, Tsoumakas and Vlahavas 2011; " +
		"of detections and masks, the classes that occur in the image). Images with the same bytes never come into two parts, nor do images of one group: of one patient or part, " +
		"which `group_by` or `group_pattern` tells. Where groups do not allow exact shares, the log says where, and the values `farthest` and `deviation` how far it is.\n\n" +
		"With `order_by` the division follows time: the first images train, the last test; with folds, each fold trains on all that came before its validation images.",
	Example: "split \"holdout\" {\n" +
		"  data  = ingest.photos.dataset\n" +
		"  ratio = [8, 1, 1]                        # train, validation, test\n" +
		"}\n\n" +
		"split \"named\" {\n" +
		"  data  = ingest.photos.dataset\n" +
		"  ratio = { labelled = 1, unlabelled = 9 } # split.named.labelled\n" +
		"}\n\n" +
		"split \"cross\" {\n" +
		"  data          = ingest.photos.dataset\n" +
		"  folds         = 5                        # split.cross.folds[\"0\"].train\n" +
		"  group_pattern = \"^(patient-[0-9]+)/\"     # all images of a patient stay together\n" +
		"}\n\n" +
		"split \"official\" {\n" +
		"  data         = ingest.photos.dataset\n" +
		"  source_parts = { train = \"train\", validation = \"val\" }\n" +
		"}",
	New: func() stages.Stage { return &split{} },
}

type split struct {
	ratio, sizes, lists   any
	folds                 int
	sourceParts           map[string]string
	stratify              bool
	groupBy, groupPattern string
	orderBy               string
	duplicates            string
}

// The ways to treat images that are equal or look alike.
const (
	identical = "identical"
	alike     = "alike"
	ignore    = "ignore"
)

func (p *split) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "The dataset to divide.")
	s.Any(&p.ratio, "ratio", "Shares above 0, in any unit: a list of two or three for train, validation and test, or a map from output names to shares. Without it 8 to 1 to 1.")
	s.Any(&p.sizes, "sizes", "Numbers of images, in place of shares: a list of one to three or a map, as for `ratio`.")
	s.Int(&p.folds, "folds", 0, "Number of folds of a cross-validation.").In(2, 100).NoDefault()
	s.StringMap(&p.sourceParts, "source_parts", "A map from output names to the names that the source's own division has, such as { train = \"train\", validation = \"val\" }.")
	s.Any(&p.lists, "lists", "A map from output names to ids: a list, or a text with one id a line, such as file(\"train.txt\").")
	s.Bool(&p.stratify, "stratify", true, "Whether every class keeps its share, and not only the whole. Along time, classes do not count.")
	s.String(&p.groupBy, "group_by", "", "The name in the meta data of whose value all images stay together.").NoDefault().NonEmpty()
	s.String(&p.groupPattern, "group_pattern", "", "A regular expression (RE2) that every id matches; images stay together whose match, or whose first group in parentheses if there is one, is the same.").NoDefault().NonEmpty()
	s.String(&p.orderBy, "order_by", "", "The name in the meta data of a number, a date or a time along which to divide. Equal times stay together.").NoDefault().NonEmpty()
	s.String(&p.duplicates, "duplicates", identical, "Which images stay together for their looks: `identical` ones, also those that look `alike` (scaled, encoded again, a little brighter), or none (`ignore`).").OneOf(identical, alike, ignore)
	s.Reports("counts", stages.NumberMap, "Number of images by output; of a fold, its validation images.")
	s.Reports("left_out", stages.Integer, "Number of images that are in no output.")
	s.Reports("groups", stages.Integer, "Number of groups of several images that stay together, for whatever reason.")
	s.Reports("identical", stages.Integer, "Number of images with the same bytes as an earlier one.")
	s.Reports("alike", stages.Integer, "Number of pairs found of images that look alike; 0 unless `duplicates` asks for them.")
	s.Reports("leaked", stages.Integer, "Number of images of which an identical one is in another part: 0 unless lists, the source or `duplicates = \"ignore\"` say so.")
	s.Reports("farthest", stages.Number, "How far a part is from the exact share of a class or of the whole, where that is farthest, in images.")
	s.Reports("deviation", stages.Number, "How far the share of a class in a part is from its share in all parts, where that is farthest, 0 to 1.")
}

// named reports whether the parts are given with their contents, and not to be made.
func (p *split) named() bool { return len(p.sourceParts) > 0 || p.lists != nil }

func (p *split) Check() []stages.Problem {
	var ways []string
	for _, way := range []struct {
		name  string
		given bool
	}{{"ratio", p.ratio != nil}, {"sizes", p.sizes != nil}, {"folds", p.folds > 0}, {"source_parts", len(p.sourceParts) > 0}, {"lists", p.lists != nil}} {
		if way.given {
			ways = append(ways, way.name)
		}
	}
	exclude := func(a, b string) []stages.Problem {
		return []stages.Problem{stages.Problemf(b, "Arguments that exclude each other", "The stage has both %s and %s. Remove one of them.", a, b)}
	}
	switch {
	case len(ways) > 1:
		return exclude(ways[0], ways[1])
	case p.groupBy != "" && p.groupPattern != "":
		return exclude("group_by", "group_pattern")
	}
	for _, making := range []struct{ name, value string }{{"group_by", p.groupBy}, {"group_pattern", p.groupPattern}, {"order_by", p.orderBy}} {
		if p.named() && making.value != "" {
			return exclude(ways[0], making.name)
		}
	}
	if p.orderBy != "" && p.folds == 0 {
		for name, v := range map[string]any{"ratio": p.ratio, "sizes": p.sizes} {
			if _, isMap := v.(map[string]any); isMap {
				return []stages.Problem{stages.Problemf(name, "Parts without an order", "Along time, parts need an order, which a map does not have. Write a list, for train, validation and test.")}
			}
		}
	}
	if _, err := p.pattern(); err != nil {
		return []stages.Problem{stages.Problemf("group_pattern", "Malformed regular expression", "The pattern %q is not a regular expression: %v.", p.groupPattern, err)}
	}
	if _, problem := p.parts(); problem != nil {
		return []stages.Problem{*problem}
	}
	return nil
}

func (p *split) Shape(s *stages.Schema) {
	for i := range p.folds {
		before := "All images but those of the fold."
		if p.orderBy != "" {
			before = "All images before those of the fold."
		}
		s.Out(fmt.Sprintf("folds.%d.train", i), artifact.Dataset, before)
		s.Out(fmt.Sprintf("folds.%d.validation", i), artifact.Dataset, "The images of the fold.")
	}
	if p.folds > 0 {
		return
	}
	parts, _ := p.parts()
	for _, q := range parts {
		s.Out(q.name, artifact.Dataset, "The images of this part, in the order of the data.")
	}
}

func (p *split) Run(ctx context.Context, job *stages.Job) error {
	in, _ := job.Input("data")
	data, err := dataset.Open(in.Path)
	if err != nil {
		return err
	}
	defer data.Close()
	e, err := p.examine(ctx, data)
	if err != nil {
		return err
	}
	outputs, err := p.assign(job, e)
	if err != nil {
		return err
	}
	e.reportAlike(job)
	counts, used := map[string]int{}, make([]bool, len(e.items))
	for _, o := range outputs {
		for i, in := range o.takes {
			if in {
				used[i] = true
				counts[o.name]++
			}
		}
		if counts[o.name] == 0 {
			return stages.Problemf(p.way(), "Part without images", "The part %s gets none of the %d images. Give it more, or remove it.", o.name, len(e.items))
		}
	}
	left := 0
	for _, u := range used {
		if !u {
			left++
		}
	}
	if left > 0 {
		job.Logf("%d of %d images are in no part", left, len(used))
	}
	if err := write(ctx, job, data, outputs); err != nil {
		return err
	}
	job.Value("left_out", left)
	job.Value("counts", validationCounts(counts))
	return nil
}
