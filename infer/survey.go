package infer

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Survey tells from a latency table of one model how long another one would take whose layers are like its layers. A layer takes what a layer of the table takes with as many
// multiply-accumulates and an output of the same size; where there is none, what the nearest one takes, in proportion to the multiply-accumulates. Nearest is what has the least sum of the ratios
// of both, as logarithms; a layer with more than 16 times its multiply-accumulates is refused. What is no layer takes time in proportion to the outputs of all layers, and all of it is scaled so that
// the model of the table takes what was measured without the profiler.
type Survey struct {
	Batch, Threads int
	layers         map[string][]surveyed // by class
	rest           float64               // milliseconds of what is no layer, by output element
	scale          float64
}

// surveyed is a measured layer.
type surveyed struct {
	macs, elements int // for one image
	median         float64
}

// Layer is one layer of a model.
type Layer struct {
	Operator string // of ONNX: Conv, Gemm, …
	Elements int    // of its output for one image
	MACs     int    // for one image
}

// farthest is how many times the multiply-accumulates of the nearest measured layer one may have.
const farthest = 16

// layerClass is what layers are compared within, however ONNX Runtime calls what it executes: FusedConv and QLinearConv are convolutions.
func layerClass(operator string) string {
	if strings.Contains(operator, "Conv") {
		return "convolution"
	}
	return "matrix product"
}

// NewSurvey takes the rows of a batch and a number of threads, of all widths; 0 stands for those of the first row.
func NewSurvey(rows []Latency, batch, threads int) (*Survey, error) {
	if len(rows) == 0 {
		return nil, fmt.Errorf("the latency table has no rows")
	}
	s := &Survey{Batch: cmp.Or(batch, rows[0].Batch), Threads: cmp.Or(threads, rows[0].Threads), layers: map[string][]surveyed{}}
	var whole, nodes, rest float64
	elements := 0
	for _, l := range rows {
		switch {
		case l.Batch != s.Batch || l.Threads != s.Threads:
		case l.Index < 0:
			whole += l.Median
		case l.Layer == "" || l.MACs == 0:
			rest, nodes = rest+l.Median, nodes+l.Median
		default:
			n, err := elementsOf(l.Shape, l.Batch)
			if err != nil {
				return nil, fmt.Errorf("the node %s of the latency table: %w", l.Node, err)
			}
			class := layerClass(l.Operator)
			s.layers[class] = append(s.layers[class], surveyed{l.MACs, n, l.Median})
			elements, nodes = elements+n, nodes+l.Median
		}
	}
	if whole == 0 || elements == 0 || nodes == 0 {
		return nil, fmt.Errorf("the latency table has no times of a model and its layers for %d images on %d threads", s.Batch, s.Threads)
	}
	s.rest, s.scale = rest/float64(elements), whole/nodes
	return s, nil
}

// elementsOf is the size of a node's output for one image.
func elementsOf(shape string, batch int) (int, error) {
	n := 1
	for _, part := range strings.Split(shape, "x") {
		d, err := strconv.Atoi(part)
		if err != nil || d < 1 {
			return 0, fmt.Errorf("its shape is %q", shape)
		}
		n *= d
	}
	return max(1, n/batch), nil
}

// Estimate is what a survey says of a model.
type Estimate struct {
	Milliseconds float64
	Measured     int // layers like one of the table
	Scaled       int // layers whose time follows from a nearest one
}

// Estimate adds up the layers of a model. It fails for a layer that is unlike everything that was measured.
func (s *Survey) Estimate(layers []Layer) (Estimate, error) {
	var e Estimate
	sum := 0.0
	for _, l := range layers {
		class := layerClass(l.Operator)
		of := s.layers[class]
		if len(of) == 0 {
			return e, fmt.Errorf("the latency table has no %s", class)
		}
		best, same, total := surveyed{}, 0, 0.0
		least := math.Inf(1)
		for _, m := range of {
			away := math.Abs(math.Log(float64(l.MACs)/float64(m.macs))) + math.Abs(math.Log(float64(l.Elements)/float64(m.elements)))
			if away == 0 {
				same, total = same+1, total+m.median
			}
			if away < least {
				best, least = m, away
			}
		}
		sum += s.rest * float64(l.Elements)
		if same > 0 {
			sum += total / float64(same)
			e.Measured++
			continue
		}
		ratio := float64(l.MACs) / float64(best.macs)
		if ratio > farthest {
			return e, fmt.Errorf("a %s of %d multiply-accumulates is %.3g times the nearest one of the latency table", class, l.MACs, ratio)
		}
		sum += best.median * ratio
		e.Scaled++
	}
	e.Milliseconds = sum * s.scale
	return e, nil
}
