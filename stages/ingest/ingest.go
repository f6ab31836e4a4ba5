// Package ingest is the kind that makes a dataset: from the images and annotations that people have, from a URL, or from a generator.
//
// Rules of the room: it only chooses, counts and reports; the formats live in dataset/importer, the generated images in
// dataset/surfaces.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/importer"
	"github.com/darkroom-dev/darkroom/dataset/picture"
	"github.com/darkroom-dev/darkroom/dataset/surfaces"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:    "ingest",
	Version: 6,
	Doc: "Makes a dataset of images, of one size when they are read, with their annotations. It reads folders with one folder of pictures for each class, tables (CSV), Pascal VOC (LabelImg), CVAT, COCO and YOLO annotations, masks as images, " +
		"idx files (MNIST and its relatives), CIFAR-10 and CIFAR-100 batches, WebDataset shards, and Hugging Face's image folders and Parquet files, all of them also from a zip or tar archive or compressed by gzip, xz or zstd, without unpacking, and from a URL; pictures are JPEG, PNG, BMP, GIF (the first frame), TIFF or WebP. " +
		"Or it makes images of metal surfaces with defects itself, `generator = \"surfaces\"`, of the classes none, scratch, pit, patch and inclusion.\n\n" +
		"Classes go by name, never by position: the report and `quality` hold the table of names, indexes and what the source calls them. Boxes, polygons and masks are in pixels of the image as it is read. Nothing is left out or repaired in silence: " +
		"each oddity is counted and listed in the report and in `quality` (JSON), and `strict = true` makes the stage fail for it. Levels: an error leaves a record out (and fails the stage unless `on_error = \"skip\"`), a repair changes an annotation, a warning should be looked at, a note tells how something usual was read.\n\n" +
		"A data set that comes with test images of its own takes two stages, one with `subset = \"train\"` and one with `subset = \"test\"`, or one stage whose `split` column the kind split takes. In a " +
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
		"ingest \"cells\" {\n" +
		"  source = \"data/bccd.zip\"   # JPEGImages/, Annotations/, ImageSets/Main/\n" +
		"  format = \"voc\"\n" +
		"  size   = 320\n" +
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
	maxPixels    int
	task         string
	labelFrom    string
	store        string
	maskClasses  []string
	maskColors   map[string]string
	threshold    int
	strict       bool
	url          string
	sha256       string
}

// defaultSize is the side of generated images in pixels.
const defaultSize = 64

