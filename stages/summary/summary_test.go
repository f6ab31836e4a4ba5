package summary

import (
	"math"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func TestConformance(t *testing.T) {
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Args: stages.Args{Values: map[string]any{"of": map[string]any{
		"accuracy": []any{0.9, 0.8, 0.85}, "loss": map[string]any{"a": 0.5, "b": 0.25}}}}})
}

// The answers are those of scipy 1.15: numpy.std(ddof=1) and scipy.stats.t.interval.
func TestStatistics(t *testing.T) {
	s := statistics([]float64{0.9, 0.8, 0.85, 0.95, 0.7})
	for name, c := range map[string][2]float64{
		"mean": {s.Mean, 0.84}, "deviation": {s.Deviation, 0.0961769203}, "low": {s.Low, 0.7205804}, "high": {s.High, 0.9594196},
	} {
		if math.Abs(c[0]-c[1]) > 1e-5 {
			t.Errorf("%s is %.7f, want %.7f", name, c[0], c[1])
		}
	}
	if one := statistics([]float64{3}); one.Mean != 3 || one.Deviation != 0 || one.Low != 3 || one.High != 3 {
		t.Errorf("%+v", one)
	}
	if v := student(50); math.Abs(v-2.0086) > 1e-4 {
		t.Errorf("Student's t for 50 is %g", v)
	}
}

func TestProblems(t *testing.T) {
	for name, of := range map[string]any{
		"no map": []any{1.0}, "empty": map[string]any{}, "text": map[string]any{"a": []any{"x"}}, "scalar": map[string]any{"a": 1.0}, "nothing": map[string]any{"a": []any{}},
	} {
		_, problems := stages.Decode(Kind.New(), stages.Args{Values: map[string]any{"of": of}}, nil)
		if len(problems) != 1 || problems[0].Arg != "of" || !strings.HasSuffix(problems[0].Detail, ".") {
			t.Errorf("%s: %+v", name, problems)
		}
	}
}
