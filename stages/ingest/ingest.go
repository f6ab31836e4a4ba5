// Package ingest is the kind that makes a dataset: from idx files, CIFAR batches or a folder of pictures, or from a generator.
//
// Rules of the room: it only chooses, counts and reports; the formats live in dataset/importer, the generated images in
// dataset/surfaces.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/importer"
	"github.com/darkroom-dev/darkroom/dataset/surfaces"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:    "ingest",
	Version: 2,
	Doc: "Makes a dataset of images of one size with their classes. It reads idx files (MNIST and its relatives), CIFAR-10 and CIFAR-100 binary batches, and folders with one folder of pictures (PNG, JPEG, GIF, BMP, WebP) for each class, all of them also from " +
		"a zip or tar archive or compressed by gzip, xz or zstd, without unpacking; or it makes images of metal surfaces with defects itself, `generator = \"surfaces\"`, of the classes none, scratch, pit, patch and inclusion.\n\n" +
		"A data set that comes with test images of its own takes two stages, one with `subset = \"train\"` and one with `subset = \"test\"`. In a " +
		"folder of pictures, a subset is the folder of that name, with the class folders in it.",
	Example: "ingest \"photos\" {\n" +
		"  source = \"data/photos\"   # data/photos/CLASS/IMAGE.jpg\n" +
		"  size   = 96\n" +
		"}\n\n" +
		"ingest \"clothes\" {\n" +
		"  source = \"data/fashion-mnist\"\n" +
		"  format = \"idx\"\n" +
		"  subset = \"train\"        # a second stage takes \"test\"\n" +
		"}\n\n" +
		"ingest \"surfaces\" {\n" +
		"  generator = \"surfaces\"\n" +
		"  count     = 3000\n" +
		"  size      = 48\n" +
		"}",
	New: func() stages.Stage { return &ingest{} },
}

type ingest struct {
	format     string
	subset     string
	classes    []string
	channels   int
	size       int
	limit      int
	onError    string
	generator  string
	count      int
	difficulty float64
	seed       int

	maxExpansion int
}

// defaultSize is the side of generated images in pixels.
const defaultSize = 64

func (g *ingest) Declare(s *stages.Schema) {
	s.Source("source", "The folder, the archive (zip, tar, tar.gz, tar.xz, tar.zst) or the file with the images. Not with a generator.").OrNone()
	s.String(&g.format, "format", "auto", "What the source holds; \"auto\" tells by the names of its files.").OneOf("auto", importer.IDX, importer.CIFAR, importer.Folder)
	s.String(&g.subset, "subset", "all", "The part of a source that is divided already.").OneOf("all", "train", "test")
	s.Strings(&g.classes, "classes", nil, "Class names: for idx and CIFAR the names by label, for folders and the generator the classes to take, in the order of their labels. Without it, as the source has them; folders are sorted by name.").NoDefault().NonEmpty()
	s.Int(&g.channels, "channels", 0, "1 makes all images grey, 3 makes them RGB. Without it, as the source has them.").In(1, 3).NoDefault()
	s.Int(&g.size, "size", 0, "Side of the square to which images are scaled. Without it they stay as they are, and must be of one size; a generator makes 64.").InUnit("pixels").In(1, dataset.MaxSide).NoDefault()
	s.Int(&g.limit, "limit", 0, "Take only so many images, from the first on.").Min(1).NoDefault()
	s.String(&g.onError, "on_error", "fail", "What a damaged image does: it fails the stage, or it is skipped, counted and listed in the report.").OneOf("fail", "skip")
	s.Int(&g.maxExpansion, "max_expansion", 200, "How many times its own size an archive may expand to, beyond 256 MiB. It guards the disk against archives made to fill it.").In(1, 1_000_000).NotInKey()
	s.String(&g.generator, "generator", "", "Make images instead of reading them.").OneOf("surfaces").NoDefault()
	s.Int(&g.count, "count", 3000, "Images to generate; the classes take turns.").In(1, 10_000_000)
	s.Float(&g.difficulty, "difficulty", 0.5, "How faint the generated defects are and how strong the noise is.").In(0, 1)
	s.Int(&g.seed, "generator_seed", 1, "Seed of the generated images. It is an argument of its own, so that the pipeline's seed can change while the images stay.").Min(0)
	s.Out("dataset", artifact.Dataset, "The images with their classes.")
	s.Out("report", artifact.Report, "Counts by class, samples, and what was skipped.")
	s.Reports("count", stages.Integer, "Number of images.")
	s.Reports("classes", stages.StringList, "Class names in order of the labels.")
	s.Reports("counts", stages.NumberMap, "Number of images by class.")
	s.Reports("skipped", stages.Integer, "Number of damaged images left out.")
}

func (g *ingest) Check() []stages.Problem {
	var out []stages.Problem
	if g.channels == 2 {
		out = append(out, stages.Problemf("channels", "Value out of range", "An image has 1 channel (grey) or 3 (RGB), not 2."))
	}
	seen := map[string]bool{}
	for _, c := range g.classes {
		if c == "" || seen[c] {
			out = append(out, stages.Problemf("classes", "Malformed class names", "The class name %q is empty or occurs twice.", c))
		}
		seen[c] = true
	}
	if g.generator == "" {
		return out
	}
	if g.size != 0 && (g.size < surfaces.MinSize || g.size > surfaces.MaxSize) {
		out = append(out, stages.Problemf("size", "Value out of range", "The generator makes images of %d to %d pixels a side, not %d.", surfaces.MinSize, surfaces.MaxSize, g.size))
	}
	for _, c := range g.classes {
		if generatorLabel(c) < 0 {
			p := stages.Problemf("classes", "Unknown option", "The generator makes no class %q. It makes %s.", c, strings.Join(surfaces.Classes(), ", "))
			p.Given, p.Options = c, surfaces.Classes()
			out = append(out, p)
		}
	}
	if g.format != "auto" || g.subset != "all" {
		out = append(out, stages.Problemf("generator", "Arguments that exclude each other", "A generator makes images, so \"format\" and \"subset\", which say how to read them, mean nothing. Remove them, or remove \"generator\"."))
	}
	return out
}

