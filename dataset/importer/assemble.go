package importer

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
	"github.com/darkroom-dev/darkroom/dataset/quality"
	"github.com/darkroom-dev/darkroom/dataset/similar"
)

// Read is one record of a source as it goes into the dataset, with what was found on the way.
type Read struct {
	Sample   dataset.Sample
	Pixels   []byte // (H, W, C) of Info, also where the dataset keeps files
	Measure  quality.Image
	Colours  quality.Colours
	Format   string // of the picture's file; "" for raw pixels
	Findings []Finding
	Err      error // a *RecordError: the record is not to be taken
}

// decodeBudget bounds the pixels that are being decoded at a time, whatever the number of workers. A pixel takes about eight bytes while it
// is decoded and scaled.
const decodeBudget = 1 << 25

// assembler turns items into samples.
type assembler struct {
	*Images
	o       Options
	index   map[string]int32 // of classes by name
	known   map[string]bool  // classes of the source, those that are left out among them
	budget  *semaphore.Weighted
	maximum int64
}

// Samples yields the records in the order of the source, decoded by several workers ahead of the caller. What it yields does not depend on
// their number.
func (m *Images) Samples(ctx context.Context, workers int) func(yield func(Read, error) bool) {
	return func(yield func(Read, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		a := m.assembler()
		type job struct {
			it  item
			err error
			out chan Read
		}
		jobs, queue := make(chan job), make(chan job, 4*workers)
		wg.Go(func() {
			defer close(jobs)
			defer close(queue)
			for it, err := range m.items {
				if it.pixels != nil {
					it.pixels = slices.Clone(it.pixels)
				}
				j := job{it, err, make(chan Read, 1)}
				select {
				case queue <- j:
				case <-ctx.Done():
					return
				}
				if err != nil {
					continue
				}
				select {
				case jobs <- j:
				case <-ctx.Done():
					return
				}
			}
		})
		for range max(1, workers) {
			wg.Go(func() {
				for j := range jobs {
					j.out <- a.read(ctx, &j.it)
				}
			})
		}
		for j := range queue {
			if j.err != nil {
				var bad *RecordError
				if errors.As(j.err, &bad) {
					if !yield(Read{Err: bad, Findings: []Finding{{DamagedImage, bad.name(), bad.Err.Error()}}}, nil) {
						return
					}
					continue
				}
				yield(Read{}, j.err)
				return
			}
			select {
			case r := <-j.out:
				if !yield(r, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *Images) assembler() *assembler {
	a := &assembler{Images: m, o: m.options, index: map[string]int32{}, known: map[string]bool{}, budget: semaphore.NewWeighted(decodeBudget), maximum: m.options.maxPixels()}
	for i, c := range m.Info.Classes {
		a.index[c] = int32(i)
	}
	for _, c := range m.all {
		a.known[c.Name] = true
	}
	return a
}

// read reads one item.
func (a *assembler) read(ctx context.Context, it *item) Read {
	r := Read{Findings: slices.Clone(it.found)}
	s := &r.Sample
	s.ID, s.Split, s.Meta, s.Label = it.id, it.split, it.meta, dataset.NoLabel
	fail := func(kind *Kind, err error) Read {
		r.Findings = append(r.Findings, Finding{kind, it.id, err.Error()})
		r.Err = &RecordError{Record: "", File: it.file, Err: err, Kind: kind}
		return r
	}
	if it.bad != nil {
		return fail(DamagedAnnotation, it.bad)
	}
	if name := a.nameOf(it); a.known[name] {
		if _, ok := a.index[name]; !ok { // what is not wanted is not read
			return fail(ClassLeftOut, fmt.Errorf("its class %q is left out", name))
		}
	}
	err := a.image(ctx, it, &r)
	if err != nil {
		if errors.Is(err, picture.ErrTooLarge) {
			return fail(TooLarge, err)
		}
		return fail(DamagedImage, err)
	}
	j := &judge{a: a, it: it, r: &r, h: s.Height, w: s.Width}
	if kind, err := j.annotations(); err != nil {
		return fail(kind, err)
	}
	a.finish(&r)
	return r
}

// image decodes the picture into the sample.
func (a *assembler) image(ctx context.Context, it *item, r *Read) error {
	target := a.Info.Target()
	if it.read == nil {
		m := picture.FromPixels(it.pixels, it.size)
		r.Sample.Height, r.Sample.Width = it.size.Height, it.size.Width
		if r.Pixels = it.pixels; it.size != target {
			r.Pixels = picture.Pixels(m, target, nil)
		}
		r.Sample.Image = r.Pixels
		r.Measure.Exact = quality.Exact(m)
		return nil
	}
	b, err := it.read()
	if err != nil {
		return err
	}
	h, err := picture.ReadHeader(b)
	if err != nil {
		return err
	}
	if int64(h.Width) > a.maximum/int64(h.Height) {
		return fmt.Errorf("%w: %d×%d, more than %d; if it is to be trusted, raise \"max_pixels\"", picture.ErrTooLarge, h.Width, h.Height, a.maximum)
	}
	weight := min(int64(h.Width)*int64(h.Height), decodeBudget)
	if err := a.budget.Acquire(ctx, weight); err != nil {
		return err
	}
	defer a.budget.Release(weight)
	m, h, err := picture.Read(b, a.maximum)
	if err != nil {
		return err
	}
	if a.o.Size == 0 && (h.Width != a.Info.Width || h.Height != a.Info.Height) {
		return fmt.Errorf("it has %d×%d pixels, the first one %d×%d; the argument \"size\" scales all to one size", h.Width, h.Height, a.Info.Width, a.Info.Height)
	}
	r.Format = h.Format
	r.note(it, h, m)
	r.Sample.Height, r.Sample.Width = h.Height, h.Width
	r.Pixels = picture.Pixels(m, target, nil)
	r.Measure.Exact = quality.Exact(m)
	if r.Sample.Image = r.Pixels; a.Info.Encoded {
		r.Sample.Image = b
	}
	return nil
}

// note adds findings about the file.
func (r *Read) note(it *item, h picture.Header, m image.Image) {
	add := func(k *Kind, format string, args ...any) {
		r.Findings = append(r.Findings, Finding{k, it.id, fmt.Sprintf(format, args...)})
	}
	if ext := strings.ToLower(path.Ext(it.file)); pictureExtension(ext) && !extensionOf(ext, h.Format) {
		add(WrongExtension, "the name ends in %s, the file is of the format %s", ext, h.Format)
	}
	if h.Orientation != 1 {
		add(Turned, "orientation %d", h.Orientation)
	}
	if strings.HasSuffix(h.Model, "16 bit") {
		add(Deep, "%s", h.Model)
	}
	if h.Model == "cmyk" {
		add(Inks, "%s", h.Format)
	}
	if (h.Model == "rgba" || h.Model == "palette" || h.Model == "rgb 16 bit") && !picture.Opaque(m) {
		add(Transparent, "%s", h.Format)
	}
	if it.width > 0 && it.height > 0 && (it.width != h.Width || it.height != h.Height) {
		add(SizeDiffers, "the annotation says %d×%d, the image has %d×%d", it.width, it.height, h.Width, h.Height)
	}
	if channels := channelsOf(h); it.channels > 0 && it.channels != channels {
		add(DepthDiffers, "the annotation says %d, the image has %d", it.channels, channels)
	}
}

func channelsOf(h picture.Header) int {
	switch {
	case h.Grey():
		return 1
	case h.Model == "rgba" || h.Model == "cmyk":
		return 4
	}
	return 3
}

func extensionOf(ext, format string) bool {
	switch format {
	case "jpeg":
		return ext == ".jpg" || ext == ".jpeg"
	case "tiff":
		return ext == ".tif" || ext == ".tiff"
	}
	return ext == "."+format
}

// finish measures the image as the dataset holds it.
func (a *assembler) finish(r *Read) {
	r.Measure.Height, r.Measure.Width = int32(r.Sample.Height), int32(r.Sample.Width)
	r.Measure.Sketch = similar.NewSketch(r.Pixels, a.Info.Height, a.Info.Width, a.Info.Channels)
	r.Colours = quality.Channels(r.Pixels, a.Info.Channels)
}

// judge checks the annotations of one image, repairs what can be repaired, and puts them into the sample.
type judge struct {
	a    *assembler
	it   *item
	r    *Read
	h, w int // of the picture where it came from
}

func (j *judge) add(k *Kind, format string, args ...any) {
	j.r.Findings = append(j.r.Findings, Finding{k, j.it.id, fmt.Sprintf(format, args...)})
}

// class returns the index of a class; ok is false when it is left out, which is noted.
func (j *judge) class(name string) (int32, bool) {
	if i, ok := j.a.index[name]; ok {
		return i, true
	}
	if j.a.known[name] {
		j.add(ClassLeftOut, "an object %q", name)
	} else {
		j.add(UnknownClass, "an object %q", name)
	}
	return 0, false
}

func (j *judge) annotations() (*Kind, error) {
	for _, b := range j.it.boxes {
		j.box(b)
	}
	for _, p := range j.it.polygons {
		j.polygon(p)
	}
	s := &j.r.Sample
	for _, name := range j.it.labels {
		if c, ok := j.class(name); ok && !slices.Contains(s.Labels, c) {
			s.Labels = append(s.Labels, c)
		}
	}
	slices.Sort(s.Labels)
	if kind, err := j.label(); err != nil {
		return kind, err
	}
	if j.it.mask != nil {
		mask, found, err := j.it.mask(j.h, j.w)
		if err != nil {
			return DamagedAnnotation, err
		}
		for _, f := range found {
			f.Record = j.it.id
			j.r.Findings = append(j.r.Findings, f)
		}
		s.Mask = scaleMask(mask, j.h, j.w, j.a.Info.Height, j.a.Info.Width)
		// Thin marks can vanish when a mask shrinks, so what is empty is told before.
		j.r.Measure.Marked = slices.ContainsFunc(mask, func(v byte) bool { return v != 0 && v != dataset.Ignore })
	} else if j.a.Info.Task == dataset.Segmentation && len(s.Polygons) > 0 {
		s.Mask = j.drawn()
	}
	return nil, nil
}

// label sets the image's label: as the source says, or from a name or the objects where that was asked for.
func (j *judge) label() (*Kind, error) {
	name := j.a.nameOf(j.it)
	if j.a.o.LabelFrom == "annotation" {
		name = j.dominant()
	}
	if name == "" {
		if j.a.Info.Task == dataset.Classification {
			return NoLabelFound, errors.New("it has no label")
		}
		return nil, nil
	}
	c, ok := j.a.index[name]
	switch {
	case ok:
		j.r.Sample.Label = c
		j.differs(c)
	default:
		return UnknownLabel, fmt.Errorf("its label %q is not one of the %d classes", name, len(j.a.Info.Classes))
	}
	return nil, nil
}

// nameOf is the label that the source, the file's name up to its last underscore, or its folder gives.
func (a *assembler) nameOf(it *item) string {
	switch a.o.LabelFrom {
	case "name":
		stem := strings.TrimSuffix(path.Base(it.file), path.Ext(it.file))
		return readable(stem[:max(0, strings.LastIndexAny(stem, "_-"))])
	case "folder":
		return folderClass(it.file)
	}
	return it.label
}

// differs notes objects of other classes than the image's label.
func (j *judge) differs(label int32) {
	others := map[string]int{}
	for _, b := range j.r.Sample.Boxes {
		if b.Class != label {
			others[j.a.Info.Classes[b.Class]]++
		}
	}
	if len(others) > 0 {
		j.add(ClassDiffers, "its label is %s, and it holds %v", j.a.Info.Classes[label], others)
	}
}

// dominant is the class of the most objects, of several the one whose boxes cover most, and of those the first.
func (j *judge) dominant() string {
	type sum struct {
		n    int
		area float32
	}
	sums := map[int32]sum{}
	for _, b := range j.r.Sample.Boxes {
		s := sums[b.Class]
		sums[b.Class] = sum{s.n + 1, s.area + (b.X1-b.X0)*(b.Y1-b.Y0)}
	}
	best := int32(-1)
	for c := range int32(len(j.a.Info.Classes)) {
		s, ok := sums[c]
		if b := sums[best]; ok && (best < 0 || s.n > b.n || s.n == b.n && s.area > b.area) {
			best = c
		}
	}
	if best < 0 {
		if len(j.r.Sample.Labels) == 1 {
			best = j.r.Sample.Labels[0]
		} else {
			return ""
		}
	}
	return j.a.Info.Classes[best]
}

// box checks a box in pixels of the picture and adds it in pixels of the image as it is read.
func (j *judge) box(b box) {
	h, w := float64(j.h), float64(j.w)
	if j.it.relative {
		b.x0, b.y0, b.x1, b.y1 = b.x0*w, b.y0*h, b.x1*w, b.y1*h
	}
	was := fmt.Sprintf("%s (%s, %s, %s, %s)", b.class, short(b.x0), short(b.y0), short(b.x1), short(b.y1))
	for _, v := range []float64{b.x0, b.y0, b.x1, b.y1} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			j.add(NotANumber, "%s", was)
			return
		}
	}
	class, ok := j.class(b.class)
	if !ok {
		return
	}
	if b.x0 > b.x1 || b.y0 > b.y1 {
		j.add(InvertedBox, "%s", was)
		b.x0, b.x1, b.y0, b.y1 = min(b.x0, b.x1), max(b.x0, b.x1), min(b.y0, b.y1), max(b.y0, b.y1)
	}
	if b.x0 == b.x1 || b.y0 == b.y1 {
		j.add(EmptyBox, "%s", was)
		return
	}
	if b.x1 <= 0 || b.y1 <= 0 || b.x0 >= w || b.y0 >= h {
		j.add(BoxOutside, "%s in %d×%d", was, j.w, j.h)
		return
	}
	const rounding = 0.01 // shares of a size are written with a few digits
	if b.x0 < -rounding || b.y0 < -rounding || b.x1 > w+rounding || b.y1 > h+rounding {
		j.add(BoxClipped, "%s in %d×%d", was, j.w, j.h)
	}
	sx, sy := float64(j.a.Info.Width)/w, float64(j.a.Info.Height)/h
	out := dataset.Box{
		X0: float32(max(0, b.x0) * sx), Y0: float32(max(0, b.y0) * sy),
		X1: min(float32(min(w, b.x1)*sx), float32(j.a.Info.Width)), Y1: min(float32(min(h, b.y1)*sy), float32(j.a.Info.Height)), Class: class,
	}
	if out.X0 >= out.X1 || out.Y0 >= out.Y1 { // it was wider than nothing by less than a float32 holds
		j.add(EmptyBox, "%s", was)
		return
	}
	if slices.Contains(j.r.Sample.Boxes, out) {
		j.add(RepeatedBox, "%s", was)
		return
	}
	j.r.Sample.Boxes = append(j.r.Sample.Boxes, out)
}

func short(v float64) string { return fmt.Sprintf("%.5g", v) }

func (j *judge) polygon(p polygon) {
	sx, sy := float64(j.a.Info.Width)/float64(j.w), float64(j.a.Info.Height)/float64(j.h)
	if j.it.relative {
		sx, sy = float64(j.a.Info.Width), float64(j.a.Info.Height)
	}
	var out dataset.Polygon
	for _, ring := range p.rings {
		if len(ring) < 6 || len(ring)%2 != 0 {
			j.add(BadPolygon, "%s of %d numbers", p.class, len(ring))
			continue
		}
		flat := make([]float32, len(ring))
		for i, v := range ring {
			scale := sx
			if i%2 == 1 {
				scale = sy
			}
			if flat[i] = float32(v * scale); !(flat[i] >= -1<<20 && flat[i] <= 1<<20) {
				j.add(NotANumber, "a polygon %s with a point at %g", p.class, v)
				return
			}
		}
		out.Rings = append(out.Rings, flat)
	}
	if len(out.Rings) == 0 {
		return
	}
	var ok bool
	if out.Class, ok = j.class(p.class); ok {
		j.r.Sample.Polygons = append(j.r.Sample.Polygons, out)
	}
}
