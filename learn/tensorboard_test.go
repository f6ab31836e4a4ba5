package learn

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// readEvents prints the scalars of a folder as TensorBoard's own package reads them: {name: [[step, value], ...]}.
const readEvents = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1])
a.Reload()
print(json.dumps({t: [[e.step, round(e.value, 6)] for e in a.Scalars(t)] for t in a.Tags()["scalars"]}))
`

// TensorBoard's own package reads the event file: the losses, the accuracies and the learning rate, by epoch.
func TestTensorBoardReadsTheCurves(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	python := filepath.Join(cache, "darkroom", "peer", "bin", "python")
	if err := exec.Command(python, "-c", "import tensorboard").Run(); err != nil {
		t.Skipf("TensorBoard's package is not installed for the peers' Python: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "curves")
	curves := Curves{BestEpoch: 2, Epochs: []Epoch{
		{Epoch: 1, Step: 10, LearningRate: 0.5, TrainLoss: 2.25, TrainAccuracy: 0.25, TrainMetrics: map[string]float64{AgreementMetric: 0.125, HintMetric: 4}, LossScale: 1 << 16,
			Validation: &Score{Loss: 1.5, Accuracy: 0.5, Metrics: map[string]float64{"dice": 0.75}}},
		{Epoch: 2, Step: 20, LearningRate: 0.25, TrainLoss: 1.25, TrainAccuracy: 0.75, TrainMetrics: map[string]float64{AgreementMetric: 0.5, HintMetric: 2}, LossScale: 1 << 15, Skipped: 3,
			Validation: &Score{Loss: 1, Accuracy: 0.625, Metrics: map[string]float64{"dice": 0.875}}},
	}, Groups: []RateGroup{{Factor: 0.5, First: "conv1.weight"}, {Factor: 1, First: "fc.weight"}}}
	if err := WriteCurves(dir, curves); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "-c", readEvents, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][][]float64{}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string][]float64{"learning_rate": {0.5, 0.25}, "learning_rate/conv1.weight": {0.25, 0.125}, "learning_rate/fc.weight": {0.5, 0.25},
		"loss/train": {2.25, 1.25}, "accuracy/train": {0.25, 0.75}, "agreement/train": {0.125, 0.5}, "hint_loss/train": {4, 2},
		"loss/validation": {1.5, 1}, "accuracy/validation": {0.5, 0.625}, "dice/validation": {0.75, 0.875}, "loss_scale": {1 << 16, 1 << 15}, "skipped_steps": {0, 3}}
	for name, v := range want {
		values := got[name]
		if len(values) != 2 || fmt.Sprint(values[0][1], values[1][1]) != fmt.Sprint(v[0], v[1]) || values[0][0] != 10 || values[1][0] != 20 {
			t.Errorf("%s is %v, want %v", name, values, v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d curves, want %d: %v", len(got), len(want), got)
	}
}
