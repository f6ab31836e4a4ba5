// Package split is the kind that divides a dataset: by shares with names, or into folds for cross-validation.
//
// Rules of the room: images with the same bytes are one group and never part; within that, every class stays within one
// image of its exact share in every part. Where both cannot hold, because a group is larger than a share, the group wins and
// the log says so. A division is a function of the images, the shares and the seed.
package split

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:    "split",
	Version: 2,
	Seeded:  true,
	Doc: "Divides a dataset at random, the same way for the same seed. `ratio` gives the shares: a list for `train`, `validation` and `test`, in this " +
		"order, of which the last may be left out, or a map that names the outputs itself. With `folds = n` it makes n outputs `folds[\"0\"].train` and " +
		"`folds[\"0\"].validation` and so on for cross-validation, in which each image is validated once.\n\n" +
		"Every class keeps its share within one image, and images with the same bytes never come into two parts. Where the same image occurs so often " +
		"that both cannot hold, it stays in one part all the same, and the log says so.",
	Example: "split \"holdout\" {\n" +
		"  data  = ingest.photos.dataset\n" +
		"  ratio = [8, 1, 1]                        # train, validation, test\n" +
		"}\n\n" +
		"split \"named\" {\n" +
		"  data  = ingest.photos.dataset\n" +
		"  ratio = { labelled = 1, unlabelled = 9 } # split.named.labelled\n" +
		"}\n\n" +
		"split \"cross\" {\n" +
		"  data  = ingest.photos.dataset\n" +
		"  folds = 5                                # split.cross.folds[\"0\"].train\n" +
		"}",
	New: func() stages.Stage { return &split{} },
}

type split struct {
	ratio    any
	folds    int
	stratify bool
}

// defaultRatio is the shares of train, validation and test when none are written.
var defaultRatio = []any{8.0, 1.0, 1.0}

var listNames = []string{"train", "validation", "test"}

func (p *split) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "The dataset to divide.")
	s.Any(&p.ratio, "ratio", "Shares above 0, in any unit: a list of two or three for train, validation and test, or a map from output names to shares. Without it 8 to 1 to 1.")
	s.Int(&p.folds, "folds", 0, "Number of folds of a cross-validation, instead of shares.").In(2, 100).NoDefault()
	s.Bool(&p.stratify, "stratify", true, "Whether every class keeps its share, and not only the whole.")
	s.Reports("counts", stages.NumberMap, "Number of images by output; of a fold, its validation images.")
}

// part is one part of the division with its share.
type part struct {
	name  string
	share float64
}

var outputName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// maxParts bounds a map of shares.
const maxParts = 100

func (p *split) parts() ([]part, *stages.Problem) {
	fail := func(detail string, args ...any) ([]part, *stages.Problem) {
		problem := stages.Problemf("ratio", "Malformed ratio", detail, args...)
		return nil, &problem
	}
	var out []part
	add := func(name string, v any) *stages.Problem {
		share, ok := v.(float64)
		if !ok || math.IsNaN(share) || share <= 0 || share > 1e9 {
			problem := stages.Problemf("ratio", "Malformed ratio", "The share of %s is %v. It must be a number above 0 and at most a thousand million.", name, v)
			return &problem
		}
		out = append(out, part{name, share})
		return nil
	}
	ratio := p.ratio
	if ratio == nil {
		ratio = defaultRatio
	}
	switch ratio := ratio.(type) {
	case []any:
		if len(ratio) < 2 || len(ratio) > len(listNames) {
			return fail("A list has two or three shares, for %s, but this one has %d. Other parts are named by a map, such as { train = 8, extra = 2 }.", strings.Join(listNames, ", "), len(ratio))
		}
		for i, v := range ratio {
			if problem := add(listNames[i], v); problem != nil {
				return nil, problem
			}
		}
	case map[string]any:
		if len(ratio) < 2 || len(ratio) > maxParts {
			return fail("A map has 2 to %d shares, but this one has %d.", maxParts, len(ratio))
		}
		for _, name := range slices.Sorted(maps.Keys(ratio)) {
			if !outputName.MatchString(name) || name == "counts" || name == "folds" {
				return fail("%q cannot name an output. A name has lower-case letters, digits and underscores, and is neither \"counts\" nor \"folds\".", name)
			}
			if problem := add(name, ratio[name]); problem != nil {
				return nil, problem
			}
		}
	default:
		return fail("The ratio is a list of shares, such as [8, 1, 1], or a map, such as { train = 8, test = 2 }.")
	}
	return out, nil
}

