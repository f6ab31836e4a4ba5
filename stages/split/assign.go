package split

import (
	"fmt"
	"math"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// output is one output and which images it takes.
type output struct {
	name  string
	takes []bool
}

// leftOut names the part of the images that go nowhere.
const leftOut = ""

// assign decides which images go where, and reports how well that follows the shares.
func (p *split) assign(job *stages.Job, e *examined) ([]output, error) {
	parts, problem := p.parts()
	if problem != nil {
		return nil, *problem
	}
	var of []int
	var err error
	d := &division{}
	switch p.way() {
	case "lists":
		of, err = p.byList(e, parts)
	case "source_parts":
		of, err = p.bySource(e, parts)
	default:
		if d, err = p.divide(job, e, parts); err == nil {
			of = d.byItem(len(e.items))
		}
	}
	if err != nil {
		return nil, err
	}
	p.reportBalance(job, d, e)
	leaked, first := e.leaks(of)
	if leaked > 0 {
		job.Logf("%d images have an identical one in another part, such as %s", leaked, strings.Join(first, ", "))
	}
	job.Value("leaked", leaked)
	job.Value("identical", repeated(e.items))
	if p.folds > 0 {
		return p.foldOutputs(of), nil
	}
	var out []output
	for i, q := range parts {
		out = append(out, output{q.name, takes(of, func(at int) bool { return at == i })})
	}
	return out, nil
}

func takes(of []int, in func(part int) bool) []bool {
	out := make([]bool, len(of))
	for i, p := range of {
		out[i] = in(p)
	}
	return out
}

func foldName(i int, side string) string { return fmt.Sprintf("folds.%d.%s", i, side) }

// foldOutputs makes the outputs of every fold. Along time, part 0 is only trained on.
func (p *split) foldOutputs(of []int) []output {
	var out []output
	for i := range p.folds {
		train, validation := func(at int) bool { return at != i }, i
		if p.orderBy != "" {
			train, validation = func(at int) bool { return at <= i }, i+1
		}
		out = append(out, output{foldName(i, "train"), takes(of, train)},
			output{foldName(i, "validation"), takes(of, func(at int) bool { return at == validation })})
	}
	return out
}

// divide makes the division that shares, sizes or folds ask for.
func (p *split) divide(job *stages.Job, e *examined, parts []part) (*division, error) {
	items := e.items
	if p.duplicates == ignore {
		items = make([]item, len(e.items))
		for i, it := range e.items {
			it.content = artifact.Digest(fmt.Sprint(i)) // on its own, whatever it looks like
			items[i] = it
		}
	}
	units := newUnits(items, e.pairs, job.Seed)
	switch {
	case p.folds > 0:
		n := p.folds
		if p.orderBy != "" {
			n++ // the first fold needs something to be trained on
		}
		for i := range n {
			parts = append(parts, part{fmt.Sprint(i), 1})
		}
	case p.sizes != nil:
		rest := float64(len(items))
		for _, q := range parts {
			rest -= q.share
		}
		if rest < 0 {
			return nil, stages.Problemf("sizes", "More images than there are", "The sizes add up to %v, but there are %d images.", float64(len(items))-rest, len(items))
		}
		if rest > 0 {
			parts = append(parts, part{leftOut, rest})
		}
	}
	n := 0
	if p.stratify && p.orderBy == "" {
		n = len(e.classes)
	}
	d := newDivision(units, parts, n)
	if p.orderBy != "" {
		d.inOrder()
		return d, nil
	}
	if problem := d.tooFew(e.classes); problem != nil {
		if len(units) == len(items)-repeated(items) && !e.several {
			return nil, *problem
		}
		job.Logf("Warning: %s", problem.Detail) // what belongs together, or has several classes, cannot always be mended
	}
	d.stratify(job.Seed)
	return d, nil
}

// tooFew finds a class that cannot be in every part that is to have some of it.
func (d *division) tooFew(classes []string) *stages.Problem {
	if d.whole == 0 {
		return nil
	}
	images, units := make([]int, d.whole), make([]int, d.whole)
	for i := range d.units {
		for _, c := range d.units[i].sizes {
			images[c.stratum] += c.n
			units[c.stratum]++
		}
	}
	parts := 0
	for _, q := range d.parts {
		if q.name != leftOut {
			parts++
		}
	}
	for c, n := range units {
		if n == 0 || n >= parts {
			continue
		}
		p := stages.Problemf("data", "Class with too few images", "Of the class %q there are %d images or groups that may part (%d images in all), but there are %d parts, and each needs at least one. Add images, merge or leave out the class, make fewer parts, or write stratify = false.", classes[c], n, images[c], parts)
		return &p
	}
	return nil
}

// reportBalance reports how exact the division is, in the log where it is not.
func (p *split) reportBalance(job *stages.Job, d *division, e *examined) {
	const shown = 20
	groups := 0
	for i := range d.units {
		if len(d.units[i].items) > 1 {
			groups++
		}
	}
	job.Value("groups", groups)
	farthest := d.farthest()
	deviation, at, stratum := d.deviation()
	job.Value("farthest", round(farthest))
	job.Value("deviation", round(deviation))
	lines := d.unexact(e.classes)
	if len(lines) == 0 {
		return
	}
	why := "images that belong together or have several classes do not allow exact shares"
	if p.orderBy != "" {
		why = "images of one time or one group stay together"
	}
	job.Logf("%s:", why)
	for i, line := range lines {
		if i == shown {
			job.Logf("and %d more", len(lines)-shown)
			break
		}
		job.Logf("%s", line)
	}
	if deviation > 0.05 {
		job.Logf("Warning: the share of %q in %s is %.1f points from its share in all", e.classes[stratum], d.parts[at].name, 100*deviation)
	}
}

// round leaves out what rounding errors make of a share.
func round(f float64) float64 { return math.Round(f*1e9) / 1e9 }

// byList follows the lists of ids.
func (p *split) byList(e *examined, parts []part) ([]int, error) {
	lists, problem := p.idLists()
	if problem != nil {
		return nil, *problem
	}
	at, of := map[string][]int{}, make([]int, len(e.items))
	for i, it := range e.items {
		at[it.id] = append(at[it.id], i)
		of[i] = -1
	}
	for p, q := range parts {
		var unknown []string
		for _, id := range lists[q.name] {
			if at[id] == nil {
				unknown = append(unknown, id)
			}
			for _, i := range at[id] {
				of[i] = p
			}
		}
		if len(unknown) > 0 {
			return nil, stages.Problemf("lists", "Unknown ids", "Of the ids listed for %s, %d are of no image, the first of them %q. The first image's id is %q.", q.name, len(unknown), unknown[0], e.items[0].id)
		}
	}
	return of, nil
}

// bySource follows the source's own division.
func (p *split) bySource(e *examined, parts []part) ([]int, error) {
	of := make([]int, len(e.items))
	counts := map[string]int{}
	for i, source := range e.source {
		of[i] = -1
		counts[source]++
		for at, q := range parts {
			if p.sourceParts[q.name] != source {
				continue
			}
			if of[i] >= 0 {
				return nil, stages.Problemf("source_parts", "Part named twice", "The outputs %s and %s both take the source's part %q.", parts[of[i]].name, q.name, source)
			}
			of[i] = at
		}
	}
	for _, q := range parts {
		if counts[p.sourceParts[q.name]] == 0 {
			return nil, stages.Problemf("source_parts", "Unknown part", "The source puts no image into the part %q. %s", p.sourceParts[q.name], partsText(counts))
		}
	}
	return of, nil
}