// CheckInputs asks for exactly one source of images.
func (g *ingest) CheckInputs(connected map[string]bool) []stages.Problem {
	switch {
	case g.generator != "" && connected["source"]:
		return []stages.Problem{stages.Problemf("generator", "Two sources of images", "The stage has both a source and a generator. Remove one of them.")}
	case g.generator == "" && !connected["source"]:
		return []stages.Problem{stages.Problemf("", "No source of images", "The stage needs a source, the file or folder with the images, or generator = \"surfaces\".")}
	}
	return nil
}

func generatorLabel(class string) int32 {
	for i, c := range surfaces.Classes() {
		if c == class {
			return int32(i)
		}
	}
	return -1
}

func (g *ingest) Run(ctx context.Context, job *stages.Job) error {
	images, err := g.open(job)
	if err != nil {
		return problem(err)
	}
	defer images.Close()
	w, err := dataset.Create(job.Output("dataset"), images.Info)
	if err != nil {
		return err
	}
	t := &tally{counts: make([]int, len(images.Info.Classes)), samples: map[int32]int{}, info: images.Info}
	if err := g.copy(ctx, job, images, w, t); err != nil {
		w.Close() //nolint:errcheck // the first error is the one to report
		return problem(err)
	}
	for c, n := range t.counts {
		if n == 0 {
			w.Close() //nolint:errcheck // as above
			return stages.Problemf("classes", "Class without images", "The class %q has no images among the %d that were taken. Remove it from \"classes\", raise \"limit\", or look for damaged files in the log.", images.Info.Classes[c], w.Len())
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	counts := map[string]int{}
	for c, n := range t.counts {
		counts[images.Info.Classes[c]] = n
	}
	job.Value("count", w.Len())
	job.Value("classes", images.Info.Classes)
	job.Value("counts", counts)
	job.Value("skipped", len(t.skipped))
	return t.report(job.Output("report"))
}

// open returns the images of the source or the generator.
func (g *ingest) open(job *stages.Job) (*importer.Images, error) {
	if g.generator != "" {
		return g.generate()
	}
	in, _ := job.Input("source")
	o := importer.Options{Subset: g.subset, Classes: g.classes, Channels: g.channels, Size: g.size, MaxExpansion: g.maxExpansion, Scratch: job.ScratchDir}
	format := g.format
	if format == "auto" {
		var err error
		if format, err = importer.Detect(in.Path, o); err != nil {
			return nil, err
		}
		job.Logf("the source is in the format %s", format)
	}
	return importer.Open(in.Path, format, o)
}

// generate returns the generator's images: image i has class i modulo the number of classes.
func (g *ingest) generate() (*importer.Images, error) {
	size, classes := g.size, g.classes
	if size == 0 {
		size = defaultSize
	}
	if classes == nil {
		classes = surfaces.Classes()
	}
	gen, err := surfaces.New(uint64(g.seed), size, g.difficulty)
	if err != nil {
		return nil, err
	}
	info := dataset.Info{Classes: classes, Height: size, Width: size, Channels: max(1, g.channels)}
	return &importer.Images{Info: info, Count: g.count, Records: func(yield func(importer.Record, error) bool) {
		grey, image := make([]byte, size*size), make([]byte, info.ImageSize())
		for i := range g.count {
			label := int32(i % len(classes))
			gen.Image(grey, i, generatorLabel(classes[label]))
			for k := range image {
				image[k] = grey[k/info.Channels]
			}
			if !yield(importer.Record{ID: fmt.Sprintf("surfaces/%d", i), Label: label, Image: image}, nil) {
				return
			}
		}
	}}, nil
}

// progressEvery is the number of images between two looks at the context and two reports of progress.
const progressEvery = 256

// copy writes the records to w and into the tally.
func (g *ingest) copy(ctx context.Context, job *stages.Job, images *importer.Images, w *dataset.Writer, t *tally) error {
	total := images.Count
	if g.limit > 0 {
		total = min(total, g.limit)
	}
	for r, err := range images.Records {
		if n := w.Len() + len(t.skipped); n%progressEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			job.Progress(stages.Progress{Phase: "images", Done: int64(n), Total: int64(total), Unit: "images"})
		}
		var bad *importer.RecordError
		if errors.As(err, &bad) && g.onError == "skip" {
			job.Logf("skipped %v", bad)
			t.skipped = append(t.skipped, bad)
			continue
		}
		if err != nil {
			return err
		}
		if err := w.Add(r.ID, r.Label, r.Image); err != nil {
			return err
		}
		t.add(r)
		if w.Len() == g.limit {
			break
		}
	}
	if w.Len() == 0 {
		return stages.Problemf("source", "No images found", "None of the %d images could be read. The log names each.", len(t.skipped))
	}
	return ctx.Err()
}

// problem turns what the user can mend into a problem.
func problem(err error) error {
	var source *importer.SourceError
	if errors.As(err, &source) {
		return stages.Problem{Arg: "source", Summary: source.Summary, Detail: source.Detail}
	}
	var bad *importer.RecordError
	if errors.As(err, &bad) {
		return stages.Problemf("source", "Damaged image", "%s. Mend or remove it, or write on_error = \"skip\" to leave out what cannot be read.", capital(bad.Error()))
	}
	return err
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