func (p *split) Check() []stages.Problem {
	if p.folds > 0 && p.ratio != nil {
		return []stages.Problem{stages.Problemf("folds", "Arguments that exclude each other", "The stage has both a ratio and folds. Remove one of them.")}
	}
	if _, problem := p.parts(); problem != nil {
		return []stages.Problem{*problem}
	}
	return nil
}

func (p *split) Shape(s *stages.Schema) {
	if p.folds > 0 {
		for i := range p.folds {
			s.Out(fmt.Sprintf("folds.%d.train", i), artifact.Dataset, "All images but those of the fold.")
			s.Out(fmt.Sprintf("folds.%d.validation", i), artifact.Dataset, "The images of the fold.")
		}
		return
	}
	parts, _ := p.parts()
	for _, q := range parts {
		s.Out(q.name, artifact.Dataset, "The images of this part, in the order of the data.")
	}
}

func (p *split) Run(ctx context.Context, job *stages.Job) error {
	in, _ := job.Input("data")
	d, err := dataset.Open(in.Path)
	if err != nil {
		return err
	}
	defer d.Close()
	parts, problem := p.parts()
	if problem != nil {
		return *problem
	}
	if p.folds > 0 {
		parts = nil
		for i := range p.folds {
			parts = append(parts, part{fmt.Sprint(i), 1})
		}
	}
	s, err := newShares(ctx, d, parts, p.stratify)
	if err != nil {
		return err
	}
	if problem := s.tooFew(d.Info().Classes); problem != nil {
		return *problem
	}
	s.divide(job.Seed)
	for _, line := range s.overflows(d.Info().Classes) {
		job.Logf("%s", line)
	}
	counts := map[string]int{}
	for i, q := range parts {
		for _, at := range s.of {
			if at == i {
				counts[q.name]++
			}
		}
		if counts[q.name] == 0 {
			return stages.Problemf("ratio", "Part without images", "The part %s gets none of the %d images. Give it a larger share, or remove it.", q.name, d.Len())
		}
	}
	if err := p.write(ctx, job, d, parts, s.of); err != nil {
		return err
	}
	job.Value("counts", counts)
	return nil
}

// write writes every output; of holds the part of each image.
func (p *split) write(ctx context.Context, job *stages.Job, d *dataset.Dataset, parts []part, of []int) error {
	for i, q := range parts {
		if p.folds == 0 {
			if err := subset(ctx, job.Output(q.name), d, func(image int) bool { return of[image] == i }); err != nil {
				return err
			}
			continue
		}
		if err := subset(ctx, job.Output(fmt.Sprintf("folds.%d.validation", i)), d, func(image int) bool { return of[image] == i }); err != nil {
			return err
		}
		if err := subset(ctx, job.Output(fmt.Sprintf("folds.%d.train", i)), d, func(image int) bool { return of[image] != i }); err != nil {
			return err
		}
	}
	return nil
}

// subset writes the images that take accepts, in their order.
func subset(ctx context.Context, path string, d *dataset.Dataset, take func(image int) bool) error {
	w, err := dataset.Create(path, d.Info())
	if err != nil {
		return err
	}
	for i := range d.Len() {
		if i%1024 == 0 && ctx.Err() != nil {
			w.Close() //nolint:errcheck // the first error is the one to report
			return ctx.Err()
		}
		if !take(i) {
			continue
		}
		if err := w.AddSample(d.Sample(i)); err != nil {
			w.Close() //nolint:errcheck // the first error is the one to report
			return err
		}
	}
	return w.Close()
}
