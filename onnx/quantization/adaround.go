package quantization

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Gram gathers the second moments of what a layer's weights are multiplied with, Σ x·xᵀ, for each group of the layer. From them follows how much any
// rounding of the weights changes the layer's outputs.
type Gram struct {
	node   *protos.NodeProto
	dims   []int
	axis   int
	groups int
	k      int         // products for one output
	sums   [][]float64 // by group: (k, k), the upper half
	used   int
}

// maxProducts bounds k: a larger matrix would take too much memory, and its layer is rounded to the nearest.
const maxProducts = 4608

// samplesWanted is how many columns of a batch are used, spread over images and places.
const samplesWanted = 512

// NewGram gathers for a planned layer; nil for what has too many products.
func (p *Plan) NewGram(n *protos.NodeProto) *Gram {
	x := p.g.Index()
	axis, ok := layer(x, n)
	if !ok || n.OpType == "ConvTranspose" {
		return nil
	}
	dims, _, _ := x.Floats(n.Input[1])
	g := &Gram{node: n, dims: dims, axis: axis, groups: 1}
	if n.OpType == "Conv" {
		g.groups = max(1, onnx.Int(n, "group", 1))
		g.k = dims[1]
		for _, d := range dims[2:] {
			g.k *= d
		}
		if len(dims) != 4 || onnx.Text(n, "auto_pad", "NOTSET") != "NOTSET" {
			return nil
		}
	} else {
		g.k = dims[1-axis]
	}
	if g.k > maxProducts {
		return nil
	}
	g.sums = make([][]float64, g.groups)
	for i := range g.sums {
		g.sums[i] = make([]float64, g.k*g.k)
	}
	return g
}

// Add takes one batch of the layer's input.
func (g *Gram) Add(dims []int64, data []float32) {
	if g.node.OpType == "Conv" {
		g.addWindows(dims, data)
		return
	}
	rows := len(data) / g.k
	step := max(1, rows/samplesWanted)
	column := make([]float64, g.k)
	for r := 0; r < rows; r += step {
		for i := range column {
			column[i] = float64(data[r*g.k+i])
		}
		g.addColumn(0, column)
	}
}

func (g *Gram) addColumn(group int, column []float64) {
	sum := g.sums[group]
	for i, a := range column {
		if a == 0 {
			continue
		}
		row := sum[i*g.k : (i+1)*g.k]
		for j := i; j < g.k; j++ {
			row[j] += float64(a * column[j])
		}
	}
}

// addWindows takes windows of (N, C, H, W) at places spread evenly.
func (g *Gram) addWindows(dims []int64, data []float32) {
	n, c, h, w := int(dims[0]), int(dims[1]), int(dims[2]), int(dims[3])
	ints := func(name string, count, def int) []int {
		if list := onnx.Ints(g.node, name); len(list) == count {
			return list
		}
		list := make([]int, count)
		for i := range list {
			list[i] = def
		}
		return list
	}
	strides, dilations, pads := ints("strides", 2, 1), ints("dilations", 2, 1), ints("pads", 4, 0)
	kh, kw := g.dims[2], g.dims[3]
	oh := (h+pads[0]+pads[2]-dilations[0]*(kh-1)-1)/strides[0] + 1
	ow := (w+pads[1]+pads[3]-dilations[1]*(kw-1)-1)/strides[1] + 1
	total := n * oh * ow
	step := max(1, total/samplesWanted)
	if step > 1 && step%ow == 0 {
		step++ // not always the same column of the image
	}
	each := c / g.groups
	column := make([]float64, g.k)
	for at := 0; at < total; at += step {
		image, y, x := at/(oh*ow), at/ow%oh*strides[0]-pads[0], at%ow*strides[1]-pads[1]
		for group := range g.groups {
			i := 0
			for ch := group * each; ch < (group+1)*each; ch++ {
				for dy := range kh {
					for dx := range kw {
						column[i] = 0
						if yy, xx := y+dy*dilations[0], x+dx*dilations[1]; yy >= 0 && yy < h && xx >= 0 && xx < w {
							column[i] = float64(data[((image*c+ch)*h+yy)*w+xx])
						}
						i++
					}
				}
			}
			g.addColumn(group, column)
		}
	}
}

// Improve rounds each weight up or down so that the squared error of the layer's outputs is least: the objective of AdaRound (Nagel et al. 2020, "Up or Down? Adaptive
// Rounding for Post-Training Quantization", equation 13). It starts at the nearest codes and changes the weight that gains most, one after the other, until none
// gains; the paper's relaxation finds the same kind of minimum by gradient descent.
func (g *Gram) Improve(data []float32, w *Weights, levels float64) {
	for group := range g.sums {
		for i := range g.k {
			for j := range i {
				g.sums[group][i*g.k+j] = g.sums[group][j*g.k+i]
			}
		}
	}
	outputs := w.Dims[w.Axis]
	for o := range outputs {
		g.improveOutput(data, w, levels, o)
	}
}

// element is the index of product i of output o among the layer's weights.
func (g *Gram) element(w *Weights, o, i int) int {
	if w.Axis == 0 {
		return o*g.k + i
	}
	return i*w.Dims[1] + o
}

func (g *Gram) improveOutput(data []float32, w *Weights, levels float64, o int) {
	h := g.sums[o/(w.Dims[w.Axis]/g.groups)]
	k := g.k
	scale := w.Scales[w.channelOf(g.element(w, o, 0))]
	d, up := make([]float64, k), make([]float64, k) // error now, and what the other code would add
	for i := range k {
		e := g.element(w, o, i)
		exact := float64(data[e]) / scale
		code := float64(w.Codes[e])
		d[i] = (code - exact) * scale
		switch {
		case code >= exact && code > -levels:
			up[i] = -scale
		case code < levels:
			up[i] = scale
		}
	}
	gradient := make([]float64, k) // H·d
	for i := range k {
		for j, v := range d {
			gradient[i] += float64(h[i*k+j] * v)
		}
	}
	for range 4 * k {
		best, at := -1e-12, -1
		for i, u := range up {
			if u == 0 {
				continue
			}
			if gain := float64(2*u*gradient[i]) + float64(u*u*h[i*k+i]); gain < best {
				best, at = gain, i
			}
		}
		if at < 0 {
			return
		}
		e := g.element(w, o, at)
		u := up[at]
		w.Codes[e] += int8(math.Copysign(1, u))
		d[at] += u
		up[at] = -u
		for j := range k {
			gradient[j] += float64(h[at*k+j] * u)
		}
	}
}

// Improved rounds the weights of a planned layer with what was gathered.
func (p *Plan) Improved(g *Gram, w *Weights) {
	_, data, ok := p.g.Index().Floats(g.node.Input[1])
	if ok {
		g.Improve(data, w, p.scheme.levels())
	}
}
