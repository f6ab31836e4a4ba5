package ingest

import (
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/importer"
	"github.com/darkroom-dev/darkroom/dataset/picture"
	"github.com/darkroom-dev/darkroom/report"
)

// What a page shows at most.
const (
	recordsShown = 200 // of each kind of finding
	classesShown = 60
	sizesShown   = 12
	pairsShown   = 12
	thumbSide    = 112 // pixels
)

// page writes the report. Pictures come from the dataset that was written.
func (c *collection) page(d *dataset.Dataset, file string) error {
	p := report.New("Dataset")
	p.Subtitle(c.subtitle())
	p.Facts(c.facts()...)
	c.findings(p)
	if err := c.duplicates(p, d); err != nil {
		return err
	}
	c.classTable(p)
	c.shapes(p)
	if err := c.sheets(p, d); err != nil {
		return err
	}
	return p.WriteFile(file)
}

func (c *collection) subtitle() string {
	switch c.info.Task {
	case dataset.Unlabelled:
		return "Images without labels"
	case dataset.MultiLabel:
		return "Classification with several classes an image"
	}
	return strings.ToUpper(string(c.info.Task[:1])) + string(c.info.Task[1:])
}

func (c *collection) facts() []report.Fact {
	colour := "grey"
	if c.info.Channels == 3 {
		colour = "RGB"
	}
	if c.info.Encoded {
		colour += ", kept as files"
	}
	levels := map[importer.Level]int{}
	for k, list := range c.found {
		levels[k.Level] += len(list)
	}
	tone := func(n int) report.Tone {
		if n > 0 {
			return report.Bad
		}
		return report.Plain
	}
	facts := []report.Fact{
		{Name: "Images", Value: report.Count(len(c.ids))},
		{Name: "Classes", Value: report.Count(len(c.info.Classes))},
	}
	if n := sum(c.objects); n > 0 {
		facts = append(facts, report.Fact{Name: "Objects", Value: report.Count(n), Note: fmt.Sprintf("%.1f an image", float64(n)/float64(len(c.ids)))})
	}
	return append(facts,
		report.Fact{Name: "Size", Value: fmt.Sprintf("%d × %d", c.info.Width, c.info.Height), Note: colour},
		report.Fact{Name: "Left out", Value: report.Count(c.skipped), Note: "records", Tone: tone(c.skipped)},
		report.Fact{Name: "Repaired", Value: report.Count(levels[importer.Repair]), Note: "annotations"},
		report.Fact{Name: "Warnings", Value: report.Count(levels[importer.Warning])},
	)
}

func sum(list []int) int {
	n := 0
	for _, v := range list {
		n += v
	}
	return n
}

// findings lists what was found, and of each kind the records.
func (c *collection) findings(p *report.Page) {
	p.Section("Findings")
	kinds := c.kinds()
	if len(kinds) == 0 {
		p.Text("Nothing was left out, repaired or noticed.")
		return
	}
	all := report.Table{Columns: []report.Column{{Name: "What"}, {Name: "Level"}, {Name: "Count", Number: true}}, Marks: map[int]report.Tone{}}
	for i, k := range kinds {
		all.Rows = append(all.Rows, []string{k.Text, string(k.Level), report.Count(len(c.found[k]))})
		if k.Level == importer.Error {
			all.Marks[i] = report.Bad
		}
	}
	p.Table(all)
	for _, k := range kinds {
		list := c.found[k]
		title := fmt.Sprintf("%s: %s", k.Text, report.Count(len(list)))
		if len(list) > recordsShown {
			title += fmt.Sprintf(", the first %d", recordsShown)
		}
		t := report.Table{Title: title, Folded: true, Columns: []report.Column{{Name: "Record"}, {Name: "Detail"}}}
		for _, f := range list[:min(len(list), recordsShown)] {
			t.Rows = append(t.Rows, []string{f.Record, f.Detail})
		}
		p.Table(t)
	}
}

// duplicates shows pairs of images side by side.
func (c *collection) duplicates(p *report.Page, d *dataset.Dataset) error {
	if len(c.pairs) == 0 {
		return nil
	}
	p.Section("Duplicates")
	if n := len(c.pairs); n > pairsShown {
		p.Text(fmt.Sprintf("The first %d of %s pairs. Identical images stand before those that look alike.", pairsShown, report.Count(n)))
	}
	var thumbs []report.Thumbnail
	shown := 0
	for _, same := range []bool{true, false} {
		for _, pair := range c.pairs {
			if pair.Same != same || shown == pairsShown {
				continue
			}
			shown++
			word := "alike"
			if same {
				word = "identical"
			}
			for k, row := range []int{pair.A, pair.B} {
				t, err := c.thumbnail(d, row, -1)
				if err != nil {
					return err
				}
				t.Caption = fmt.Sprintf("%d%c %s", shown, 'a'+k, word)
				if s := c.splits[row]; s != "" {
					t.Note = s + ": " + t.Note
				}
				thumbs = append(thumbs, t)
			}
		}
	}
	p.Thumbnails(thumbs...)
	return nil
}