func (g *ingest) Declare(s *stages.Schema) {
	s.Source("source", "The folder, the archive (zip, tar, tar.gz, tar.xz, tar.zst) or the file with the images. Not with a generator.").OrNone()
	s.String(&g.format, "format", "auto", "What the source holds; \"auto\" tells by the names of its files.").OneOf(append([]string{"auto"}, importer.Formats()...)...)
	s.String(&g.subset, "subset", "all", "The part of a source that is divided already.").OneOf("all", "train", "test")
	s.Strings(&g.classes, "classes", nil, "Class names, in the order of their indexes: for idx, CIFAR and a YOLO source without data.yaml the names by number, for the others the classes to take. Without it, as the source has them; where it gives no order, sorted by name.").NoDefault().NonEmpty()
	s.Int(&g.channels, "channels", 0, "1 makes all images grey, 3 makes them RGB. Without it, as the source has them.").In(1, 3).NoDefault()
	s.Int(&g.size, "size", 0, "Side of the square to which images are scaled. Without it they stay as they are, and must be of one size; a generator makes 64.").InUnit("pixels").In(1, dataset.MaxSide).NoDefault()
	s.String(&g.task, "task", "auto", "What the annotations are for; \"auto\" is what the format holds. \"none\" reads images without labels; \"segmentation\" draws polygons into masks.").OneOf("auto", string(dataset.Classification), string(dataset.MultiLabel), string(dataset.Detection), string(dataset.Segmentation), string(dataset.Unlabelled))
	s.String(&g.labelFrom, "label_from", "source", "Where an image's label comes from: the source's own labels; the file's name up to its last underscore or dash; the folder that it lies in; or the class of most of its objects.").OneOf("source", "name", "folder", "annotation")
	s.String(&g.store, "store", "auto", "Keep images decoded, which is fast to read, or encoded as the files that they were, which takes less room; \"auto\" keeps them decoded up to 8 GiB.").OneOf("auto", "decoded", "encoded")
	s.Strings(&g.maskClasses, "mask_classes", nil, "Names of the values 0, 1, 2 … in masks; 255 is ignored. Without it, masks are divided into background and foreground.").NoDefault().NonEmpty()
	s.StringMap(&g.maskColors, "mask_colors", "For masks in colours: a map from class names to colours, such as { road = \"#ff0000\", car = \"#0000ff\" }. Their order is that of mask_classes, else of their names; a colour of no class is counted, listed and ignored.").NoDefault()
	s.Int(&g.threshold, "mask_threshold", importer.DefaultThreshold, "Grey levels of a mask above it are foreground. Not with mask_classes.").In(0, 254)
	s.Int(&g.limit, "limit", 0, "Take only so many images, from the first on.").Min(1).NoDefault()
	s.String(&g.onError, "on_error", "fail", "What a damaged image, or an annotation without an image, does: it fails the stage, or it is skipped, counted and listed in the report.").OneOf("fail", "skip")
	s.Int(&g.maxExpansion, "max_expansion", 200, "How many times its own size an archive may expand to, beyond 256 MiB. It guards the disk against archives made to fill it.").In(1, 1_000_000).NotInKey()
	s.Int(&g.maxPixels, "max_pixels", picture.DefaultPixels, "How many pixels a picture may claim before it is decoded. It guards the memory against pictures made to fill it.").InUnit("pixels").In(1, 1<<31)
	s.Bool(&g.strict, "strict", false, "Fail when anything was found that is more than a note: a record left out, an annotation repaired, a warning.")
	s.String(&g.url, "url", "", "Download the source, an archive or a file, instead of reading one of the project. A download that was interrupted goes on where it was.").NoDefault().NotInKey()
	s.String(&g.sha256, "sha256", "", "SHA-256 of what the URL gives, in hexadecimal; anything else is refused.").NoDefault()
	s.String(&g.generator, "generator", "", "Make images instead of reading them.").OneOf("surfaces").NoDefault()
	s.Int(&g.count, "count", 3000, "Images to generate; the classes take turns.").In(1, 10_000_000)
	s.Float(&g.difficulty, "difficulty", 0.5, "How faint the generated defects are and how strong the noise is.").In(0, 1)
	s.Int(&g.seed, "generator_seed", 1, "Seed of the generated images. It is an argument of its own, so that the pipeline's seed can change while the images stay.").Min(0)
	s.Out("dataset", artifact.Dataset, "The images with their classes.")
	s.Out("report", artifact.Report, "What was read, skipped, repaired and noticed; counts, sizes, duplicates, samples of each class.")
	s.Out("quality", artifact.Metrics, "The same as JSON: classes with their indexes and the source's names for them, counts, sizes, colours, and every finding with its record.")
	s.Reports("count", stages.Integer, "Number of images.")
	s.Reports("classes", stages.StringList, "Class names in order of the labels.")
	s.Reports("counts", stages.NumberMap, "Number of images by class: of that label, or that hold an object of it.")
	s.Reports("skipped", stages.Integer, "Number of records left out.")
	s.Reports("findings", stages.NumberMap, "Number of findings by kind, of every kind: empty_box, identical_images and so on.")
}

