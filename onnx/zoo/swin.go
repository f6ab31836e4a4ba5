package zoo

import (
	"fmt"
	"math"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Swin transformers of Liu et al. 2021, "Hierarchical Vision Transformer using Shifted Windows".
var swinTransformers = []architecture{
	{name: "swin_t", minimum: 16, parameters: 28_288_354, classes: 1000, size: 224, build: swin(96, []int{2, 2, 6, 2}, []int{3, 6, 12, 24})},
}

const (
	swinWindow  = 7 // tokens on a side
	swinEpsilon = 1e-5
)

func swin(width int, depths, heads []int) func(b *builder) {
	return func(b *builder) {
		x := b.patches("features.0.0", b.normalised(), width, uniformIn, uniformIn)
		grid := [2]int{b.o.patched(b.o.Height), b.o.patched(b.o.Width)}
		x = b.layerNorm("features.0.2", b.channelsLast("features.0.1", x), width, swinEpsilon)
		for stage, depth := range depths {
			if stage > 0 {
				x, grid = b.merge(fmt.Sprintf("features.%d", 2*stage), x, grid, width)
				width *= 2
			}
			for block := range depth {
				x = b.swinBlock(fmt.Sprintf("features.%d.%d", 2*stage+1, block), x, grid, width, heads[stage], block%2 == 1)
			}
		}
		x = b.channelsFirst("permute", b.layerNorm("norm", x, width, swinEpsilon))
		b.linear("head", onnx.OutputName, b.average("avgpool", x), width, len(b.o.Classes), normal(0.02), zero)
	}
}

// patched is how many patches a side of that many pixels has, see patches.
func (o Options) patched(side int) int {
	if o.small() {
		return side / 2
	}
	return side / 4
}

// merge makes one token of 2×2 and doubles the width. Odd sides are filled up with zeroes.
func (b *builder) merge(name, x string, grid [2]int, width int) (string, [2]int) {
	x = b.fillUp(name+".pad", x, grid[0]%2, grid[1]%2)
	half := [2]int{(grid[0] + 1) / 2, (grid[1] + 1) / 2}
	x = b.Node("Reshape", name+".pairs", []string{x, b.Ints(name+".pairs.shape", -1, half[0], 2, half[1], 2, width)})
	x = b.Node("Transpose", name+".corners", []string{x}, onnx.IntsOf("perm", 0, 1, 3, 4, 2, 5))
	x = b.Node("Reshape", name+".joined", []string{x, b.Ints(name+".joined.shape", -1, half[0], half[1], 4*width)})
	return b.project(name+".reduction", b.layerNorm(name+".norm", x, 4*width, swinEpsilon), 4*width, 2*width, normal(0.02), nil), half
}

// fillUp adds rows below and columns to the right of (N, H, W, C).
func (b *builder) fillUp(name, x string, rows, columns int) string {
	if rows == 0 && columns == 0 {
		return x
	}
	return b.Node("Pad", name, []string{x, b.Ints(name+".amounts", 0, 0, 0, 0, 0, rows, columns, 0)})
}

// swinBlock is attention within windows and a perceptron, each normalised before and added to what came in.
func (b *builder) swinBlock(name, x string, grid [2]int, width, heads int, shifted bool) string {
	y := b.windowAttention(name+".attn", b.layerNorm(name+".norm1", x, width, swinEpsilon), grid, width, heads, shifted)
	x = b.Node("Add", name+".add1", []string{x, y})
	y = b.perceptron(name+".mlp.0", name+".mlp.3", b.layerNorm(name+".norm2", x, width, swinEpsilon), width, 4*width, 0)
	return b.Node("Add", name+".add2", []string{x, y})
}

// windows is how a grid of tokens is cut: filled up to whole windows, and shifted along the axes that have more than one.
type windows struct {
	rows, columns int // of windows
	shift         [2]int
	fill          [2]int
}

func cutWindows(grid [2]int, shifted bool) windows {
	count := func(n int) int { return (n + swinWindow - 1) / swinWindow }
	w := windows{rows: count(grid[0]), columns: count(grid[1])}
	w.fill = [2]int{w.rows*swinWindow - grid[0], w.columns*swinWindow - grid[1]}
	if shifted && w.rows > 1 {
		w.shift[0] = swinWindow / 2
	}
	if shifted && w.columns > 1 {
		w.shift[1] = swinWindow / 2
	}
	return w
}

// windowAttention is attention between the tokens of each window of (N, H, W, C).
func (b *builder) windowAttention(name, x string, grid [2]int, width, heads int, shifted bool) string {
	const tokens = swinWindow * swinWindow
	w := cutWindows(grid, shifted)
	x = b.fillUp(name+".pad", x, w.fill[0], w.fill[1])
	x = b.roll(name+".shift", x, w.shift)
	x = b.Node("Reshape", name+".cut", []string{x, b.Ints(name+".cut.shape", -1, w.rows, swinWindow, w.columns, swinWindow, width)})
	x = b.Node("Transpose", name+".gather", []string{x}, onnx.IntsOf("perm", 0, 1, 3, 2, 4, 5))
	x = b.Node("Reshape", name+".windows", []string{x, b.Ints(name+".windows.shape", -1, tokens, width)})
	x = b.attention(name, x, tokens, width, heads, func(scores string) string {
		scores = b.Node("Add", name+".biased", []string{scores, b.relativeBias(name, heads)})
		return b.mask(name, scores, w, heads)
	})
	x = b.Node("Reshape", name+".uncut", []string{x, b.Ints(name+".uncut.shape", -1, w.rows, w.columns, swinWindow, swinWindow, width)})
	x = b.Node("Transpose", name+".scatter", []string{x}, onnx.IntsOf("perm", 0, 1, 3, 2, 4, 5))
	x = b.Node("Reshape", name+".grid", []string{x, b.Ints(name+".grid.shape", -1, w.rows*swinWindow, w.columns*swinWindow, width)})
	x = b.roll(name+".unshift", x, [2]int{-w.shift[0], -w.shift[1]})
	if w.fill == [2]int{} {
		return x
	}
	return b.Node("Slice", name+".crop", []string{x, b.Ints(name+".crop.starts", 0, 0), b.Ints(name+".crop.ends", grid[0], grid[1]), b.Ints(name+".crop.axes", 1, 2)})
}

// roll moves rows up and columns left, around the border.
func (b *builder) roll(name, x string, by [2]int) string {
	for i, s := range by {
		if s == 0 {
			continue
		}
		part := fmt.Sprintf("%s.%d", name, i+1)
		axis, at := b.Ints(part+".axis", i+1), b.Ints(part+".at", s)
		tail := b.Node("Slice", part+".tail", []string{x, at, b.Ints(part+".end", math.MaxInt32), axis})
		head := b.Node("Slice", part+".head", []string{x, b.Ints(part+".start", 0), at, axis})
		x = b.Node("Concat", part, []string{tail, head}, onnx.IntOf("axis", i+1))
	}
	return x
}

// relativeBias looks up a learned number for each head and difference of positions: (heads, tokens, tokens).
func (b *builder) relativeBias(name string, heads int) string {
	const span, tokens = 2*swinWindow - 1, swinWindow * swinWindow
	table := b.weight(name+".relative_position_bias_table", []int{span * span, heads}, normal(0.02), 0, 0)
	var index []int
	for p := range tokens {
		for q := range tokens {
			dy, dx := p/swinWindow-q/swinWindow, p%swinWindow-q%swinWindow
			index = append(index, (dy+swinWindow-1)*span+dx+swinWindow-1)
		}
	}
	x := b.Node("Gather", name+".bias.each", []string{table, b.Ints(name+".relative_position_index", index...)}, onnx.IntOf("axis", 0))
	x = b.Node("Reshape", name+".bias.pairs", []string{x, b.Ints(name+".bias.shape", tokens, tokens, heads)})
	return b.Node("Transpose", name+".bias", []string{x}, onnx.IntsOf("perm", 2, 0, 1))
}

// mask forbids attention between tokens that only the shift brought into one window.
func (b *builder) mask(name, scores string, w windows, heads int) string {
	if w.shift == [2]int{} {
		return scores
	}
	const tokens = swinWindow * swinWindow
	region := func(at, count, shift int) int { // of a row or column after the shift
		switch size := count * swinWindow; {
		case at < size-swinWindow:
			return 0
		case at < size-shift:
			return 1
		}
		return 2
	}
	data := make([]float32, 0, w.rows*w.columns*tokens*tokens)
	for row := range w.rows {
		for column := range w.columns {
			var of [tokens]int
			for p := range of {
				of[p] = 3*region(row*swinWindow+p/swinWindow, w.rows, w.shift[0]) + region(column*swinWindow+p%swinWindow, w.columns, w.shift[1])
			}
			for p := range of {
				for q := range of {
					v := float32(0)
					if of[p] != of[q] {
						v = -100
					}
					data = append(data, v)
				}
			}
		}
	}
	all := w.rows * w.columns
	x := b.Node("Reshape", name+".by_image", []string{scores, b.Ints(name+".by_image.shape", -1, all, heads, tokens, tokens)})
	x = b.Node("Add", name+".masked", []string{x, b.Tensor(name+".mask", []int{all, 1, tokens, tokens}, data)})
	return b.Node("Reshape", name+".by_window", []string{x, b.Ints(name+".by_window.shape", -1, heads, tokens, tokens)})
}
