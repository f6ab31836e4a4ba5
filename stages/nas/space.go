package nas

import (
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// space is a search space of networks in stages: each stage has a number of blocks alike, the first of which may halve the image.
type space struct {
	shrinks []int
	stems   []int
	stages  []*stageChoices
}

// stageChoices are the choices of one stage. It declares the block `stage` of a space that is written out.
type stageChoices struct {
	operators  []string
	widths     []int
	depths     []int
	kernels    []int
	expansions []float64
	squeeze    bool // also with squeeze and excitation
	stride     int
}

func (c *stageChoices) Declare(s *stages.Schema) {
	s.Strings(&c.operators, "operators", []string{"residual"}, "What the blocks can be: "+strings.Join(zoo.Operators(), ", ")+".").OneOf(zoo.Operators()...).NonEmpty()
	s.Ints(&c.widths, "widths", nil, "Channels.").NonEmpty().In(1, 4096).Required()
	s.Ints(&c.depths, "depths", []int{1}, "Number of blocks.").NonEmpty().In(1, 64)
	s.Ints(&c.kernels, "kernels", []int{3}, "Sides of the kernels, odd.").NonEmpty().In(1, 15)
	s.Floats(&c.expansions, "expansions", []float64{1}, "Inner widths of residual (times the channels) and inverted blocks (times those that come in).").NonEmpty().Above(0).In(0, 16)
	s.Bool(&c.squeeze, "squeeze", false, "Inverted and separable blocks may also weigh their channels by what is in them.")
	s.Int(&c.stride, "stride", 1, "Stride of the first block; 2 halves the image.").In(1, 4)
}

// Check implements stages.Checker.
func (c *stageChoices) Check() []stages.Problem {
	for _, k := range c.kernels {
		if k%2 == 0 {
			return []stages.Problem{stages.Problemf("kernels", "Kernel without a middle", "The kernel of %d has no pixel in its middle. Use odd sides.", k)}
		}
	}
	return nil
}

// written is the variant `custom`: a space that the user writes out.
type written struct {
	shrinks, stems []int
	parts          []stages.Chosen
}

func (w *written) Declare(s *stages.Schema) {
	s.Ints(&w.shrinks, "shrinks", []int{1}, "Resolutions: images are averaged over squares of these sides first.").NonEmpty().In(1, 64)
	s.Ints(&w.stems, "stems", []int{16}, "Channels of the first convolution.").NonEmpty().In(1, 4096)
	s.Sequence(&w.parts, "stages", "The stages, in order.", stages.Variant{Name: "stage", Doc: "Blocks alike; the first one may halve the image.", New: func() stages.Declarer { return &stageChoices{} }})
}

// Check implements stages.Checker.
func (w *written) Check() []stages.Problem {
	if len(w.parts) == 0 {
		return []stages.Problem{stages.Problemf("", "Search space without a stage", "The space has no block \"stage\", so there is nothing to search for. Write at least one.")}
	}
	return nil
}

func (w *written) space() space {
	sp := space{shrinks: w.shrinks, stems: w.stems}
	for _, c := range w.parts {
		sp.stages = append(sp.stages, c.Body.(*stageChoices))
	}
	return sp
}

// preset is a named space; it has no arguments.
type preset struct{ of space }

func (*preset) Declare(*stages.Schema) {}

func (p *preset) space() space { return p.of }

// spaced is what a variant of the block `space` gives.
type spaced interface{ space() space }

// thin are networks for images of some 32 pixels, about the size of resnet8 and smaller.
var thin = space{shrinks: []int{1}, stems: []int{8, 12, 16, 24}, stages: []*stageChoices{
	{operators: []string{"residual", "inverted", "convolution", "separable"}, widths: []int{8, 12, 16, 24}, depths: []int{1, 2}, kernels: []int{3, 5}, expansions: []float64{1, 2}, stride: 1},
	{operators: []string{"residual", "inverted", "convolution", "separable"}, widths: []int{16, 24, 32, 48}, depths: []int{1, 2, 3}, kernels: []int{3, 5}, expansions: []float64{1, 2, 3}, stride: 2},
	{operators: []string{"residual", "inverted", "convolution", "separable"}, widths: []int{32, 48, 64, 96}, depths: []int{1, 2, 3}, kernels: []int{3, 5}, expansions: []float64{1, 2, 3}, squeeze: true, stride: 2},
}}

// mobile are networks of inverted residuals for images of some 64 to 224 pixels.
var mobile = space{shrinks: []int{1}, stems: []int{16, 24, 32}, stages: []*stageChoices{
	{operators: []string{"inverted"}, widths: []int{16, 24}, depths: []int{1, 2}, kernels: []int{3, 5}, expansions: []float64{1, 3}, stride: 2},
	{operators: []string{"inverted"}, widths: []int{24, 32, 40}, depths: []int{1, 2, 3}, kernels: []int{3, 5}, expansions: []float64{3, 4, 6}, stride: 2},
	{operators: []string{"inverted"}, widths: []int{40, 64, 80}, depths: []int{2, 3, 4}, kernels: []int{3, 5}, expansions: []float64{3, 4, 6}, squeeze: true, stride: 2},
	{operators: []string{"inverted"}, widths: []int{96, 128, 160}, depths: []int{1, 2, 3}, kernels: []int{3, 5}, expansions: []float64{4, 6}, squeeze: true, stride: 2},
}}

// spaces are the variants of the block `space`.
var spaces = []stages.Variant{
	{Name: "thin", Doc: "Networks about the size of resnet8 and smaller, for images of some 32 pixels: three stages of residual, inverted, plain or separable blocks.", New: func() stages.Declarer { return &preset{thin} }},
	{Name: "mobile", Doc: "Inverted residuals in four stages, for images of some 64 to 224 pixels.", New: func() stages.Declarer { return &preset{mobile} }},
	{Name: "custom", Doc: "A space that is written out: one block `stage` for each stage, with lists of choices.", New: func() stages.Declarer { return &written{} }},
}

// The decisions of a stage, in this order: operator, width, depth, kernel, expansion, squeeze.
const perStage = 6

// decisions lists the sizes of the choices: shrink, stem, and those of each stage.
func (s space) decisions() []int {
	out := []int{len(s.shrinks), len(s.stems)}
	for _, c := range s.stages {
		squeeze := 1
		if c.squeeze {
			squeeze = 2
		}
		out = append(out, len(c.operators), len(c.widths), len(c.depths), len(c.kernels), len(c.expansions), squeeze)
	}
	return out
}

// canonical sets choices without an effect to the first one: kernel, expansion and squeeze of operators that have none.
func (s space) canonical(p point) point {
	p = slices.Clone(p)
	for i, c := range s.stages {
		d := p[2+i*perStage:]
		switch c.operators[d[0]] {
		case "identity":
			d[2], d[3], d[4], d[5] = 0, 0, 0, 0
		case "convolution":
			d[4], d[5] = 0, 0
		case "separable":
			d[4] = 0
		case "residual":
			d[5] = 0
		}
	}
	return p
}

// network is the member at a point.
func (s space) network(p point) zoo.Network {
	n := zoo.Network{Shrink: s.shrinks[p[0]], Stem: s.stems[p[1]]}
	for i, c := range s.stages {
		d := p[2+i*perStage:]
		k := zoo.Block{Operator: c.operators[d[0]], Out: c.widths[d[1]], Kernel: c.kernels[d[3]], Expansion: c.expansions[d[4]], Squeeze: d[5] == 1, Stride: 1}
		for b := range c.depths[d[2]] {
			block := k
			if b == 0 {
				block.Stride = c.stride
			}
			n.Blocks = append(n.Blocks, block)
		}
	}
	return n
}

// sizeText says how many members the space has at most.
func (s space) sizeText() string {
	d := decisions{sizes: s.decisions()}
	if n := d.count(); n < 1_000_000_000 {
		return report.Count(n)
	}
	return "more than a billion"
}
