package graph

import (
	"fmt"
	"html"
	"io"
	"sort"
	"strings"
	"unicode/utf8"
)

// Sizes of the drawing in pixels.
const (
	boxHeight  = 40
	boxGap     = 18
	layerGap   = 90
	margin     = 16
	letter     = 7.4 // width of a letter of 12 px, generous
	boxPadding = 24
)

// box is a node with its place.
type box struct {
	Node
	layer      int
	x, y, w, h float64
}

// SVG draws the graph in layers from left to right: each node right of everything it takes from, its place in the layer
// near the middle of its neighbours (Sugiyama, Tagawa, Toda 1981, with barycentres in place of crossing counts).
func (g Graph) SVG(w io.Writer) error {
	boxes, layers := g.layered()
	width, height := place(layers)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" font-family="system-ui, sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(g.Pipeline))
	b.WriteString(`<style>.b{fill:#fff;stroke:#57606a}.s{stroke-dasharray:3 3}.r{stroke:#0969da;stroke-width:2}text{fill:#1f2328}.e{fill:none;stroke:#8c959f}.v{stroke-dasharray:4 3}.l{font-size:10px;fill:#57606a}
@media(prefers-color-scheme:dark){.b{fill:#161b22;stroke:#8b949e}.r{stroke:#58a6ff}text{fill:#e6edf3}.l{fill:#8b949e}}</style>
<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#8c959f"/></marker></defs>
`)
	for _, e := range g.Edges {
		drawEdge(&b, e, boxes[e.From], boxes[e.To])
	}
	for _, n := range g.Nodes {
		boxes[n.Address].draw(&b)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (g Graph) layered() (map[string]*box, [][]*box) {
	boxes := map[string]*box{}
	for _, n := range g.Nodes {
		boxes[n.Address] = &box{Node: n, w: float64(utf8.RuneCountInString(n.Address))*letter + boxPadding, h: boxHeight}
	}
	deepest := 0
	for range g.Nodes { // the longest path has at most that many steps; stops as soon as nothing moves
		moved := false
		for _, e := range g.Edges {
			if from, to := boxes[e.From], boxes[e.To]; to.layer <= from.layer {
				to.layer = from.layer + 1
				deepest = max(deepest, to.layer)
				moved = true
			}
		}
		if !moved {
			break
		}
	}
	layers := make([][]*box, deepest+1)
	for _, n := range g.Nodes {
		bx := boxes[n.Address]
		layers[bx.layer] = append(layers[bx.layer], bx)
	}
	g.untangle(boxes, layers)
	return boxes, layers
}

// untangle orders every layer by the mean place of the neighbours, forth and back a few times.
func (g Graph) untangle(boxes map[string]*box, layers [][]*box) {
	for range 4 {
		for _, forward := range []bool{true, false} {
			place(layers)
			sum, count := map[*box]float64{}, map[*box]float64{}
			for _, e := range g.Edges {
				near, far := boxes[e.To], boxes[e.From]
				if !forward {
					near, far = far, near
				}
				sum[near] += far.y + far.h/2
				count[near]++
			}
			for _, layer := range layers {
				sort.SliceStable(layer, func(i, j int) bool {
					return centre(layer[i], sum, count) < centre(layer[j], sum, count)
				})
			}
		}
	}
}

func centre(b *box, sum, count map[*box]float64) float64 {
	if count[b] == 0 {
		return b.y + b.h/2
	}
	return sum[b] / count[b]
}

// place gives every box its coordinates, layers centred, and returns the size of the drawing.
func place(layers [][]*box) (width, height float64) {
	tallest := 0
	for _, layer := range layers {
		tallest = max(tallest, len(layer))
	}
	height = 2*margin + float64(tallest)*(boxHeight+boxGap) - boxGap
	x := float64(margin)
	for _, layer := range layers {
		widest := 0.0
		y := (height - float64(len(layer))*(boxHeight+boxGap) + boxGap) / 2
		for _, b := range layer {
			b.x, b.y = x, y
			y += boxHeight + boxGap
			widest = max(widest, b.w)
		}
		x += widest + layerGap
	}
	return x - layerGap + margin, max(height, 2*margin)
}

func (bx *box) draw(b *strings.Builder) {
	class, radius := "b", 8
	switch {
	case bx.Kind == "":
		class, radius = "b s", 0
	case bx.Action != "" && bx.Action != "reuse":
		class = "b r"
	}
	fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%d"/>`, class, bx.x, bx.y, bx.w, bx.h, radius)
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", bx.x+bx.w/2, bx.y+bx.h/2+4, html.EscapeString(bx.Address))
}

func drawEdge(b *strings.Builder, e Edge, from, to *box) {
	x1, y1, x2, y2 := from.x+from.w, from.y+from.h/2, to.x, to.y+to.h/2
	class, label := "e", e.Output
	if e.Why != "data" {
		class, label = "e v", e.Why
	}
	bend := (x2 - x1) / 2
	fmt.Fprintf(b, `<path class="%s" d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f" marker-end="url(#a)"/>`, class, x1, y1, x1+bend, y1, x2-bend, y2, x2, y2)
	if label != "" && to.layer == from.layer+1 {
		fmt.Fprintf(b, `<text class="l" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (x1+x2)/2, (y1+y2)/2-4, html.EscapeString(label))
	}
	b.WriteByte('\n')
}
