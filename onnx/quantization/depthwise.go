package quantization

import (
	"math"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

const (
	// depthwiseBlock is the number of channels that ONNX Runtime's 8-bit depthwise kernel takes at a time.
	depthwiseBlock = 16
	// leastShare is that of the channels which at most may be added, as one in so many.
	leastShare = 8
)

// growth is an axis of an initializer that gets positions of zeros.
type growth struct {
	node  *protos.NodeProto
	input int
	axis  int
}

// fillDepthwise adds channels of zeros to a depthwise convolution, the convolution before it and all that reads it up to the next convolution: an activation, and a branch that weighs the
// channels by what is in them (squeeze and excitation). It does nothing where anything else is found.
func fillDepthwise(g *surgery.Graph, n *protos.NodeProto) {
	x := g.Index()
	channels := groupsOf(n)
	more := (depthwiseBlock - channels%depthwiseBlock) % depthwiseBlock
	dims, _, ok := x.Floats(n.Input[1])
	if !ok || more == 0 || more*leastShare > channels || len(dims) != 4 || dims[0] != channels || dims[1] != 1 {
		return
	}
	before := x.Producer(n.Input[0])
	if before != nil && keepsZero(x, before) && onlyUser(g, x, n.Input[0]) == n {
		before = x.Producer(before.Input[0])
	}
	if before == nil || before.OpType != "Conv" || groupsOf(before) != 1 || !leadsTo(g, x, before, n) {
		return
	}
	grow := []growth{{before, 1, 0}, {before, 2, 0}, {n, 1, 0}, {n, 2, 0}}
	after, ok := readers(g, x, n)
	if !ok {
		return
	}
	grow = append(grow, after...)
	for _, a := range grow {
		if name := inputOf(a.node, a.input); name != "" {
			if _, _, ok := x.Floats(name); !ok || len(x.Users(name)) != 1 {
				return
			}
		}
	}
	for _, a := range grow {
		if name := inputOf(a.node, a.input); name != "" {
			dims, data, _ := x.Floats(name)
			g.SetFloats(name, extended(dims, a.axis, more), extend(dims, data, a.axis, more))
		}
	}
	for _, a := range n.Attribute {
		if a.Name == "group" {
			a.I = int64(channels + more)
		}
	}
}

// leadsTo says whether what a convolution gives reaches n and nothing else.
func leadsTo(g *surgery.Graph, x surgery.Index, from, n *protos.NodeProto) bool {
	next := onlyUser(g, x, from.Output[0])
	return next == n || next != nil && keepsZero(x, next) && onlyUser(g, x, next.Output[0]) == n
}

// keepsZero says whether the node is an activation that gives 0 for 0.
func keepsZero(x surgery.Index, n *protos.NodeProto) bool {
	switch n.OpType {
	case "Relu", "LeakyRelu", "HardSwish":
		return true
	case "Clip":
		low, high := bounds(x, n)
		return low <= 0 && high >= 0
	}
	return false
}

// readers lists what reads the channels of n: the inputs of the next convolution, and those of a squeeze and excitation branch.
func readers(g *surgery.Graph, x surgery.Index, n *protos.NodeProto) ([]growth, bool) {
	value := n.Output[0]
	if next := onlyUser(g, x, value); next != nil && keepsZero(x, next) {
		value = next.Output[0]
	}
	if next := onlyUser(g, x, value); next != nil {
		return []growth{{next, 1, 1}}, plainReader(next, value)
	}
	users := x.Users(value)
	pool, product := slices.IndexFunc(users, is("GlobalAveragePool")), slices.IndexFunc(users, is("Mul"))
	if len(users) != 2 || pool < 0 || product < 0 || value == g.Output() {
		return nil, false
	}
	first := onlyUser(g, x, users[pool].Output[0])
	if first == nil || !plainReader(first, users[pool].Output[0]) {
		return nil, false
	}
	gate := gateOf(users[product], value)
	last := x.Producer(gate)
	for last != nil && last != first && onlyUser(g, x, gate) != nil && slices.Contains([]string{"Clip", "HardSigmoid", "Sigmoid"}, last.OpType) {
		gate = last.Input[0]
		last = x.Producer(gate)
	}
	inner := onlyUser(g, x, first.Output[0])
	if last == nil || last == first || last.OpType != "Conv" || groupsOf(last) != 1 || onlyUser(g, x, gate) == nil || inner == nil || onlyUser(g, x, inner.Output[0]) != last {
		return nil, false
	}
	next := onlyUser(g, x, users[product].Output[0])
	if next == nil || !plainReader(next, users[product].Output[0]) {
		return nil, false
	}
	return []growth{{first, 1, 1}, {last, 1, 0}, {last, 2, 0}, {next, 1, 1}}, true
}

func is(operator string) func(*protos.NodeProto) bool {
	return func(n *protos.NodeProto) bool { return n.OpType == operator }
}

// plainReader says whether the node is a convolution of one group that reads the value.
func plainReader(n *protos.NodeProto, value string) bool {
	return n.OpType == "Conv" && n.Input[0] == value && groupsOf(n) == 1
}

// gateOf is the other factor of a product.
func gateOf(product *protos.NodeProto, value string) string {
	if product.Input[0] == value {
		return product.Input[1]
	}
	return product.Input[0]
}

// bounds are those of a Clip whose bounds are constants.
func bounds(x surgery.Index, n *protos.NodeProto) (low, high float64) {
	low, high = onnx.Float(n, "min", math.Inf(-1)), onnx.Float(n, "max", math.Inf(1))
	for i, to := range []*float64{&low, &high} {
		if _, v, ok := x.Floats(inputOf(n, 1+i)); ok && len(v) == 1 {
			*to = float64(v[0])
		}
	}
	return low, high
}

func extended(dims []int, axis, more int) []int {
	out := slices.Clone(dims)
	out[axis] += more
	return out
}

// extend appends zeros along an axis.
func extend(dims []int, data []float32, axis, more int) []float32 {
	inner := size(dims[axis+1:])
	var out []float32
	for at := 0; at < len(data); at += dims[axis] * inner {
		out = append(out, data[at:at+dims[axis]*inner]...)
		out = append(out, make([]float32, more*inner)...)
	}
	return out
}