// classTable shows the classes with their counts, their indexes, and what the source calls them.
func (c *collection) classTable(p *report.Page) {
	if len(c.classes) > 0 {
		p.Section("Classes")
		bars := report.BarChart{Title: "Images by class"}
		for i, n := range c.images[:min(len(c.images), classesShown)] {
			bars.Bars = append(bars.Bars, report.Bar{Name: c.info.Classes[i], Value: float64(n), Text: report.Count(n)})
		}
		p.Bars(bars)
		if n := len(c.images) - classesShown; n > 0 {
			p.Text(fmt.Sprintf("%s more classes are in the table.", report.Count(n)))
		}
		t := report.Table{Title: "Names, indexes and counts", Folded: true, Columns: []report.Column{{Name: "Index", Number: true}, {Name: "Class"}, {Name: "In the source"}, {Name: "Images", Number: true}, {Name: "Objects", Number: true}}}
		for i, k := range c.classes {
			t.Rows = append(t.Rows, []string{fmt.Sprint(i), k.Name, k.Source, report.Count(c.images[i]), report.Count(c.objects[i])})
		}
		p.Table(t)
	}
	if len(c.info.MaskClasses) > 0 {
		total := int64(0)
		for _, n := range c.pixels {
			total += n
		}
		t := report.Table{Title: "Classes of masks", Columns: []report.Column{{Name: "Index", Number: true}, {Name: "Class"}, {Name: "Share of the pixels", Number: true}}}
		for i, name := range c.info.MaskClasses {
			t.Rows = append(t.Rows, []string{fmt.Sprint(i), name, report.Percent(float64(c.pixels[i]) / math.Max(1, float64(total)))})
		}
		p.Table(t)
	}
	if names, counts := c.splitCounts(); len(names) > 0 {
		bars := report.BarChart{Title: "Images by part of the source"}
		for _, s := range names {
			bars.Bars = append(bars.Bars, report.Bar{Name: part(s), Value: float64(counts[s]), Text: report.Count(counts[s])})
		}
		p.Bars(bars)
	}
}

// shapes shows sizes, ratios, areas and colours.
func (c *collection) shapes(p *report.Page) {
	p.Section("Sizes and colours")
	sizes := c.sizes()
	if len(sizes) <= sizesShown {
		bars := report.BarChart{Title: "Sizes of the images where they came from"}
		for _, s := range sizes {
			bars.Bars = append(bars.Bars, report.Bar{Name: fmt.Sprintf("%d × %d", s.Width, s.Height), Value: float64(s.Images), Text: report.Count(s.Images)})
		}
		p.Bars(bars)
	} else {
		p.Text(fmt.Sprintf("The images have %s sizes where they came from.", report.Count(len(sizes))))
		p.Bars(histogram("Longer side, in pixels", longerSides(sizes), func(v float64) string { return report.Number(v, 0) }))
	}
	if len(sizes) > 1 {
		p.Bars(histogram("Width to height", c.aspects(), func(v float64) string { return report.Number(v, 2) }))
	}
	if areas := c.boxAreas(); areas != nil {
		p.Bars(histogram("Boxes by their share of the image", areas, func(v float64) string { return fmt.Sprintf("%.3g %%", 100*v) }))
	}
	names := []string{"grey"}
	if c.info.Channels == 3 {
		names = []string{"red", "green", "blue"}
	}
	t := report.Table{Title: "Channels, of values from 0 to 1", Columns: []report.Column{{Name: "Channel"}, {Name: "Mean", Number: true}, {Name: "Deviation", Number: true}}}
	for i, name := range names {
		t.Rows = append(t.Rows, []string{name, report.Number(c.colours.Mean(i), 4), report.Number(c.colours.Deviation(i), 4)})
	}
	p.Table(t)
}

// longerSides counts images by their longer side, in steps of about 1.4.
func longerSides(sizes []jsonSize) []jsonBin {
	var bins []jsonBin
	for from := 1.0; from < dataset.MaxSide*4; from *= math.Sqrt2 {
		bins = append(bins, jsonBin{From: math.Round(from), To: math.Round(from * math.Sqrt2)})
	}
	for _, s := range sizes {
		side := float64(max(s.Width, s.Height))
		for i := range bins {
			if side < bins[i].To || i == len(bins)-1 {
				bins[i].Count += s.Images
				break
			}
		}
	}
	return bins
}

// histogram shows bins from the first to the last that holds something.
func histogram(title string, bins []jsonBin, text func(float64) string) report.BarChart {
	first, last := len(bins), -1
	for i, b := range bins {
		if b.Count > 0 {
			first, last = min(first, i), i
		}
	}
	chart := report.BarChart{Title: title}
	for i := first; i <= last; i++ {
		b := bins[i]
		name := text(b.From) + " – " + text(b.To)
		if b.To == dataset.MaxSide {
			name = "over " + text(b.From)
		}
		chart.Bars = append(chart.Bars, report.Bar{Name: name, Value: float64(b.Count), Text: report.Count(b.Count)})
	}
	return chart
}

