package report

import (
	"fmt"
	"html/template"
	"image"
	"image/color"
	"math"
	"slices"
	"strconv"
)

// Matrix is a confusion matrix: Counts[t][p] samples of class t were taken for class p.
type Matrix struct {
	Title   string
	Classes []string
	Counts  [][]int
}

const (
	matrixNumbers = 20 // the largest number of classes whose cells hold their counts
	matrixDrawn   = 60 // the largest number of classes drawn cell by cell; more become a picture of one pixel a cell
	labelRunes    = 24 // longer class names are shortened in the middle
)

type matrixCell struct {
	X, Y, Opacity, Title, Text string
	TextX, TextY               string
	Wrong                      bool
	Strength                   string // "", medium or strong, for a text colour that can be read on it
}

type matrixLabel struct{ At, Text, Full string }

type matrixView struct {
	Title                        string
	Width, Height, Cell          string // pixels
	Left, Top, Side              string // of the cells' square
	LabelX, LabelY, AxisX, AxisY string
	Rows, Columns                []matrixLabel
	Cells                        []matrixCell
	Picture                      template.URL
	Numbers                      bool
}

// Matrix adds a confusion matrix as a picture. Colour is the share of the row: one hue for the diagonal, another for
// mistakes, whose strength grows with the square root so that rare mistakes are still seen.
func (p *Page) Matrix(m Matrix) {
	n := len(m.Classes)
	if n == 0 || len(m.Counts) != n {
		p.fail(fmt.Errorf("matrix %q: %d rows for %d classes", m.Title, len(m.Counts), n))
		return
	}
	for i, row := range m.Counts {
		if len(row) != n {
			p.fail(fmt.Errorf("matrix %q: row %d has %d cells for %d classes", m.Title, i, len(row), n))
			return
		}
	}
	v, err := m.view()
	if err != nil {
		p.fail(fmt.Errorf("matrix %q: %w", m.Title, err))
		return
	}
	p.add("matrix", v)
}

func (m Matrix) view() (matrixView, error) {
	n := len(m.Classes)
	cell := 44.0
	switch {
	case n > matrixDrawn:
		cell = max(1, math.Floor(640/float64(n)))
	case n > matrixNumbers:
		cell = 14
	case n > 10:
		cell = 32
	}
	if n <= matrixNumbers {
		cell = max(cell, 7*float64(m.digits())+10)
	}
	step := 1 // every step-th label is written
	for cell*float64(step) < 13 {
		step++
	}
	left := 0.0
	for _, c := range m.Classes {
		left = max(left, textWidth(shorten(c)))
	}
	top, side := left+12, cell*float64(n)
	left += 34 // the axis name stands left of the labels
	top += 22
	v := matrixView{Title: m.Title, Numbers: n <= matrixNumbers, Cell: decimal(cell - min(1, cell/8)), Side: decimal(side),
		Left: decimal(left), Top: decimal(top), LabelX: decimal(left - 8), LabelY: decimal(top - 8),
		Width: decimal(max(left+side, left+160) + 12), Height: decimal(top + side + 4), AxisX: decimal(left + side/2), AxisY: decimal(top + side/2)}
	for i := 0; i < n; i += step {
		at := (float64(i) + 0.5) * cell
		v.Rows = append(v.Rows, matrixLabel{decimal(top + at + 4), shorten(m.Classes[i]), m.Classes[i]})
		v.Columns = append(v.Columns, matrixLabel{decimal(left + at + 4), shorten(m.Classes[i]), m.Classes[i]})
	}
	if n > matrixDrawn {
		b, err := m.picture()
		v.Picture = pngURI(b)
		return v, err
	}
	v.Cells = m.cells(left, top, cell)
	return v, nil
}

// digits returns the length of the largest count.
func (m Matrix) digits() int {
	largest := 0
	for _, row := range m.Counts {
		largest = max(largest, slices.Max(row))
	}
	return len(strconv.Itoa(largest))
}

func (m Matrix) cells(left, top, cell float64) []matrixCell {
	var cells []matrixCell
	for t, row := range m.Counts {
		sum := rowSum(row)
		for p, count := range row {
			if count == 0 {
				continue
			}
			share := float64(count) / float64(sum)
			opacity := m.opacity(t, p, share)
			x, y := left+float64(p)*cell, top+float64(t)*cell
			cells = append(cells, matrixCell{X: decimal(x), Y: decimal(y), Opacity: decimal(opacity), Wrong: t != p, Strength: strength(opacity),
				TextX: decimal(x + cell/2), TextY: decimal(y + cell/2 + 4), Text: strconv.Itoa(count),
				Title: fmt.Sprintf("%s taken for %s: %d (%s)", m.Classes[t], m.Classes[p], count, Percent(share))})
		}
	}
	return cells
}

// opacity is the strength of a cell's colour, 0.06 to 1.
func (m Matrix) opacity(t, p int, share float64) float64 {
	if t == p {
		return 0.06 + 0.94*share
	}
	return 0.06 + 0.94*math.Sqrt(share)
}

// strength sorts opacities by the text colour that they need: a strong cell takes the colour of the paper, a medium one
// does in the dark style only.
func strength(opacity float64) string {
	switch {
	case opacity >= 0.85:
		return "strong"
	case opacity >= 0.62:
		return "medium"
	}
	return ""
}

// picture draws one pixel a cell, transparent where there is nothing. (n, n)
func (m Matrix) picture() ([]byte, error) {
	n := len(m.Classes)
	img := image.NewNRGBA(image.Rect(0, 0, n, n))
	for t, row := range m.Counts {
		sum := rowSum(row)
		for p, count := range row {
			if count == 0 {
				continue
			}
			// Tones between those of the light and the dark style, since a picture cannot follow them.
			c := color.NRGBA{R: 0x45, G: 0x85, B: 0xca}
			if t != p {
				c = color.NRGBA{R: 0xe0, G: 0x60, B: 0x3e}
			}
			c.A = uint8(255*m.opacity(t, p, float64(count)/float64(sum)) + 0.5)
			img.SetNRGBA(p, t, c)
		}
	}
	return compressPNG(img)
}

func rowSum(row []int) int {
	sum := 0
	for _, c := range row {
		sum += c
	}
	return sum
}

// shorten cuts a long name in the middle, where names of one family differ least.
func shorten(name string) string {
	r := []rune(name)
	if len(r) <= labelRunes {
		return name
	}
	return string(r[:labelRunes/2]) + "…" + string(r[len(r)-labelRunes/2+1:])
}

// textWidth estimates the width of a label in pixels at the style sheet's 12 px: generous, since fonts differ.
func textWidth(s string) float64 {
	w := 0.0
	for _, r := range s {
		if r >= 0x1100 {
			w += 13
		} else {
			w += 7
		}
	}
	return w
}
