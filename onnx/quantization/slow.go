package quantization

import (
	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// The time that a node takes in ONNX Runtime's CPU provider, as a model: nanoseconds of one core for an image. The numbers are rounded from a profile of the layers of
// mobilenet_v3_small at 224×224 with release 1.30 on a processor with VNNI. They are constants, so that a plan does not depend on the machine that makes it; only their ratios matter.
const (
	floatProduct   = 1.0 / 40  // a multiply-accumulate in float,
	floatDepthwise = 1.0 / 24  // of a depthwise convolution,
	codeProduct    = 1.0 / 110 // in 8 bits,
	codeDepthwise  = 1.0 / 27  // of a depthwise convolution in 8 bits,
	slowDepthwise  = 1.0 / 10  // with channels that are no multiple of 16,
	groupedProduct = 1.0 / 20  // and of other convolutions in groups, either way
	found          = 1.2       // for finding the place of one of the kernel's elements for a pixel, in 8 bits
	copied         = 0.6       // for copying an element, where channels do not fit that kernel,
	requantized    = 0.2       // and for an output of the other one
	codeSwish      = 0.3       // an element of HardSwish in 8 bits; in float it is a part of the convolution
	floatGate      = 0.4       // an element weighed by its channel, with changes of layout
	codeGate       = 0.27
	codeGatePixel  = 13.0 // and a pixel
	floatSum       = 0.1  // an element of a sum
	codeSum        = 0.3
	crossing       = 0.5    // an element that becomes 8 bits, in another layout
	extraNode      = 1000.0 // a node that there would not be the other way
)

const (
	channelUnit = 4    // ONNX Runtime's 8-bit convolution takes inputs and outputs in multiples of so many,
	leastOutput = 16   // and so many outputs or more
	leastGain   = 0.02 // what is left in float must save this share of the whole
)

// slowStart returns the outputs of the nodes at the start of the graph that stay in float because they take longer in 8 bits. Of all places where one value
// alone leads on to a quantized node, it chooses the one with the least time: in float before it, in 8 bits behind it, and for the crossing. It returns nothing where a size is not known.
func slowStart(g *surgery.Graph, quantized map[*protos.NodeProto]bool) map[string]bool {
	costs, err := g.Costs()
	if err != nil || len(costs.Open) > 0 {
		return nil
	}
	shapes, err := g.Shapes()
	if err != nil {
		return nil
	}
	x := g.Index()
	elements := func(value string) float64 {
		n, _ := shapes.Of(value).Shape.Elements().At(1)
		return float64(n)
	}
	before, behind := 0.0, 0.0
	for _, n := range costs.Nodes {
		_, codes := nodeTimes(x, n, elements(n.Node.Output[0]))
		behind += codes
	}
	first, least, until := 0.0, 0.0, -1
	live := map[string]int{g.Input(): len(x.Users(g.Input()))}
	consider := func(value string, at int) {
		if len(live) != 1 || live[value] == 0 || !anyOf(quantized, x.Users(value)) {
			return
		}
		t := before + crossing*elements(value) + behind
		if first == 0 { // the earliest place: everything that can be is quantized
			first, least = t, t*(1-leastGain)
		} else if t < least {
			least, until = t, at
		}
	}
	consider(g.Input(), -1)
	for i, n := range costs.Nodes {
		float, codes := nodeTimes(x, n, elements(n.Node.Output[0]))
		before, behind = before+float, behind-codes
		for _, value := range n.Node.Input {
			if _, ok := live[value]; !ok {
				continue
			}
			if live[value]--; live[value] == 0 {
				delete(live, value)
			}
		}
		for _, out := range n.Node.Output {
			if users := len(x.Users(out)); users > 0 {
				live[out] = users
			}
		}
		consider(n.Node.Output[0], i)
	}
	keep := map[string]bool{}
	for _, n := range costs.Nodes[:until+1] {
		keep[n.Node.Output[0]] = true
	}
	return keep
}

func anyOf(set map[*protos.NodeProto]bool, nodes []*protos.NodeProto) bool {
	for _, n := range nodes {
		if set[n] {
			return true
		}
	}
	return false
}

// nodeTimes is the time of a node with so many outputs, in float and in 8 bits. What takes about the same either way counts as nothing.
func nodeTimes(x surgery.Index, n surgery.NodeCost, outputs float64) (float, codes float64) {
	channels := 1.0
	if len(n.Output) == 4 {
		if c, ok := n.Output[1].At(1); ok && c > 0 {
			channels = float64(c)
		}
	}
	pixels := outputs / channels
	switch n.Node.OpType {
	case "Conv":
		return convolutionTimes(x, n, outputs, pixels)
	case "Gemm", "MatMul":
		return float64(n.MACs) * floatProduct, float64(n.MACs) * codeProduct
	case "HardSwish":
		return 0, outputs*codeSwish + 2*extraNode
	case "Mul":
		return outputs*floatGate + 3*extraNode, outputs*codeGate + pixels*codeGatePixel
	case "Add":
		return outputs * floatSum, outputs * codeSum
	}
	return 0, 0
}

func convolutionTimes(x surgery.Index, n surgery.NodeCost, outputs, pixels float64) (float, codes float64) {
	dims, _, ok := x.Floats(n.Node.Input[1])
	products, groups := float64(n.MACs), groupsOf(n.Node)
	if !ok || len(dims) != 4 || groups > 1 && (dims[0] != groups || dims[1] != 1) {
		return products * groupedProduct, products * groupedProduct
	}
	taps := float64(dims[2] * dims[3])
	switch {
	case groups > 1 && groups%depthwiseBlock == 0:
		return products * floatDepthwise, products*codeDepthwise + found*taps*pixels
	case groups > 1:
		return products * floatDepthwise, products * slowDepthwise
	}
	codes = products * codeProduct
	fits := dims[0] >= leastOutput && dims[0]%channelUnit == 0 && dims[1]%channelUnit == 0
	switch {
	case fits && taps > 1:
		codes += found * taps * pixels
	case !fits:
		codes += requantized * outputs
		if taps > 1 {
			codes += copied * taps * float64(dims[1]) * pixels
		}
	}
	return products * floatProduct, codes
}