// checkColors finds colours that are none, that two classes share, or that do not go with mask_classes.
func (g *ingest) checkColors() []stages.Problem {
	var out []stages.Problem
	add := func(summary, format string, args ...any) {
		out = append(out, stages.Problemf("mask_colors", summary, format, args...))
	}
	of := map[[3]byte]string{}
	for _, name := range slices.Sorted(maps.Keys(g.maskColors)) {
		c, err := importer.ParseColour(g.maskColors[name])
		switch {
		case err != nil:
			add("Malformed colour", "The colour of %s: %v.", name, err)
		case of[c] != "":
			add("Two classes of one colour", "The classes %s and %s both have the colour %s. Give each class its own.", of[c], name, g.maskColors[name])
		case g.maskClasses != nil && !slices.Contains(g.maskClasses, name):
			add("Unknown class", "The class %s has a colour, but does not stand in mask_classes, which are %s.", name, strings.Join(g.maskClasses, ", "))
		}
		of[c] = name
	}
	for _, name := range g.maskClasses {
		if _, ok := g.maskColors[name]; len(g.maskColors) > 0 && !ok {
			add("Class without a colour", "The class %s stands in mask_classes and has no colour in mask_colors.", name)
		}
	}
	if len(g.maskColors) > int(dataset.Ignore) {
		add("Too many classes", "A mask's pixel is a byte, so there are at most %d classes.", dataset.Ignore)
	}
	return out
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
	out = append(out, g.checkURL()...)
	if len(g.maskClasses) > int(dataset.Ignore) {
		out = append(out, stages.Problemf("mask_classes", "Too many classes", "A mask's pixel is a byte, so there are at most %d classes.", dataset.Ignore))
	}
	out = append(out, g.checkColors()...)
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
	case g.url != "" && (connected["source"] || g.generator != ""):
		return []stages.Problem{stages.Problemf("url", "Two sources of images", "The stage has a URL and another source of images. Remove one of them.")}
	case g.generator == "" && g.url == "" && !connected["source"]:
		return []stages.Problem{stages.Problemf("", "No source of images", "The stage needs a source, the file or folder with the images, a url, or generator = \"surfaces\".")}
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
	images, err := g.open(ctx, job)
	if err != nil {
		return problem(err)
	}
	defer images.Close()
	c := newCollection(images)
	if err := g.listed(job, c, images.Findings); err != nil {
		return err
	}
	w, err := dataset.Create(job.Output("dataset"), images.Info)
	if err != nil {
		return err
	}
	if err := g.copy(ctx, job, images, w, c); err != nil {
		w.Close() //nolint:errcheck // the first error is the one to report
		return problem(err)
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.judge()
	if p := g.missing(c); p != nil {
		return *p
	}
	if p := g.strictly(c); p != nil {
		return *p
	}
	return g.report(job, c)
}

// listed takes what was found before any image was read.
func (g *ingest) listed(job *stages.Job, c *collection, found []importer.Finding) error {
	for _, f := range found {
		if f.Kind.Level == importer.Error {
			if g.onError == "fail" {
				return stages.Problemf("source", strings.TrimSuffix(f.Kind.Text, "s"), "%q: %s. Mend or remove it, or write on_error = \"skip\" to leave out and list what cannot be used.", f.Record, f.Detail)
			}
			c.skipped++
		}
		c.find(f)
	}
	return nil
}

// missing refuses classes without images, which would train nothing.
func (g *ingest) missing(c *collection) *stages.Problem {
	for i, n := range c.images {
		if n > 0 {
			continue
		}
		name := c.info.Classes[i]
		if c.info.Task == dataset.Classification || g.classes != nil {
			p := stages.Problemf("classes", "Class without images", "The class %q has no images among the %d that were taken. Remove it from \"classes\", raise \"limit\", or look for damaged files in the log.", name, len(c.ids))
			return &p
		}
		c.find(importer.Finding{Kind: importer.NoObjects, Record: name, Detail: "no image holds one"})
	}
	return nil
}

// strictly makes findings a problem.
func (g *ingest) strictly(c *collection) *stages.Problem {
	if !g.strict {
		return nil
	}
	var lines []string
	for _, k := range c.kinds() {
		if list := c.found[k]; k.Level != importer.Note {
			lines = append(lines, fmt.Sprintf("%s: %d, such as %s (%s)", k.Text, len(list), list[0].Record, list[0].Detail))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	p := stages.Problemf("strict", "The source is not clean", "%s. The log lists them. Mend the source, or write strict = false to get the report of all of it.", strings.Join(lines, ". "))
	return &p
}

// report writes the page and the JSON, and reports the values.
func (g *ingest) report(job *stages.Job, c *collection) error {
	d, err := dataset.Open(job.Output("dataset"))
	if err != nil {
		return err
	}
	defer d.Close()
	counts, findings := map[string]int{}, map[string]int{}
	for i, n := range c.images {
		counts[c.info.Classes[i]] = n
	}
	for _, k := range importer.Kinds() {
		findings[k.Name] = len(c.found[k])
	}
	job.Value("count", len(c.ids))
	job.Value("classes", append([]string{}, c.info.Classes...))
	job.Value("counts", counts)
	job.Value("skipped", c.skipped)
	job.Value("findings", findings)
	if err := c.writeJSON(job.Output("quality")); err != nil {
		return err
	}
	return c.page(d, job.Output("report"))
}

// open returns the images of the source, the URL or the generator.
func (g *ingest) open(ctx context.Context, job *stages.Job) (*importer.Images, error) {
	if g.generator != "" {
		return g.generate()
	}
	in, ok := job.Input("source")
	source := in.Path
	if !ok {
		var err error
		if source, err = g.download(ctx, job); err != nil {
			return nil, err
		}
	}
	o := importer.Options{
		Subset: g.subset, Classes: g.classes, Channels: g.channels, Size: g.size, MaxExpansion: g.maxExpansion, Scratch: job.ScratchDir,
		MaxPixels: int64(g.maxPixels), Store: g.store, MaskClasses: g.maskClasses, MaskColors: g.maskColors, MaskThreshold: g.threshold,
	}
	if g.task != "auto" {
		o.Task = dataset.Task(g.task)
	}
	if g.labelFrom != "source" {
		o.LabelFrom = g.labelFrom
	}
	format := g.format
	if format == "auto" {
		var err error
		if format, err = importer.Detect(source, o); err != nil {
			return nil, err
		}
		job.Logf("the source is in the format %s", format)
	}
	return importer.Open(source, format, o)
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
	return importer.FromPixels(info, g.count, func(yield func(importer.Record, error) bool) {
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
	}), nil
}

// progressEvery is the number of images between two looks at the context and two reports of progress.
const progressEvery = 256

// copy writes the records to w and into the collection.
func (g *ingest) copy(ctx context.Context, job *stages.Job, images *importer.Images, w *dataset.Writer, c *collection) error {
	total := images.Count
	if g.limit > 0 {
		total = min(total, g.limit)
	}
	workers := job.Resources.CPUs
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	n := 0
	for r, err := range images.Samples(ctx, workers) {
		if n%progressEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			job.Progress(stages.Progress{Phase: "images", Done: int64(n), Total: int64(total), Unit: "images"})
		}
		n++
		if err != nil {
			return err
		}
		if r.Err == nil {
			r.Err = c.repeated(r.Sample.ID)
		}
		if r.Err != nil {
			if err := g.leaveOut(job, c, r); err != nil {
				return err
			}
			continue
		}
		if err := w.AddSample(r.Sample); err != nil {
			return err
		}
		c.add(r)
		if w.Len() == g.limit {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.Len() == 0 {
		return stages.Problemf("source", "No images found", "None of the %d images could be read. The log names each.", c.skipped)
	}
	return nil
}

// leaveOut counts a record that cannot be taken, or fails for it. A class that the user left out is no fault.
func (g *ingest) leaveOut(job *stages.Job, c *collection, r importer.Read) error {
	var bad *importer.RecordError
	if !errors.As(r.Err, &bad) {
		return r.Err
	}
	for _, f := range r.Findings {
		c.find(f)
	}
	if bad.Kind == importer.ClassLeftOut {
		return nil
	}
	if bad.Kind == importer.SameID {
		c.find(importer.Finding{Kind: importer.SameID, Record: r.Sample.ID, Detail: bad.Err.Error()})
	}
	if g.onError == "fail" {
		return bad
	}
	job.Logf("skipped %v", bad)
	c.skipped++
	return nil
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
