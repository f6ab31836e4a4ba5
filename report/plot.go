package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// LinePlot is one or more series over a common horizontal axis.
type LinePlot struct {
	Title  string
	X, Y   Axis
	Series []Series
	// Marks are vertical lines with a name, such as the best epoch.
	Marks []Mark
	// NoLast keeps the last values out of the key, where they mean nothing; NoDots draws the lines alone.
	NoLast, NoDots bool
}

// Axis describes how numbers of one direction are shown.
type Axis struct {
	Name    string
	Percent bool // values are shares, shown as percentages
	Log     bool // logarithmic; values must be above 0, others are left out
	Zero    bool // the axis includes 0
}

// Series is a line. X may be nil: then the points lie at 1, 2, 3, … (epochs). Points that are not finite leave gaps.
type Series struct {
	Name string
	X, Y []float64
}

// Mark is a vertical line at X.
type Mark struct {
	X    float64
	Name string
}

// plotDots is the largest number of points of a series that get a dot and a tooltip each.
const plotDots = 60

type plotTick struct{ At, Text string } // At in per cent from the left or from the top

type plotLine struct {
	Name, Path, Last string
	Points           string // a path of dots without names
	Color            int    // 1 to seriesColors, as in the style sheet
	Dashed           bool   // the colours have been used once already
	Dots             []plotDot
}

type plotDot struct{ X, Y, Text string }

const seriesColors = 8

// Lines adds a line plot, followed by its numbers in a folded table.
func (p *Page) Lines(l LinePlot) {
	p.Plots(l)
}

// Plots adds line plots side by side where the page is wide enough, such as the curves of one training, followed by
// the numbers of each in a folded table.
func (p *Page) Plots(plots ...LinePlot) {
	if len(plots) > 1 {
		p.add("open", "plots")
	}
	for i := range plots {
		plots[i].Series = slices.Clone(plots[i].Series) // positions are filled in below
		p.plot(plots[i])
	}
	if len(plots) > 1 {
		p.add("close", nil)
	}
}

func (p *Page) plot(l LinePlot) {
	p.add("open", "plotted")
	defer p.add("close", nil)
	for i := range l.Series {
		s := &l.Series[i]
		if s.X == nil {
			s.X = make([]float64, len(s.Y))
			for j := range s.X {
				s.X[j] = float64(j + 1)
			}
		}
		if len(s.X) != len(s.Y) {
			p.fail(fmt.Errorf("plot %q, series %q: %d positions for %d values", l.Title, s.Name, len(s.X), len(s.Y)))
			return
		}
	}
	xs, ys := newScale(l.X), newScale(l.Y)
	for _, s := range l.Series {
		for j := range s.X {
			if xs.shows(s.X[j]) && ys.shows(s.Y[j]) {
				xs.include(s.X[j])
				ys.include(s.Y[j])
			}
		}
	}
	xs.finish(false)
	ys.finish(true)
	p.add("lines", map[string]any{
		"Title": l.Title, "X": l.X.Name, "Y": l.Y.Name, "XTicks": xs.ticks(6, false), "YTicks": ys.ticks(6, true),
		"Lines": plotLines(l, xs, ys), "Marks": plotMarks(l.Marks, xs), "Key": len(l.Series) > 1,
	})
	p.plotTable(l, xs, ys)
}

func plotLines(l LinePlot, xs, ys *scale) []plotLine {
	var lines []plotLine
	for i, s := range l.Series {
		line := plotLine{Name: s.Name, Color: i%seriesColors + 1, Dashed: i >= seriesColors}
		var path strings.Builder
		pen := "M"
		for j := range s.X {
			if !xs.shows(s.X[j]) || !ys.shows(s.Y[j]) {
				pen = "M"
				continue
			}
			x, y := decimal(xs.at(s.X[j])), decimal(100-ys.at(s.Y[j]))
			fmt.Fprintf(&path, "%s%s %s", pen, x, y)
			pen = "L"
			if !l.NoLast {
				line.Last = ys.text(s.Y[j])
			}
			if len(s.X) <= plotDots && !l.NoDots {
				line.Dots = append(line.Dots, plotDot{x, y, fmt.Sprintf("%s: %s at %s", s.Name, ys.text(s.Y[j]), xs.text(s.X[j]))})
			}
		}
		line.Path = path.String()
		lines = append(lines, line)
	}
	return lines
}

func plotMarks(marks []Mark, xs *scale) []plotTick {
	var out []plotTick
	for _, m := range marks {
		if xs.shows(m.X) && m.X >= xs.low && m.X <= xs.high {
			out = append(out, plotTick{decimal(xs.at(m.X)), m.Name})
		}
	}
	return out
}

// plotTableRows is the largest number of points whose values are repeated as a table.
const plotTableRows = 400