// sheets shows a contact sheet for each class.
func (c *collection) sheets(p *report.Page, d *dataset.Dataset) error {
	p.Section("Samples")
	each := max(2, min(samplesPerClass, samplesInAll/len(c.samples)))
	for class, list := range c.samples {
		if len(list) == 0 {
			continue
		}
		if class >= classesShown {
			p.Text(fmt.Sprintf("The samples of %d more classes are left out.", len(c.samples)-class))
			break
		}
		of := class
		if len(c.info.Classes) > 0 {
			p.Text(c.info.Classes[class])
		} else {
			of = -1
		}
		var thumbs []report.Thumbnail
		for _, s := range list[:min(len(list), each)] {
			t, err := c.thumbnail(d, s.row, of)
			if err != nil {
				return err
			}
			thumbs = append(thumbs, t)
		}
		p.Thumbnails(thumbs...)
	}
	return nil
}

// thumbnail is a small picture of a row, with the boxes and outlines of a class (-1: of all) drawn and the mask laid over it.
func (c *collection) thumbnail(d *dataset.Dataset, row, class int) (report.Thumbnail, error) {
	pixels, err := d.Pixels(row, nil)
	if err != nil {
		return report.Thumbnail{}, err
	}
	defer d.Release() // a sheet shows a few of many images, which can be large
	h, w := c.info.Height, c.info.Width
	if k := max(h, w); k > thumbSide {
		h, w = max(1, h*thumbSide/k), max(1, w*thumbSide/k)
	}
	boxes, polygons, mask := d.Boxes(row), d.Polygons(row), d.Mask(row)
	t := report.Thumbnail{Height: h, Width: w, Channels: c.info.Channels, Note: path.Base(c.ids[row])}
	if len(boxes)+len(polygons) > 0 || mask != nil {
		t.Channels = 3
	}
	t.Pixels = picture.Pixels(picture.FromPixels(pixels, c.info.Target()), picture.Target{Height: h, Width: w, Channels: t.Channels}, nil)
	if mask != nil {
		overlay(t.Pixels, h, w, mask, c.info.Height, c.info.Width)
	}
	for _, b := range boxes {
		if class < 0 || int(b.Class) == class {
			rectangle(t.Pixels, h, w, b, float32(w)/float32(c.info.Width), float32(h)/float32(c.info.Height))
		}
	}
	for _, p := range polygons {
		if class < 0 || int(p.Class) == class {
			outline(t.Pixels, h, w, p, float32(w)/float32(c.info.Width), float32(h)/float32(c.info.Height))
		}
	}
	return t, nil
}

var (
	boxColour  = [3]byte{255, 214, 0}
	lineColour = [3]byte{0, 229, 255}
	maskColour = [3]int{255, 60, 60}
)

// overlay tints the pixels (h, w, 3) where the mask (mh, mw) marks something.
func overlay(pixels []byte, h, w int, mask []byte, mh, mw int) {
	for y := range h {
		for x := range w {
			v := mask[(2*y+1)*mh/(2*h)*mw+(2*x+1)*mw/(2*w)]
			if v == 0 || v == dataset.Ignore {
				continue
			}
			for c := range 3 {
				i := 3*(y*w+x) + c
				pixels[i] = byte((int(pixels[i]) + maskColour[c]) / 2)
			}
		}
	}
}

// rectangle draws a box into the pixels (h, w, 3).
func rectangle(pixels []byte, h, w int, b dataset.Box, sx, sy float32) {
	x0, y0 := int(b.X0*sx), int(b.Y0*sy)
	x1, y1 := min(w-1, int(b.X1*sx)), min(h-1, int(b.Y1*sy))
	set := func(x, y int) { copy(pixels[3*(y*w+x):], boxColour[:]) }
	for x := x0; x <= x1; x++ {
		set(x, y0)
		set(x, y1)
	}
	for y := y0; y <= y1; y++ {
		set(x0, y)
		set(x1, y)
	}
}

// outline draws the rings of a polygon into the pixels (h, w, 3); what lies outside is not seen.
func outline(pixels []byte, h, w int, p dataset.Polygon, sx, sy float32) {
	for _, ring := range p.Rings {
		for i := 0; i+1 < len(ring); i += 2 {
			next := (i + 2) % len(ring)
			x0, y0, x1, y1 := ring[i]*sx, ring[i+1]*sy, ring[next]*sx, ring[next+1]*sy
			steps := int(min(max(x1-x0, x0-x1, y1-y0, y0-y1), float32(4*(h+w)))) + 1
			for k := range steps + 1 {
				f := float32(k) / float32(steps)
				x, y := int(math.Floor(float64(x0+f*(x1-x0)))), int(math.Floor(float64(y0+f*(y1-y0))))
				// An outline along the right or the lower edge lies on the last pixel.
				if x, y = x-b2i(x == w), y-b2i(y == h); x >= 0 && y >= 0 && x < w && y < h {
					copy(pixels[3*(y*w+x):], lineColour[:])
				}
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
