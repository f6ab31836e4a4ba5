package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/qdq"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func needLibrary(t *testing.T) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

var classNames = []string{"dark", "bright"}

// writeDataset writes n images of side × side: those of class bright are brighter.
func writeDataset(t *testing.T, path string, n, side int) {
	t.Helper()
	w, err := dataset.Create(path, dataset.Info{Classes: classNames, Height: side, Width: side, Channels: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		pixels := make([]byte, side*side*3)
		for k := range pixels {
			pixels[k] = byte((k*37+i*101)%120 + i%2*130)
		}
		if err := w.Add(fmt.Sprint(i), int32(i%2), pixels); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func input(path string, typ artifact.Type) []stages.Input {
	return []stages.Input{{Ref: artifact.Ref{Type: typ}, Path: path}}
}

func fresh(t *testing.T, name string) *onnx.Model {
	t.Helper()
	m, err := zoo.Build(name, zoo.Options{Classes: classNames, Channels: 3, Height: 16, Width: 16, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func save(t *testing.T, m *onnx.Model, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "in.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func inputs(t *testing.T, dir string, m *onnx.Model) map[string][]stages.Input {
	writeDataset(t, filepath.Join(dir, "calibration"), 40, 16)
	writeDataset(t, filepath.Join(dir, "validation"), 30, 16)
	return map[string][]stages.Input{"model": input(save(t, m, dir), artifact.Model), "calibration": input(filepath.Join(dir, "calibration"), artifact.Dataset),
		"validation": input(filepath.Join(dir, "validation"), artifact.Dataset)}
}

func device() stages.Device {
	return stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}
}

func TestConformance(t *testing.T) {
	needLibrary(t)
	for name, values := range map[string]map[string]any{
		"pinned.json":        {},
		"pinned-refine.json": {"target": "tensorrt", "calibrator": "entropy", "adaround": true, "bias_correction": true, "equalise": true, "per_channel": false},
		"pinned-half.json":   {"method": "fp16"},
		"pinned-weight.json": {"method": "weight_only", "bits": 4.0},
	} {
		t.Run(name, func(t *testing.T) {
			stagetest.Run(t, stagetest.Fixture{Kind: Kind, Device: device(), PinFile: filepath.Join("testdata", name), Args: stages.Args{Values: values},
				Inputs: func(t *testing.T, dir string) map[string][]stages.Input { return inputs(t, dir, fresh(t, "resnet8")) }})
		})
	}
	t.Run("pinned-training.json", func(t *testing.T) {
		stagetest.Run(t, stagetest.Fixture{Kind: Kind, Device: device(), PinFile: "testdata/pinned-training.json", Args: trainingArgs(nil),
			Inputs: func(t *testing.T, dir string) map[string][]stages.Input { return withData(t, dir, fresh(t, "resnet8")) }})
	})
}

// trainingArgs are those of a short training, with more in its block.
func trainingArgs(more map[string]any) stages.Args {
	block := map[string]any{"epochs": 2.0, "batch": 8.0, "checkpoint": 1.0}
	for k, v := range more {
		block[k] = v
	}
	return stages.Args{Values: map[string]any{"method": "qat", "calibrator": "minmax"}, Blocks: []stages.BlockArgs{{Type: "training", Args: stages.Args{Values: block}}}}
}

// withData has images to train on, too.
func withData(t *testing.T, dir string, m *onnx.Model) map[string][]stages.Input {
	in := inputs(t, dir, m)
	writeDataset(t, filepath.Join(dir, "data"), 64, 16)
	in["data"] = input(filepath.Join(dir, "data"), artifact.Dataset)
	return in
}

// said is a Reporter that keeps values and log lines.
type said struct {
	mu     sync.Mutex // guards the others
	values map[string]any
	log    []string
}

func (s *said) Progress(stages.Progress) {}
func (s *said) Log(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, line)
}
func (s *said) Value(name string, v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = v
}
func (s *said) Measure(string, float64) {}

// execute runs the kind once.
func execute(t *testing.T, args map[string]any, in map[string][]stages.Input, d stages.Device) (*said, string, error) {
	t.Helper()
	return executeArgs(t, stages.Args{Values: args}, in, d)
}

func executeArgs(t *testing.T, args stages.Args, in map[string][]stages.Input, d stages.Device) (*said, string, error) {
	t.Helper()
	q := Kind.New()
	connected := map[string]bool{}
	for port := range in {
		connected[port] = true
	}
	if _, problems := stages.Decode(q, args, connected); len(problems) > 0 {
		return nil, "", problems[0]
	}
	s := &said{values: map[string]any{}}
	job := (&stages.Job{Kind: "quantize", Args: args, OutDir: t.TempDir(), ScratchDir: t.TempDir(), Inputs: in, Device: d, Resources: stages.Resources{CPUs: 1}}).WithReporter(s)
	return s, job.OutDir, q.Run(context.Background(), job)
}

func TestBadInput(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	good := inputs(t, dir, fresh(t, "resnet8"))
	with := func(port, path string, typ artifact.Type) map[string][]stages.Input {
		in := map[string][]stages.Input{}
		for k, v := range good {
			in[k] = v
		}
		in[port] = input(path, typ)
		return in
	}
	_, out, err := execute(t, map[string]any{}, good, device())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good["model"][0].Path)
	if err != nil {
		t.Fatal(err)
	}
	truncated := filepath.Join(dir, "truncated.onnx")
	if err := os.WriteFile(truncated, whole[:len(whole)/2], 0o666); err != nil {
		t.Fatal(err)
	}
	writeDataset(t, filepath.Join(dir, "large"), 4, 32)
	unknown := filepath.Join(dir, "unknown.onnx")
	b := onnx.NewBuilder("u", 3, 16, 16)
	x := b.Node("Flatten", "f", []string{b.Node("Wavelet", "w", []string{onnx.InputName})})
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("m", []int{768, 2}, make([]float32, 1536))})
	m, err := b.Model(2, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Save(unknown); err != nil {
		t.Fatal(err)
	}
	alone := map[string][]stages.Input{"model": good["model"]}
	for name, c := range map[string]struct {
		args map[string]any
		in   map[string][]stages.Input
		want string
	}{
		"twice":             {nil, with("model", filepath.Join(out, "model"), artifact.Model), "Quantizing twice only adds error"},
		"truncated":         {nil, with("model", truncated, artifact.Model), "Model cannot be used"},
		"unknown operator":  {nil, with("model", unknown, artifact.Model), "Wavelet"},
		"another size":      {nil, with("calibration", filepath.Join(dir, "large"), artifact.Dataset), "takes images of 16×16 with 3 channels, these are 32×32"},
		"no calibration":    {nil, alone, "Connect \"calibration\""},
		"no validation":     {map[string]any{"max_accuracy_drop": 0.1, "method": "dynamic"}, alone, "Connect \"validation\""},
		"pattern":           {map[string]any{"exclude": []any{"[a"}}, good, "\"[a\" cannot be read"},
		"bits":              {map[string]any{"bits": 4.0}, good, "Only method = \"weight_only\""},
		"five bits":         {map[string]any{"bits": 5.0, "method": "weight_only"}, good, "8 or 4 bits"},
		"mean":              {map[string]any{"mean": []any{0.5}}, good, "1 numbers in \"mean\" and 0"},
		"nothing is left":   {map[string]any{"exclude": []any{"*"}}, good, "nothing of the model can be quantized"},
		"nothing dynamical": {map[string]any{"exclude": []any{"Gemm"}, "method": "dynamic"}, good, "no matrix product"},
	} {
		_, _, err := execute(t, c.args, c.in, device())
		var p stages.Problem
		if !errors.As(err, &p) || !strings.Contains(strings.ToLower(p.Error()), strings.ToLower(c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	needLibrary(t)
	in := inputs(t, t.TempDir(), fresh(t, "resnet8"))
	old := device()
	old.ISA = "avx2"
	s, _, err := execute(t, nil, in, old)
	if err != nil {
		t.Fatal(err)
	}
	log := strings.Join(s.log, "\n")
	if !strings.Contains(log, "come from is 40.") || !strings.Contains(log, "(avx2) has no VNNI") {
		t.Errorf("the log:\n%s", log)
	}
	s, _, err = execute(t, map[string]any{"reduced_range": true}, in, old)
	if err != nil || strings.Contains(strings.Join(s.log, "\n"), "VNNI") {
		t.Errorf("with a reduced range: %v, %v", err, s.log)
	}
}

// fragile tells bright from dark well in float32. Of its two convolutions the second has weights of which, with one scale for all, those that matter round
// to 0.
func fragile(t *testing.T) *onnx.Model {
	b := onnx.NewBuilder("fragile", 3, 16, 16)
	ones := func(n int, v float32) []float32 {
		w := make([]float32, n)
		for i := range w {
			w[i] = v
		}
		return w
	}
	x := b.Node("Relu", "r", []string{b.Node("Conv", "sturdy", []string{onnx.InputName, b.Tensor("w1", []int{2, 3, 1, 1}, ones(6, 1.0/3)), b.Tensor("b1", []int{2}, []float32{0, 5})})})
	// Output 0 is the brightness, made small; output 1 is the constant 5 minus its mean, scaled up.
	x = b.Node("Conv", "fragile", []string{x, b.Tensor("w2", []int{2, 2, 1, 1}, []float32{0.001, 0, 0, 1000}), b.Tensor("b2", []int{2}, []float32{-0.0005, -5000})})
	x = b.Node("Flatten", "f", []string{b.Node("GlobalAveragePool", "p", []string{x})}, onnx.IntOf("axis", 1))
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("w3", []int{2, 2}, []float32{-1000, 1000, 0, 0})})
	m, err := b.Model(2, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestFallBack: the accuracy drops until the one node that costs it stays in float.
func TestFallBack(t *testing.T) {
	needLibrary(t)
	in := inputs(t, t.TempDir(), fragile(t))
	args := map[string]any{"per_channel": false, "slow_in_float": false}
	s, _, err := execute(t, args, in, device())
	if err != nil {
		t.Fatal(err)
	}
	if s.values["accuracy_before"] != 1.0 || s.values["accuracy"].(float64) > 0.8 || len(s.values["kept"].([]string)) != 0 {
		t.Fatalf("without a limit: %v", s.values)
	}
	args["max_accuracy_drop"] = 0.01
	s, out, err := execute(t, args, in, device())
	if err != nil {
		t.Fatal(err)
	}
	kept := s.values["kept"].([]string)
	if s.values["accuracy"].(float64) < 0.99 || len(kept) == 0 || kept[0] != "fragile" {
		t.Errorf("with a limit: %v", s.values)
	}
	page, err := os.ReadFile(filepath.Join(out, "report"))
	if err != nil || !strings.Contains(string(page), "In float") || !strings.Contains(string(page), "fragile") {
		t.Errorf("the report does not name what stays in float (%v)", err)
	}
}

func TestTablesAndTargets(t *testing.T) {
	needLibrary(t)
	in := inputs(t, t.TempDir(), fresh(t, "resnet8"))
	s, out, err := execute(t, map[string]any{"target": "tensorrt", "images": 10.0}, in, device())
	if err != nil {
		t.Fatal(err)
	}
	if s.values["calibration_images"] != 10 {
		t.Errorf("%v images", s.values["calibration_images"])
	}
	m, err := onnx.Load(filepath.Join(out, "model"))
	if err != nil {
		t.Fatal(err)
	}
	if findings := qdq.Lint(m); len(findings) > 0 {
		t.Errorf("TensorRT would not fuse everything: %v", findings)
	}
	table, err := os.ReadFile(filepath.Join(out, "ranges"))
	if err != nil || !strings.HasPrefix(string(table), "value,low,high,scale,zero_point,type\n") || !strings.Contains(string(table), ",0,int8\n") {
		t.Errorf("ranges: %.200s (%v)", table, err)
	}
	if ratio := s.values["size_ratio"].(float64); math.Abs(ratio-0.3) > 0.1 {
		t.Errorf("size ratio %v", ratio)
	}
}

func TestEverySingleMethod(t *testing.T) {
	needLibrary(t)
	in := inputs(t, t.TempDir(), fresh(t, "vit_tiny"))
	for _, args := range []map[string]any{{"method": "dynamic"}, {"method": "bf16", "exclude": []any{"*"}}, {"smooth": 0.5, "images": 8.0, "calibrator": "minmax"}} {
		delete(in, "validation")
		s, _, err := execute(t, args, in, device())
		if err != nil {
			t.Errorf("%v: %v", args, err)
		} else if s.values["accuracy"] != nil {
			t.Errorf("%v: an accuracy without validation", args)
		}
	}
}

// lossy tells bright from dark by one weight that rounds to 0 with the scale of another, as little as it takes.
func lossy(t *testing.T) *onnx.Model {
	b := onnx.NewBuilder("lossy", 3, 16, 16)
	x := b.Node("Relu", "r", []string{b.Node("Conv", "sturdy", []string{onnx.InputName, b.Tensor("w1", []int{2, 3, 1, 1}, []float32{0.33, 0.33, 0.33, 0, 0, 0}), b.Tensor("b1", []int{2}, []float32{0, 5})})})
	x = b.Node("Conv", "fragile", []string{x, b.Tensor("w2", []int{2, 2, 1, 1}, []float32{3.5, 0, 0, 1000}), b.Tensor("b2", []int{2}, []float32{0, -5000})})
	x = b.Node("Flatten", "f", []string{b.Node("GlobalAveragePool", "p", []string{x})}, onnx.IntOf("axis", 1))
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("w3", []int{2, 2}, []float32{-1, 1, 0, 0}), b.Tensor("b3", []int{2}, []float32{1.75, -1.75})})
	m, err := b.Model(2, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// rescue is a training that brings the lossy model back, with more in its block.
func rescue(more ...stages.BlockArgs) stages.Args {
	args := trainingArgs(map[string]any{"epochs": 12.0, "learning_rate": 0.05, "freeze_scales": 0.02})
	args.Values["per_channel"], args.Values["slow_in_float"] = false, false
	args.Blocks[0].Args.Blocks = append([]stages.BlockArgs{{Type: "optimizer", Label: "adamw"}}, more...)
	return args
}

// TestTrainingBringsAccuracyBack: with one scale for all weights of a layer the model is lost, and training with the rounding in place brings it back.
func TestTrainingBringsAccuracyBack(t *testing.T) {
	needLibrary(t)
	in := withData(t, t.TempDir(), lossy(t))
	s, out, err := executeArgs(t, rescue(), in, device())
	if err != nil {
		t.Fatal(err)
	}
	v := s.values
	if v["accuracy_before"] != 1.0 || v["accuracy_calibrated"].(float64) > 0.8 || v["accuracy"].(float64) < 0.95 {
		t.Errorf("accuracy %v, after calibration %v, after training %v", v["accuracy_before"], v["accuracy_calibrated"], v["accuracy"])
	}
	page, err := os.ReadFile(filepath.Join(out, "report"))
	if err != nil || !strings.Contains(string(page), "after calibration alone") || !strings.Contains(string(page), "stayed as they were then") {
		t.Errorf("the report does not tell of the training (%v)", err)
	}
}

// TestTrainingRecipes: averages of weights and rates of layers reach a training with the rounding in place. What keeps the weights where they were keeps the model lost.
func TestTrainingRecipes(t *testing.T) {
	needLibrary(t)
	in := withData(t, t.TempDir(), lossy(t))
	block := func(name string, values map[string]any) stages.BlockArgs {
		return stages.BlockArgs{Type: name, Args: stages.Args{Values: values}}
	}
	for name, c := range map[string]struct {
		block   stages.BlockArgs
		rescued bool
	}{
		"average of the end":       {block("ema", map[string]any{"decay": 0.5}), true},
		"average of the start":     {block("ema", map[string]any{"decay": 0.9999999, "rising": false}), false},
		"means of the last epochs": {block("swa", map[string]any{"from": 11.0}), true},
		"the layer's rate":         {block("rates", map[string]any{"match": map[string]any{"sturdy": 0.0}}), true},
		"no rate of the layer":     {block("rates", map[string]any{"match": map[string]any{"fragile": 0.0, "w2*": 0.0}}), false},
	} {
		s, _, err := executeArgs(t, rescue(c.block), in, device())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, calibrated := s.values["accuracy"].(float64), s.values["accuracy_calibrated"].(float64)
		if c.rescued && got < 0.95 || !c.rescued && got != calibrated {
			t.Errorf("%s: accuracy %v, %v after calibration", name, got, calibrated)
		}
	}
}

// TestTrainingFallsBack: a training that does not bring the accuracy back leaves in float what costs most, with the weights that it came to.
func TestTrainingFallsBack(t *testing.T) {
	needLibrary(t)
	in := withData(t, t.TempDir(), fragile(t))
	args := trainingArgs(map[string]any{"epochs": 1.0, "learning_rate": 1e-12})
	args.Values["per_channel"], args.Values["slow_in_float"], args.Values["max_accuracy_drop"] = false, false, 0.01
	s, out, err := executeArgs(t, args, in, device())
	if err != nil {
		t.Fatal(err)
	}
	kept := s.values["kept"].([]string)
	if s.values["accuracy_calibrated"].(float64) > 0.8 || s.values["accuracy"].(float64) < 0.99 || !slices.Contains(kept, "fragile") {
		t.Errorf("values %v", s.values)
	}
	m, err := onnx.Load(filepath.Join(out, "model"))
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := m.Tensor("w2"); !ok || len(w.Data) != 4 {
		t.Error("the fragile layer has no weights in float")
	}
	page, err := os.ReadFile(filepath.Join(out, "report"))
	if err != nil || !strings.Contains(string(page), "In float") {
		t.Errorf("the report does not name what stays in float (%v)", err)
	}
}

// A training that is killed goes on from its checkpoint, to the same bytes.
func TestKilledTrainings(t *testing.T) {
	needLibrary(t)
	args := trainingArgs(map[string]any{"epochs": 4.0})
	args.Values["max_accuracy_drop"] = 0.5
	args.Blocks[0].Args.Blocks = []stages.BlockArgs{{Type: "ema", Args: stages.Args{Values: map[string]any{"decay": 0.9}}}}
	stagetest.Killed(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device(), Args: args,
		Inputs: func(t *testing.T, dir string) map[string][]stages.Input { return withData(t, dir, fresh(t, "resnet8")) }}, 4)
}

func TestBadTraining(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	good := withData(t, dir, fresh(t, "resnet8"))
	without := inputs(t, t.TempDir(), fresh(t, "resnet8"))
	ptqArgs := trainingArgs(nil)
	ptqArgs.Values["method"] = "ptq"
	rounding := trainingArgs(nil)
	rounding.Values["adaround"] = true
	bounded := trainingArgs(nil)
	bounded.Values["hard_swish"] = "bounded"
	mean := trainingArgs(nil)
	mean.Values["mean"], mean.Values["std"] = []any{0.5, 0.5, 0.5}, []any{0.5, 0.5, 0.5}
	for name, c := range map[string]struct {
		args stages.Args
		in   map[string][]stages.Input
		want string
	}{
		"no data":          {trainingArgs(nil), without, "Connect labelled images to \"data\""},
		"data without qat": {stages.Args{}, good, "Only method = \"qat\" trains on"},
		"block alone":      {ptqArgs, without, "Only method = \"qat\" trains"},
		"adaround":         {rounding, good, "moves weights and biases itself"},
		"bounded":          {bounded, good, "Remove \"hard_swish\""},
		"mean":             {mean, good, "normalise their input themselves"},
		"batch":            {trainingArgs(map[string]any{"batch": 100.0}), good, "more than the 64 images"},
		"diverges":         {trainingArgs(map[string]any{"learning_rate": 1e30}), good, "Lower its learning_rate"},
	} {
		_, _, err := executeArgs(t, c.args, c.in, device())
		var p stages.Problem
		if !errors.As(err, &p) || !strings.Contains(p.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
