package quantize

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/quantization"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/stages"
)

// sensitivityImages is how many calibration images each node's cost is estimated on.
const sensitivityImages = 128

// fallBack quantizes, and where the accuracy drops by more than max_accuracy_drop puts the nodes that cost most back to float: in order of the error
// that each one alone makes of the logits, the fewest that hold the drop.
func (r *run) fallBack(ctx context.Context, g *surgery.Graph, plan *quantization.Plan, ranges map[string]quantization.Range, weights map[string]*quantization.Weights, rows []int, made *outcome) (*quantization.Quantized, error) {
	result, err := plan.Apply(ranges, weights)
	if err != nil {
		return nil, modelProblem(err)
	}
	if r.validation == nil {
		return result, nil
	}
	if r.before, err = r.accuracy(ctx, r.model, "accuracy before"); err != nil {
		return nil, err
	}
	after, err := r.accuracy(ctx, result.Model, "accuracy after")
	if err != nil {
		return nil, err
	}
	made.after = &after
	if r.before-after <= r.maxDrop {
		return result, nil
	}
	r.job.Logf("accuracy %.4f → %.4f drops by more than %g: looking for the nodes that cost most", r.before, after, r.maxDrop)
	order, err := r.sensitivity(ctx, g, plan, ranges, weights, rows)
	if err != nil {
		return nil, err
	}
	try := func(n int) (*quantization.Quantized, float64, error) {
		keep := map[string]bool{}
		for _, s := range order[:n] {
			keep[s.output] = true
		}
		p, err := quantization.NewPlan(g, r.scheme(keep))
		if err != nil {
			return nil, 0, err
		}
		q, err := p.Apply(ranges, weights)
		if err != nil {
			return nil, 0, err
		}
		a, err := r.accuracy(ctx, q.Model, fmt.Sprintf("%d nodes in float", n))
		return q, a, err
	}
	// The smallest number that holds lies between fewest, which does not, and most, which does: first by doubling, then by halving.
	fewest, n := 0, 1
	var good *quantization.Quantized
	var goodAt int
	for n < len(order) {
		q, a, err := try(n)
		if err != nil {
			return nil, err
		}
		if r.before-a <= r.maxDrop {
			good, goodAt, after = q, n, a
			break
		}
		fewest, n = n, 2*n
	}
	if good == nil {
		return nil, stages.Problemf("max_accuracy_drop", "Accuracy drops too far", "Even with %d of %d nodes in float the accuracy drops by more than %g (%.4f before). Calibrate with other images or another calibrator, or allow more.", fewest, len(order), r.maxDrop, r.before)
	}
	for goodAt-fewest > 1 {
		middle := (fewest + goodAt) / 2
		q, a, err := try(middle)
		if err != nil {
			return nil, err
		}
		if r.before-a <= r.maxDrop {
			good, goodAt, after = q, middle, a
		} else {
			fewest = middle
		}
	}
	for _, s := range order[:goodAt] {
		made.kept = append(made.kept, s.name)
	}
	made.after = &after
	return good, nil
}

// cost is the error that one node makes of the logits when it alone is quantized.
type cost struct {
	name, output string
	sqnr         float64
}

// sensitivity orders the plan's nodes, the one that costs most first.
func (r *run) sensitivity(ctx context.Context, g *surgery.Graph, plan *quantization.Plan, ranges map[string]quantization.Range, weights map[string]*quantization.Weights, rows []int) ([]cost, error) {
	rows = every(rows, sensitivityImages)
	images, err := pixelsOf(r.calibration, rows)
	if err != nil {
		return nil, err
	}
	m, err := g.Model()
	if err != nil {
		return nil, err
	}
	reference, err := r.logits(ctx, m, images, len(rows))
	if err != nil {
		return nil, err
	}
	var list []cost
	for i, n := range plan.Nodes {
		if !quantization.IsLayer(n) {
			continue
		}
		keep := map[string]bool{}
		for _, other := range plan.Nodes {
			keep[other.Output[0]] = other != n
		}
		p, err := quantization.NewPlan(g, r.scheme(keep))
		if err != nil {
			return nil, err
		}
		q, err := p.Apply(ranges, weights)
		if err != nil {
			return nil, err
		}
		logits, err := r.logits(ctx, q.Model, images, len(rows))
		if err != nil {
			return nil, err
		}
		signal, noise := squares(reference, logits)
		list = append(list, cost{quantization.Name(n), n.Output[0], decibels(signal, noise)})
		r.job.Progress(stages.Progress{Phase: "cost of each node", Done: int64(i + 1), Total: int64(len(plan.Nodes)), Unit: "nodes"})
	}
	sort.SliceStable(list, func(a, b int) bool { return list[a].sqnr < list[b].sqnr })
	return list, nil
}

// logits runs a model on images.
func (r *run) logits(ctx context.Context, m *onnx.Model, images []float32, n int) ([]float32, error) {
	path := filepath.Join(r.job.ScratchDir, "candidate.onnx")
	if err := m.Save(path); err != nil {
		return nil, err
	}
	defer os.Remove(path)
	s, err := infer.Open(path, r.options(r.calibration.Info(), r.batch))
	if err != nil {
		return nil, r.inferProblem(err)
	}
	defer s.Close()
	return s.Logits(ctx, images, n)
}