// plotTable adds the numbers of a plot whose series share their positions.
func (p *Page) plotTable(l LinePlot, xs, ys *scale) {
	if len(l.Series) == 0 || len(l.Series[0].X) == 0 || len(l.Series[0].X) > plotTableRows {
		return
	}
	t := Table{Title: "Numbers: " + l.Title, Folded: true, Columns: []Column{{Name: l.X.Name, Number: true}}}
	for _, s := range l.Series {
		if len(s.X) != len(l.Series[0].X) {
			return
		}
		t.Columns = append(t.Columns, Column{Name: s.Name, Number: true})
	}
	for j, x := range l.Series[0].X {
		row := []string{xs.text(x)}
		for _, s := range l.Series {
			if s.X[j] != x {
				return
			}
			row = append(row, ys.text(s.Y[j]))
		}
		t.Rows = append(t.Rows, row)
	}
	p.Table(t)
}

// scale maps values to 0–100 along an axis.
type scale struct {
	Axis
	low, high float64
	whole     bool // every value is a whole number
}

func newScale(a Axis) *scale {
	return &scale{Axis: a, low: math.Inf(1), high: math.Inf(-1), whole: true}
}

func (s *scale) shows(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!s.Log || v > 0)
}

func (s *scale) include(v float64) {
	s.low, s.high = min(s.low, v), max(s.high, v)
	s.whole = s.whole && v == math.Trunc(v)
}

// finish settles the ends; round extends them to ticks.
func (s *scale) finish(round bool) {
	if s.low > s.high {
		s.low, s.high = 0, 1
		if s.Log {
			s.low = 0.1
		}
	}
	if s.Zero && !s.Log {
		s.low, s.high = min(s.low, 0), max(s.high, 0)
	}
	if s.low == s.high {
		pad := max(math.Abs(s.low)*0.1, 1e-9)
		if s.whole && !s.Log {
			pad = 1
		}
		s.low, s.high = s.low-pad, s.high+pad
	}
	if round && !s.Log {
		step := niceStep((s.high-s.low)/5, s.whole)
		s.low, s.high = math.Floor(s.low/step+1e-9)*step, math.Ceil(s.high/step-1e-9)*step
	}
}

func (s *scale) at(v float64) float64 {
	if s.Log {
		return 100 * (math.Log(v) - math.Log(s.low)) / (math.Log(s.high) - math.Log(s.low))
	}
	return 100 * (v - s.low) / (s.high - s.low)
}

// ticks returns at most about n positions with their texts; fromTop counts from the other end.
func (s *scale) ticks(n int, fromTop bool) []plotTick {
	var out []plotTick
	add := func(v float64, text string) {
		at := s.at(v)
		if fromTop {
			at = 100 - at
		}
		out = append(out, plotTick{decimal(at), text})
	}
	if s.Log {
		for _, v := range logTicks(s.low, s.high, n) {
			add(v, s.tickText(v))
		}
		return out
	}
	step := niceStep((s.high-s.low)/float64(n-1), s.whole)
	decimals := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	for i := math.Ceil(s.low/step - 1e-9); i*step <= s.high+step*1e-9; i++ {
		if s.Percent {
			add(i*step, Number(i*step*100, max(0, decimals-2))+"\u00a0%")
		} else {
			add(i*step, Number(i*step, decimals))
		}
	}
	return out
}

// logTicks returns about n positions between low and high: powers of ten, with 3 or with 2 and 5 times those where they are too few; else
// the ends.
func logTicks(low, high float64, n int) []float64 {
	first, last := int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high)))
	for _, factors := range [][]float64{{1}, {1, 3}, {1, 2, 5}} {
		var out []float64
		for e := first; e <= last; e += (last-first)/n + 1 {
			for _, f := range factors {
				if v := f * math.Pow(10, float64(e)); v >= low*(1-1e-9) && v <= high*(1+1e-9) {
					out = append(out, v)
				}
			}
		}
		if len(out) >= 3 {
			return out
		}
	}
	return []float64{low, high}
}

// tickText writes a tick of a logarithmic axis: large numbers by thousands (k, M, G).
func (s *scale) tickText(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.size && v < u.size*1000 && !s.Percent {
			return fmt.Sprintf("%.3g\u00a0%s", v/u.size, u.name)
		}
	}
	if s.Percent {
		return s.text(v)
	}
	return fmt.Sprintf("%.3g", v)
}

// niceStep returns the smallest of 1, 2, 5 times a power of ten that is at least rough, and at least 1 when whole.
func niceStep(rough float64, whole bool) float64 {
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	step := 10 * power
	for _, m := range []float64{1, 2, 5} {
		if m*power >= rough*(1-1e-9) {
			step = m * power
			break
		}
	}
	if whole {
		return max(1, step)
	}
	return step
}

// text writes a value for people.
func (s *scale) text(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case s.Percent:
		return Percent(v)
	case s.whole && math.Abs(v) < 1e9:
		return Number(v, 0)
	case !s.Log && math.Abs(v) >= 0.01 && math.Abs(v) < 1e6:
		return Number(v, 4)
	}
	return strings.Replace(fmt.Sprintf("%.3g", v), "-", "−", 1)
}
