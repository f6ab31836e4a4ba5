package quantize

import (
	"context"
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx/quantization"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// refine changes the graph so that it loses less when it is quantized, without changing what it computes.
func (r *run) refine(ctx context.Context, g *surgery.Graph, rows []int, made *outcome) error {
	if r.smooth > 0 {
		values := quantization.SmoothValues(g)
		seen := make([]*quantization.Channels, len(values))
		for i := range seen {
			seen[i] = quantization.NewChannels("")
		}
		if len(values) > 0 {
			if err := r.look(ctx, g, values, rows, "measuring channels", func(i int, dims []int64, data []float32) error {
				seen[i].Add(dims, data)
				return nil
			}); err != nil {
				return err
			}
		}
		largest := map[string][]float64{}
		for i, v := range values {
			largest[v] = seen[i].Largest
		}
		made.note(fmt.Sprintf("SmoothQuant moved outliers into the weights behind %s.", report.Counted(quantization.Smooth(g, largest, r.smooth), "normalisation")))
	}
	if r.equalise {
		made.note(fmt.Sprintf("The channels between %s of convolutions were equalised.", report.Counted(quantization.Equalise(g), "pair")))
	}
	return nil
}

// roundingImages is how many images AdaRound looks at.
const roundingImages = 256

// fit rounds the weights with regard to the images: AdaRound, and bias correction. nil weights are rounded to the nearest.
func (r *run) fit(ctx context.Context, g *surgery.Graph, plan *quantization.Plan, ranges map[string]quantization.Range, rows []int) (map[string]*quantization.Weights, error) {
	if !r.adaround && !r.biasCorrection {
		return nil, nil
	}
	weights := plan.Round(ranges)
	inputs := plan.Inputs()
	if r.adaround {
		if err := r.adaptRounding(ctx, g, plan, weights, every(rows, roundingImages)); err != nil {
			return nil, err
		}
	}
	if !r.biasCorrection {
		return weights, nil
	}
	seen := map[string]*quantization.Channels{}
	var values []string
	for i, v := range inputs {
		if v != "" && seen[v] == nil {
			seen[v] = quantization.NewChannels(plan.Nodes[i].OpType)
			values = append(values, v)
		}
	}
	if err := r.look(ctx, g, values, every(rows, roundingImages), "means", func(i int, dims []int64, data []float32) error {
		seen[values[i]].Add(dims, data)
		return nil
	}); err != nil {
		return nil, err
	}
	means := map[string][]float64{}
	for v, c := range seen {
		means[v] = c.Means()
	}
	plan.CorrectBiases(weights, means)
	return weights, nil
}

// adaptRounding goes layer by layer, so that only one layer's second moments are in memory.
func (r *run) adaptRounding(ctx context.Context, g *surgery.Graph, plan *quantization.Plan, weights map[string]*quantization.Weights, rows []int) error {
	for i, n := range plan.Nodes {
		w := weights[n.Output[0]]
		if w == nil {
			continue
		}
		gram := plan.NewGram(n)
		if gram == nil {
			continue
		}
		if err := r.look(ctx, g, []string{n.Input[0]}, rows, "rounding", func(_ int, dims []int64, data []float32) error {
			gram.Add(dims, data)
			return nil
		}); err != nil {
			return err
		}
		plan.Improved(gram, w)
		r.job.Progress(stages.Progress{Phase: "rounding", Done: int64(i + 1), Total: int64(len(plan.Nodes)), Unit: "layers"})
	}
	return nil
}

// weights quantizes without images: weights alone, or ranges found while the model runs.
func (r *run) weights(context.Context) (*outcome, error) {
	g, err := quantization.Prepare(r.model)
	if err != nil {
		return nil, modelProblem(err)
	}
	made := &outcome{}
	s := r.scheme(nil)
	if r.method == dynamic {
		made.nodes, err = quantization.Dynamic(g, s)
	} else {
		made.nodes, err = quantization.WeightOnly(g, s, r.bits, r.block)
	}
	if err != nil {
		return nil, modelProblem(err)
	}
	made.model, err = g.Model()
	return made, err
}
