package learn

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/learn/cpu"
)

// featuresCase is an answer of testdata/features.py. Lists are (N, …); gradients are those of the logits and then of each pair's features.
type featuresCase struct {
	N, Classes            int
	Factor                float64
	Labels                []int32
	Student               []float64 // logits
	Pairs                 [][]int   // (C, H, W)
	Features, Hints, Maps [][]float64
	Hint                  float64
	HintGradients         [][]float64 `json:"hint_gradients"`
	Attention             float64
	AttentionGradients    [][]float64 `json:"attention_gradients"`
}

// objective is hints, or else attention.
func (c *featuresCase) objective(hints bool) Objective {
	soft := SoftTargets{CrossEntropy: CrossEntropy{Classes: c.Classes}, Temperature: 4}
	var pairs []FeaturePair
	for i, d := range c.Pairs {
		pairs = append(pairs, FeaturePair{fmt.Sprintf("x%d", i), fmt.Sprintf("t%d", i), d})
	}
	if hints {
		return Hints{SoftTargets: soft, Logits: "logits", Pairs: pairs, Factor: c.Factor}
	}
	return Attention{SoftTargets: soft, Logits: "logits", Pairs: pairs, Factor: c.Factor}
}

// evaluate returns the loss and the gradients, (N, …), where x are the logits and the features of the student.
func (c *featuresCase) evaluate(t *testing.T, b compute.Backend, hints, single bool, x [][]float64) (loss float64, gradients [][]float64) {
	t.Helper()
	targets := c.Maps
	if hints {
		targets = c.Hints
	}
	lists := append(append([][]float64{}, x...), targets...)
	inputs := []any{c.Labels}
	for _, l := range lists {
		if single {
			inputs = append(inputs, narrow(l))
		} else {
			inputs = append(inputs, l)
		}
	}
	out, err := graph.ExecOnceN(b, func(in []*graph.Node) []*graph.Node {
		shaped := func(n *graph.Node, dims ...int) *graph.Node {
			return batchLast(graph.Reshape(n, append([]int{c.N}, dims...)...))
		}
		s := &Step{Graph: in[0].Graph(), Batch: c.N, Outputs: map[string]*graph.Node{"logits": shaped(in[1], c.Classes)},
			Inputs: map[string]*graph.Node{LabelsInput: in[0], TeacherInput: shaped(in[1], c.Classes)}}
		names := []string{"logits"}
		for i, d := range c.Pairs {
			names = append(names, fmt.Sprintf("x%d", i))
			s.Outputs[names[i+1]] = shaped(in[2+i], d...)
			if !hints {
				d = d[1:]
			}
			s.Inputs[fmt.Sprintf("t%d", i)] = shaped(in[2+len(c.Pairs)+i], d...)
		}
		terms, err := buildTerms(c.objective(hints), s, names)
		if err != nil {
			t.Fatal(err)
		}
		results := []*graph.Node{graph.Reshape(terms.Loss, 1)}
		for _, name := range names {
			g := batchFirst(terms.Outputs[name])
			results = append(results, graph.Reshape(g, g.Shape().Size()))
		}
		return results
	}, inputs...)
	if err != nil {
		t.Fatal(err)
	}
	list := func(i int) []float64 {
		if single {
			return wide(out[i].Value().([]float32))
		}
		return out[i].Value().([]float64)
	}
	for i := range x {
		gradients = append(gradients, list(1+i))
	}
	return list(0)[0], gradients
}

// Hints and attention transfer in float64 on GoMLX's own device in Go, against PyTorch and finite differences, and in float32 on ours.
func TestFeatureObjectives(t *testing.T) {
	needLibrary(t)
	goDevice, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	defer goDevice.Finalize()
	runtime, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.Finalize()
	text, err := os.ReadFile("testdata/features.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []featuresCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for _, hints := range []bool{true, false} {
			name, want, gradients := "attention", c.Attention, c.AttentionGradients
			if hints {
				name, want, gradients = "hints", c.Hint, c.HintGradients
			}
			x := append([][]float64{c.Student}, c.Features...)
			loss, got := c.evaluate(t, goDevice, hints, false, x)
			near(t, name+": loss in float64", []float64{loss}, []float64{want}, 1e-10)
			for i := range gradients {
				near(t, fmt.Sprintf("%s: gradient %d in float64", name, i), got[i], gradients[i], 1e-9)
			}
			c.differences(t, goDevice, name, hints, x, got)
			loss, got = c.evaluate(t, runtime, hints, true, x)
			near(t, name+": loss on the device", []float64{loss}, []float64{want}, 1e-5)
			for i := range gradients {
				near(t, fmt.Sprintf("%s: gradient %d on the device", name, i), got[i], gradients[i], 1e-5)
			}
		}
	}
}

// differences compares some numbers of the gradients with finite differences.
func (c *featuresCase) differences(t *testing.T, b compute.Backend, name string, hints bool, x, gradients [][]float64) {
	t.Helper()
	const h = 1e-5
	for i := range x {
		for _, k := range []int{0, len(x[i]) / 2, len(x[i]) - 1} {
			was := x[i][k]
			x[i][k] = was + h
			up, _ := c.evaluate(t, b, hints, false, x)
			x[i][k] = was - h
			down, _ := c.evaluate(t, b, hints, false, x)
			x[i][k] = was
			if slope := (up - down) / (2 * h); math.Abs(slope-gradients[i][k]) > 1e-6*(1+math.Abs(slope)) {
				t.Errorf("%s: gradient %d of value %d is %g, by finite differences %g", name, k, i, gradients[i][k], slope)
			}
		}
	}
}

func TestFeatureObjectivesRefuse(t *testing.T) {
	pair := []FeaturePair{{"x", "t", []int{2}}}
	for _, o := range []Objective{Hints{Logits: "logits"}, Attention{Logits: "logits"}, Hints{Logits: "logits", Pairs: pair, SoftTargets: SoftTargets{Unlabelled: true}}} {
		if _, err := o.Build(&Step{}); err == nil || !strings.Contains(err.Error(), "no pair") && !strings.Contains(err.Error(), "without labels") {
			t.Errorf("%s: %v", o.Identity(), err)
		}
	}
}
