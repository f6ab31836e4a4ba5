package learn

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/learn/cpu"
)

// distillationCase is an answer of testdata/distillation.py.
type distillationCase struct {
	N, Classes                       int
	Temperature, Weight, Alpha, Beta float64
	Labels                           []int32
	Student, Teacher                 []float64 // logits, (N, classes)
	Agreement                        float64
	Soft                             float64
	SoftGradient                     []float64 `json:"soft_gradient"` // with respect to Student
	DKD                              float64
	DKDGradient                      []float64 `json:"dkd_gradient"`
}

func distillationCases(t *testing.T) []distillationCase {
	t.Helper()
	b, err := os.ReadFile("testdata/distillation.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []distillationCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// The losses in float64 on GoMLX's own device in Go, and in float32 on ours.
func TestDistillationObjectives(t *testing.T) {
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
	for _, c := range distillationCases(t) {
		truth := CrossEntropy{Classes: c.Classes}
		for _, o := range []struct {
			name     string
			o        Objective
			loss     float64
			gradient []float64
		}{
			{"soft targets", SoftTargets{CrossEntropy: truth, Temperature: c.Temperature, Weight: c.Weight}, c.Soft, c.SoftGradient},
			{"DKD", DKD{CrossEntropy: truth, Temperature: c.Temperature, Alpha: c.Alpha, Beta: c.Beta, Weight: c.Weight}, c.DKD, c.DKDGradient},
		} {
			got := buildDistillation(t, goDevice, o.o, c, transposed(c.Student, c.N, c.Classes), transposed(c.Teacher, c.N, c.Classes))
			loss, gradient, agreed := got[0].([]float64), transposed(got[1].([]float64), c.Classes, c.N), got[2].([]float64)
			near(t, o.name+": loss in float64", loss, []float64{o.loss}, 1e-10)
			near(t, o.name+": gradient in float64", gradient, o.gradient, 1e-9)
			near(t, o.name+": agreement", agreed, []float64{c.Agreement}, 0)
			got = buildDistillation(t, runtime, o.o, c, narrow(transposed(c.Student, c.N, c.Classes)), narrow(transposed(c.Teacher, c.N, c.Classes)))
			near(t, o.name+": loss on the device", wide(got[0].([]float32)), []float64{o.loss}, 1e-5)
			near(t, o.name+": gradient on the device", transposed(wide(got[1].([]float32)), c.Classes, c.N), o.gradient, 1e-5)
		}
		if c.Weight == 1 { // then the labels have no part in it
			got := buildDistillation(t, goDevice, SoftTargets{CrossEntropy: truth, Unlabelled: true, Temperature: c.Temperature, Weight: 1}, c, transposed(c.Student, c.N, c.Classes), transposed(c.Teacher, c.N, c.Classes))
			near(t, "soft targets without labels", got[0].([]float64), []float64{c.Soft}, 1e-10)
		}
	}
}

// buildDistillation returns the loss, its gradient (classes, N) and the agreement, as lists; the logits are (classes, N), flat.
func buildDistillation(t *testing.T, b compute.Backend, o Objective, c distillationCase, student, teacher any) []any {
	t.Helper()
	out, err := graph.ExecOnceN(b, func(z, teacher, labels *graph.Node) []*graph.Node {
		s := &Step{Graph: z.Graph(), Batch: c.N, Outputs: map[string]*graph.Node{"logits": graph.Reshape(z, c.Classes, c.N)},
			Inputs: map[string]*graph.Node{TeacherInput: graph.Reshape(teacher, c.Classes, c.N), LabelsInput: labels}}
		terms, err := buildTerms(o, s, []string{"logits"})
		if err != nil {
			t.Fatal(err)
		}
		agreed := terms.Metrics[len(terms.Metrics)-1]
		if agreed.Name != AgreementMetric {
			t.Fatalf("the last metric is %s", agreed.Name)
		}
		return []*graph.Node{graph.Reshape(terms.Loss, 1), graph.Reshape(terms.Outputs["logits"], c.Classes*c.N), graph.Reshape(agreed.Total, 1)}
	}, student, teacher, c.Labels)
	if err != nil {
		t.Fatal(err)
	}
	return []any{out[0].Value(), out[1].Value(), out[2].Value()}
}

func TestDistillationRefuses(t *testing.T) {
	for _, c := range []struct {
		o    Objective
		want string
	}{
		{SoftTargets{Unlabelled: true, Temperature: 4, Weight: 0.9}, "without labels"},
		{DKD{CrossEntropy: CrossEntropy{Targets: Targets{Soft: true}}, Temperature: 4}, "one class for each image"},
	} {
		if _, err := c.o.Build(&Step{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.o.Identity(), err)
		}
	}
}
