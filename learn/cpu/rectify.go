package cpu

// rectify lets a batch normalisation rectify its own output, and its gradient mask what comes in, where nothing else sees the values in between.
// The nodes are in topological order.
func rectify(nodes []*node, results []*value) []*node {
	consumers := map[*value]int{}
	for _, n := range nodes {
		for _, in := range n.inputs {
			consumers[in]++
		}
	}
	for _, r := range results {
		consumers[r]++
	}
	gone := map[*node]bool{}
	for _, n := range nodes {
		switch {
		case n.operator == "Max" && n.domain == "":
			if x, ok := overZero(n); ok && x.node != nil && x.node.operator == "BatchNormTraining" && x == x.node.outputs[0] && consumers[x] == 1 {
				setRectify(x.node)
				y := n.outputs[0]
				x.node.outputs[0], y.node = y, x.node
				gone[n] = true
			}
		case n.operator == "BatchNormGradient":
			v := n.inputs[4]
			if gradient, rectified, ok := masked(v); ok && consumers[v] == 1 {
				setRectify(n)
				n.operator = "RectifiedBatchNormGradient"
				n.inputs = append(n.inputs[:4:4], gradient, rectified)
				gone[v.node] = true
			}
		}
	}
	var left []*node
	for _, n := range nodes {
		if !gone[n] {
			left = append(left, n)
		}
	}
	return left
}

// overZero returns x of Max(x, 0).
func overZero(n *node) (*value, bool) {
	for i, in := range n.inputs {
		if bits, ok := scalarBits(source(in)); ok && bits == 0 && len(n.inputs) == 2 {
			return n.inputs[1-i], true
		}
	}
	return nil, false
}

// masked returns v and y of Where(y > 0, v, 0).
func masked(w *value) (v, y *value, ok bool) {
	if w.node == nil || w.node.operator != "Where" {
		return nil, nil, false
	}
	condition, v, zero := w.node.inputs[0], w.node.inputs[1], w.node.inputs[2]
	bits, scalar := scalarBits(source(zero))
	if condition.node == nil || condition.node.operator != "Greater" || !scalar || bits != 0 || !v.shape.Equal(w.shape) {
		return nil, nil, false
	}
	y, zero = condition.node.inputs[0], condition.node.inputs[1]
	bits, scalar = scalarBits(source(zero))
	return v, y, scalar && bits == 0 && y.shape.Equal(w.shape)
}

// setRectify sets the flag in the geometry of a normalisation, which is its own.
func setRectify(n *node) {
	n.attributes[0].Ints[rectifyFlag] = 1
}

// rectifyFlag is where the geometry of a normalisation says whether it rectifies.
const rectifyFlag = 3
