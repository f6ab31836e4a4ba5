package report

import (
	"fmt"
	"strings"
)

// ScatterPlot is points in a plane, coloured by group: the candidates of a search, an embedding by class.
type ScatterPlot struct {
	Title  string
	X, Y   Axis
	Groups []PointGroup
	// NoTicks leaves out the numbers of the axes, for planes whose directions mean nothing.
	NoTicks bool
}

// PointGroup is points of one colour. Points that are not finite are left out.
type PointGroup struct {
	Name   string
	Points []Point
	// Joined draws a line through the points, in their order, such as a Pareto front.
	Joined bool
}

// Point is one point. Its name, if it has one, is shown when the reader points at it.
type Point struct {
	X, Y float64
	Name string
}

// groupColors is how many groups have a colour of their own.
const groupColors = 10

// scatterNames is the largest number of points of a plot that get a tooltip each.
const scatterNames = 1000

// Scatter adds a scatter plot.
func (p *Page) Scatter(s ScatterPlot) {
	xs, ys := newScale(s.X), newScale(s.Y)
	total := 0
	for _, g := range s.Groups {
		for _, q := range g.Points {
			if xs.shows(q.X) && ys.shows(q.Y) {
				xs.include(q.X)
				ys.include(q.Y)
				total++
			}
		}
	}
	xs.finish(true)
	ys.finish(true)
	var lines []plotLine
	for i, g := range s.Groups {
		lines = append(lines, scatterGroup(g, i, xs, ys, total <= scatterNames))
	}
	data := map[string]any{"Title": s.Title, "X": s.X.Name, "Y": s.Y.Name, "Lines": lines, "Key": len(s.Groups) > 1}
	if !s.NoTicks {
		data["XTicks"], data["YTicks"] = xs.ticks(6, false), ys.ticks(6, true)
	}
	p.add("lines", data)
}

// scatterGroup draws one group: its dots are one path, or one each where they have names to show.
func scatterGroup(g PointGroup, i int, xs, ys *scale, names bool) plotLine {
	line := plotLine{Name: g.Name, Color: i%groupColors + 1}
	var joined, dots strings.Builder
	pen := "M"
	for _, q := range g.Points {
		if !xs.shows(q.X) || !ys.shows(q.Y) {
			continue
		}
		x, y := decimal(xs.at(q.X)), decimal(100-ys.at(q.Y))
		fmt.Fprintf(&joined, "%s%s %s", pen, x, y)
		pen = "L"
		if !names || q.Name == "" {
			fmt.Fprintf(&dots, "M%s %sh0", x, y)
			continue
		}
		line.Dots = append(line.Dots, plotDot{x, y, fmt.Sprintf("%s: %s at %s", q.Name, ys.text(q.Y), xs.text(q.X))})
	}
	line.Points = dots.String()
	if g.Joined {
		line.Path = joined.String()
	}
	return line
}
