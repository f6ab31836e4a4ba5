package cpu

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
)

// Footprint is what memory a computation takes while it runs, in bytes, beside its inputs. It follows from the computation alone.
type Footprint struct {
	Results int64 // new tensors, which the results are written into
	Values  int64 // of the tensors in between, as many as are there at once, at most
}

// Planning returns a device on which computations can be built and compiled to learn their Footprint, and nothing else: its buffers have shapes and no
// memory, and nothing can be executed.
func (b *Backend) Planning() compute.Backend {
	o := b.options
	o.planning = true
	return &Backend{options: o, pool: newPool()}
}

// Footprint returns what the computation takes.
func (e *Executable) Footprint() (results, values int64) {
	return e.footprint.Results, e.footprint.Values
}

// views are operators whose result is their first input under another shape.
var views = map[string]bool{"Reshape": true, "Identity": true, "Squeeze": true, "Unsqueeze": true, "Flatten": true}

// inPlace are ONNX Runtime's operators that write over an input of the size of their result which nobody needs any more.
var inPlace = map[string]bool{"Add": true, "Sub": true, "Mul": true, "Div": true, "Relu": true, "Sigmoid": true, "Tanh": true, "Exp": true, "Sqrt": true,
	"Neg": true, "Abs": true, "Log": true, "Reciprocal": true, "Softmax": true, "Erf": true}

// tensors follows the memory of a computation, node by node.
type tensors struct {
	root  map[*value]*value // of a view: whose memory it is
	left  map[*value]int    // uses to come, by root
	alive map[*value]int64  // bytes, by root
	now   int64
	most  int64
}

// footprint walks over the needed nodes in the order in which ONNX Runtime executes them.
func footprint(nodes []*node, results []*value) Footprint {
	var out Footprint
	given := map[*value]bool{}
	for _, r := range results {
		out.Results += rounded(r.shape)
		given[r] = true
	}
	order := executionOrder(nodes)
	t := &tensors{root: map[*value]*value{}, left: map[*value]int{}, alive: map[*value]int64{}}
	for _, n := range order {
		if views[n.operator] && n.inputs[0] != nil {
			t.root[n.outputs[0]] = t.of(n.inputs[0])
		}
	}
	for _, n := range order {
		for _, in := range n.inputs {
			if in != nil {
				t.left[t.of(in)]++
			}
		}
	}
	for _, n := range order {
		t.execute(n, given)
	}
	out.Values = t.most
	return out
}

// of returns the value whose memory v is.
func (t *tensors) of(v *value) *value {
	if r := t.root[v]; r != nil {
		return r
	}
	return v
}

func (t *tensors) execute(n *node, given map[*value]bool) {
	for _, y := range n.outputs {
		if t.of(y) != y || given[y] {
			continue // a view, or memory that the caller gave
		}
		size := rounded(y.shape)
		if from := t.dying(n, size); from != nil {
			t.alive[y], t.alive[from] = size, 0
			continue
		}
		t.alive[y] = size
		t.now += size
	}
	t.most = max(t.most, t.now)
	for _, in := range n.inputs {
		if in == nil {
			continue
		}
		root := t.of(in)
		if t.left[root]--; t.left[root] == 0 {
			t.free(root)
		}
	}
	for _, y := range n.outputs {
		if t.of(y) == y && t.left[y] == 0 { // nobody wants it
			t.free(y)
		}
	}
}

func (t *tensors) free(v *value) {
	t.now -= t.alive[v]
	delete(t.alive, v)
}

// dying returns an input of that size that n uses for the last time and writes its result over; nil: there is none.
func (t *tensors) dying(n *node, size int64) *value {
	if !inPlace[n.operator] {
		return nil
	}
	for _, in := range n.inputs {
		if root := t.of(in); t.left[root] == 1 && t.alive[root] == size {
			return root
		}
	}
	return nil
}

// rounded is what a tensor of that shape takes of ONNX Runtime's arena.
func rounded(shape shapes.Shape) int64 {
	const unit = 256
	return (int64(shape.ByteSize()) + unit - 1) / unit * unit
}

// executionOrder is the order in which ONNX Runtime executes nodes that it was given in this order: back from those that no node needs, the later
// ones first, each as soon as what it needs is there.
func executionOrder(nodes []*node) []*node {
	place, needed := map[*node]int{}, map[*node]bool{}
	for i, n := range nodes {
		place[n] = i
		for _, in := range n.inputs {
			if in != nil && in.node != nil {
				needed[in.node] = true
			}
		}
	}
	type visit struct {
		n    *node
		done bool // what it needs is there
	}
	var stack []visit
	for _, n := range nodes {
		if n.constant == nil && !needed[n] {
			stack = append(stack, visit{n, false})
		}
	}
	seen := map[*node]bool{}
	var order []*node
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if v.done {
			order = append(order, v.n)
			continue
		}
		if seen[v.n] {
			continue
		}
		seen[v.n] = true
		stack = append(stack, visit{v.n, true})
		var makers []*node
		for _, in := range v.n.inputs {
			if in != nil && in.node != nil && in.node.constant == nil && !slices.Contains(makers, in.node) {
				makers = append(makers, in.node)
			}
		}
		slices.SortFunc(makers, func(a, b *node) int { return place[a] - place[b] })
		for _, m := range makers {
			if !seen[m] {
				stack = append(stack, visit{m, false})
			}
		}
	}
	return order
}
