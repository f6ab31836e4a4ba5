package learn

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestNetworksAreJoined runs a training step of networks whose blocks the CPU device has as few operators, and counts these in ONNX Runtime's trace: a
// form that the device does not recognise any more would only be slow.
func TestNetworksAreJoined(t *testing.T) {
	for _, c := range []struct {
		model string
		want  map[string]int
	}{
		// 11 blocks, 9 of which weigh their channels; the last normalisation is behind no block.
		{"mobilenet_v3_small", map[string]int{"NormedDepthwise": 2, "NormedDepthwiseSum": 9, "NormedDepthwiseGradient": 2, "WeighedNormedDepthwiseGradient": 9,
			"ActivatedBatchNormGradient": 1, "BatchNormGradient": 11, "PositionProductSum": 9, "Depthwise": 0, "DepthwiseGradient": 0}},
		// 17 blocks, the first of which reads what the stem gives.
		{"mobilenet_v2", map[string]int{"NormedDepthwise": 17, "NormedDepthwiseGradient": 17, "ActivatedBatchNormGradient": 1, "Depthwise": 0}},
		// 8 blocks and 3 shortcuts, whose second normalisation is added to before it is rectified.
		{"resnet18", map[string]int{"ActivatedBatchNormGradient": 9, "BatchNormGradient": 11}},
	} {
		t.Run(c.model, func(t *testing.T) {
			trace := filepath.Join(t.TempDir(), "trace")
			t.Setenv("PROFILE", trace)
			m := zooMachine(t, c.model, 3, 32, 4, 2)
			if _, err := m.step(0.01); err != nil {
				t.Fatal(err)
			}
			m.Close() // writes the trace
			got := operatorsOf(t, trace)
			for operator, want := range c.want {
				if got[operator] != want {
					t.Errorf("%d of %s; want %d", got[operator], operator, want)
				}
			}
		})
	}
}

// operatorsOf counts the operators that a trace has seen run.
func operatorsOf(t *testing.T, trace string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(trace + "*")
	if err != nil || len(files) != 1 {
		t.Fatalf("traces %v, %v; want one", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var events []struct {
		Name string
		Cat  string
		Args struct {
			Operator string `json:"op_name"`
		}
	}
	if err := json.Unmarshal(data, &events); err != nil {
		t.Fatal(err)
	}
	seen, counts := map[string]bool{}, map[string]int{}
	for _, e := range events {
		if e.Cat == "Node" && e.Args.Operator != "" && !seen[e.Name] {
			seen[e.Name] = true
			counts[e.Args.Operator]++
		}
	}
	return counts
}
