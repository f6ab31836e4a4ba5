package learn

import "github.com/gomlx/gomlx/core/graph"

// SmoothL1 returns the smooth L1 loss of predictions for targets of the same shape, the mean over all elements, and its gradient with respect to the
// predictions: within beta of the target half the squared distance over beta, beyond it the distance less beta/2 (Girshick 2015, with PyTorch's beta). beta is above 0.
func SmoothL1(predictions, targets *graph.Node, beta float64) (loss, gradient *graph.Node) {
	away := graph.Sub(predictions, targets)
	size := graph.Abs(away)
	near := graph.LessThan(size, graph.Scalar(size.Graph(), size.DType(), beta))
	each := graph.Where(near, graph.MulScalar(graph.Mul(away, away), 0.5/beta), graph.AddScalar(size, -beta/2))
	slope := graph.Where(near, graph.MulScalar(away, 1/beta), graph.Sign(away))
	share := 1 / float64(away.Shape().Size())
	return graph.MulScalar(graph.ReduceAllSum(each), share), graph.MulScalar(slope, share)
}

// DiceBCE returns the sum of the binary cross entropy, the mean over all elements, and of the Dice loss 1 - (2·Σσt + 1)/(Σσ + Σt + 1), the mean over images and
// classes, of logits (classes, …, N) for masks of the same shape with values 0 to 1, and its gradient with respect to the logits (Milletari et al. 2016).
func DiceBCE(logits, masks *graph.Node) (loss, gradient *graph.Node) {
	d := logits.Shape().Dimensions
	each, slope := binaryCrossEntropy(logits, masks)
	share := 1 / float64(logits.Shape().Size())
	var axes []int // those of the image
	for i := 1; i < len(d)-1; i++ {
		axes = append(axes, i)
	}
	sum := func(x *graph.Node) *graph.Node { return graph.ReduceAndKeep(x, graph.ReduceSum, axes...) }
	p := graph.Sigmoid(logits)
	overlap := graph.AddScalar(graph.MulScalar(sum(graph.Mul(p, masks)), 2), 1)
	total := graph.AddScalar(graph.Add(sum(p), sum(masks)), 1)
	portion := 1 / float64(d[0]*d[len(d)-1])
	dice := graph.MulScalar(graph.ReduceAllSum(graph.OneMinus(graph.Div(overlap, total))), portion)
	loss = graph.Add(graph.MulScalar(graph.ReduceAllSum(each), share), dice)
	// ∂(-a/b) = a/b² - 2t/b, and ∂σ = σ(1-σ).
	inverse := graph.Reciprocal(total)
	turn := graph.Sub(graph.Mul(overlap, graph.Mul(inverse, inverse)), graph.Mul(graph.MulScalar(masks, 2), inverse))
	turn = graph.MulScalar(graph.Mul(turn, graph.Mul(p, graph.OneMinus(p))), portion)
	return loss, graph.Add(graph.MulScalar(slope, share), turn)
}
