package evaluate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/stages"
)

func number(t *testing.T, v any) float64 {
	t.Helper()
	f, ok := v.(float64)
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	return f
}

// The lines A and B hold the images 0, 2, 4 and 1, 3; image 5 has no meta data. The mistakes are 4 and 5.
func TestSlices(t *testing.T) {
	s, out, err := run(t, t.Context(), inputs(t, t.TempDir(), true), map[string]any{"slices": []any{"line"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	by := s.values["per_slice"].(map[string]any)["line"].(map[string]any)
	for value, want := range map[string][2]float64{"A": {3, 2.0 / 3}, "B": {2, 1}, none: {1, 0}} {
		got := by[value].(map[string]any)
		if float64(got["images"].(int)) != want[0] || number(t, got["accuracy"]) != want[1] {
			t.Errorf("%s: %v, want %v", value, got, want)
		}
	}
	if number(t, s.values["worst_slice_accuracy"]) != 0 {
		t.Errorf("worst %v", s.values["worst_slice_accuracy"])
	}
	html := read(t, out, "report")
	for _, want := range []string{"line = (none)", "Lost: only the baseline was right", "Gained: only the model is right", "was cat"} {
		if want == "Lost: only the baseline was right" {
			if strings.Contains(html, want) {
				t.Error("nothing was lost")
			}
			continue
		}
		if !strings.Contains(html, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	_, _, err = run(t, t.Context(), inputs(t, t.TempDir(), false), map[string]any{"slices": []any{"camera"}}, nil)
	var p stages.Problem
	if !errors.As(err, &p) || !strings.Contains(p.Detail, `No image has anything under "camera" in its meta data. The first has line.`) {
		t.Errorf("%v", err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBaselineAndIntervals(t *testing.T) {
	s, out, err := run(t, t.Context(), inputs(t, t.TempDir(), true), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The same answers for 0, 1 and 5; two of the changed ones are gained, none lost: 2 · ½² = 0.5.
	if number(t, s.values["agreement"]) != 0.5 || math.Abs(number(t, s.values["mcnemar"])-0.5) > 1e-12 {
		t.Errorf("agreement %v, McNemar %v", s.values["agreement"], s.values["mcnemar"])
	}
	if number(t, s.values["size_ratio"]) != 1 {
		t.Errorf("size ratio %v", s.values["size_ratio"])
	}
	for name, v := range map[string]any{"accuracy": s.values["accuracy"], "f1": s.values["f1"], "accuracy_drop": s.values["accuracy_drop"], "loss": s.values["loss"]} {
		ends := s.values["intervals"].(map[string]any)[name].([]any)
		if low, high := number(t, ends[0]), number(t, ends[1]); !(low < number(t, v) && number(t, v) < high) {
			t.Errorf("%s = %v is not within %v", name, v, ends)
		}
	}
	var metrics struct {
		Classes []struct {
			Class string
			ROC   struct{ X, Y []float64 }
		}
		Scaling struct{ Temperature float64 }
	}
	if err := json.Unmarshal([]byte(read(t, out, "metrics")), &metrics); err != nil {
		t.Fatal(err)
	}
	// Of the hens, image 3 ties with a dog, image 5 comes after it and before no other.
	if roc := metrics.Classes[2].ROC; fmt.Sprint(roc.X, roc.Y) != "[0 0.25 0.25 1] [0 0.5 1 1]" || metrics.Scaling.Temperature <= 0 {
		t.Errorf("%+v", metrics)
	}
	s, _, err = run(t, t.Context(), inputs(t, t.TempDir(), false), map[string]any{"resamples": 0.0}, nil)
	if err != nil || len(s.values["intervals"].(map[string]any)) != 0 || s.values["agreement"] != nil {
		t.Errorf("%v, %v", s.values, err)
	}
}

// An image of several classes is right when all of them are answered and no other.
func TestSeveralClasses(t *testing.T) {
	dir := t.TempDir()
	info := dataset.Info{Task: dataset.MultiLabel, Classes: classNames, Height: 1, Width: 3, Channels: 1}
	path := filepath.Join(dir, "data")
	w, err := dataset.Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []dataset.Sample{
		{Labels: []int32{0, 1}, Image: []byte{255, 255, 0}}, // right
		{Labels: []int32{2}, Image: []byte{0, 0, 255}},      // right
		{Labels: []int32{}, Image: []byte{0, 0, 0}},         // right: nothing
		{Labels: []int32{0, 2}, Image: []byte{255, 200, 0}}, // takes 1 for 2
	} {
		s.ID, s.Label, s.Height, s.Width = fmt.Sprint(i), dataset.NoLabel, 1, 3
		if err := w.AddSample(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sharp := brightest(classNames)
	for i := range sharp.Weights {
		sharp.Weights[i][i] = 20
	}
	model := sharp.Write(t, dir, "m.onnx")
	s, out, err := run(t, t.Context(), map[string][]stages.Input{"data": input(path, artifact.Dataset), "model": input(model, artifact.Model), "baseline": input(model, artifact.Model)},
		map[string]any{"threshold": 0.6, "probabilities": true, "corruptions": []any{"darkness"}, "views": []any{"upside_down"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"accuracy": 0.75, "hamming_loss": 2.0 / 12, "temperature": nil, "accuracy_top5": nil, "agreement": 1.0, "accuracy_drop": 0.0, "f1_micro": 2 * 4.0 / (5 + 5)} {
		if got := s.values[name]; got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if rows := strings.Split(read(t, out, "predictions"), "\n"); !strings.HasPrefix(rows[1], "0,cat|dog,cat|dog,true,0.5") || !strings.HasPrefix(rows[4], `3,"cat|<hen> & ""egg""",cat|dog,false,0.5`) {
		t.Errorf("%q", rows)
	}
	if html := read(t, out, "report"); !strings.Contains(html, "Hamming loss") || strings.Contains(html, "Confusion matrix") {
		t.Error("the report is for images of one class")
	}
}

func TestUnlabelled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data")
	w, err := dataset.Create(path, dataset.Info{Task: dataset.Detection, Classes: classNames, Height: 1, Width: 3, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AddSample(dataset.Sample{ID: "a", Label: dataset.NoLabel, Image: make([]byte, 3), Height: 1, Width: 3}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err = run(t, t.Context(), map[string][]stages.Input{"data": input(path, artifact.Dataset), "model": input(brightest(classNames).Write(t, dir, "m.onnx"), artifact.Model)}, nil, nil)
	var p stages.Problem
	if !errors.As(err, &p) || p.Arg != "data" || !strings.Contains(p.Detail, "The dataset is for detection and not every image has a class") {
		t.Errorf("%v", err)
	}
}

// A mirrored look turns the first class's pixel into the last one's: both looks together cannot tell them apart.
func TestViews(t *testing.T) {
	s, _, err := run(t, t.Context(), inputs(t, t.TempDir(), false), map[string]any{"views": []any{"mirrored"}, "top_k": []any{2.0}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Cats and hens are now answered alike, the first of equal ones: 0 and 1 right, 2 right, 3 and 5 cat, 4 cat.
	if got := number(t, s.values["accuracy"]); got != 0.5 {
		t.Errorf("accuracy %v", got)
	}
	if got := crop(mirror([]byte{1, 2, 3, 4}, 1, 4, 1), 1, 4, 1, 0, 0, 1, 4); !bytes.Equal(got, []byte{4, 3, 2, 1}) {
		t.Errorf("mirrored %v", got)
	}
	if got := upsideDown([]byte{1, 2, 3, 4}, 2, 2); !bytes.Equal(got, []byte{3, 4, 1, 2}) {
		t.Errorf("upside down %v", got)
	}
	if got := crop([]byte{0, 10, 20, 30, 40, 50, 60, 70}, 1, 8, 1, 0, 2, 1, 4); !bytes.Equal(got, []byte{20, 23, 28, 33, 38, 43, 48, 50}) {
		t.Errorf("cropped %v", got)
	}
}

func TestTiming(t *testing.T) {
	e := &evaluate{}
	args := stages.Args{Blocks: []stages.BlockArgs{{Type: "latency", Args: stages.Args{Values: map[string]any{"batches": []any{1.0, 3.0}, "thread_counts": []any{1.0, 2.0}, "runs": 5.0}}}}}
	schema, problems := stages.Decode(e, args, nil)
	if stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	needLibrary(t)
	s := &said{values: map[string]any{}, measured: map[string]float64{}}
	job := (&stages.Job{Inputs: inputs(t, t.TempDir(), false), OutDir: t.TempDir(), Device: device(), Resources: stages.Resources{CPUs: 1}}).WithReporter(s)
	if err := e.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	for _, m := range schema.Measurements {
		if s.measured[m.Name] <= 0 {
			t.Errorf("%s was not measured: %v", m.Name, s.measured[m.Name])
		}
	}
	if s.measured["latency_p99_batch3_threads2"] < s.measured["latency_batch3_threads2"] {
		t.Error("the 99th percentile lies below the median")
	}
	if _, problems := stages.Decode(&evaluate{}, stages.Args{Blocks: []stages.BlockArgs{{Type: "latency", Args: stages.Args{Values: map[string]any{"batches": []any{1.0, 1.0}}}}}}, nil); len(problems) != 1 || problems[0].Summary != "Repeated number" {
		t.Errorf("%v", problems)
	}
}

// Every corruption spoils more the higher its severity, the same way every time, and never writes to its argument.
func TestCorruptions(t *testing.T) {
	const h, w = 24, 20
	for _, channels := range []int{1, 3} {
		pixels := make([]byte, h*w*channels)
		random := dataset.NewStream(4, "test")
		for i := range pixels {
			pixels[i] = byte(40 + random.Intn(170))
		}
		original := slices.Clone(pixels)
		for _, c := range corruptions {
			before := 0.0
			for severity, strength := range c.strengths {
				stream := dataset.NewStream(0, "test", 1)
				got := c.spoil(pixels, h, w, channels, strength, stream)
				if !bytes.Equal(pixels, original) {
					t.Fatalf("%s changed its argument", c.name)
				}
				if !bytes.Equal(got, c.spoil(pixels, h, w, channels, strength, stream)) {
					t.Errorf("%s gives other pixels the second time", c.name)
				}
				off := 0.0
				for i := range got {
					off += math.Abs(float64(got[i])-float64(pixels[i])) / float64(len(got))
				}
				if off < before*0.99 || off == 0 && severity == 4 {
					t.Errorf("%s with %d channels: severity %d is off by %v, the one before by %v", c.name, channels, severity+1, off, before)
				}
				before = off
			}
		}
	}
}

// The shares and deviations are those that the table says.
func TestCorruptionFormulas(t *testing.T) {
	grey := bytes.Repeat([]byte{128}, 100*100)
	s := dataset.NewStream(0, "test")
	noisy := gaussianNoise(grey, 100, 100, 1, 0.08, s)
	variance := 0.0
	for _, v := range noisy {
		variance += (float64(v) - 128) * (float64(v) - 128) / float64(len(noisy))
	}
	if deviation := math.Sqrt(variance) / 255; math.Abs(deviation-0.08) > 0.003 {
		t.Errorf("the noise's deviation is %v", deviation)
	}
	changed := 0
	for _, v := range impulseNoise(grey, 100, 100, 1, 0.09, s) {
		if v == 0 || v == 255 {
			changed++
		}
	}
	if share := float64(changed) / float64(len(grey)); math.Abs(share-0.09) > 0.01 {
		t.Errorf("impulses change %v", share)
	}
	if got := shift([]byte{0, 200}, 1, 2, 1, 0.3, s); !bytes.Equal(got, []byte{77, 255}) {
		t.Errorf("brighter %v", got)
	}
	if got := contrast([]byte{0, 100, 8, 200, 100, 8}, 1, 2, 3, 0.1, s); !bytes.Equal(got, []byte{90, 100, 8, 110, 100, 8}) {
		t.Errorf("contrast %v", got)
	}
	if got := pixelate([]byte{0, 10, 20, 30}, 1, 4, 1, 0.5, s); !bytes.Equal(got, []byte{5, 5, 25, 25}) {
		t.Errorf("pixelated %v", got)
	}
	if got := motionBlur([]byte{0, 0, 0, 200, 0, 0, 0}, 1, 7, 1, 64, s); !bytes.Equal(got, []byte{0, 0, 50, 100, 50, 0, 0}) {
		t.Errorf("moved %v", got) // the stretch is 64·7/224 = 2 pixels
	}
	// A Gaussian of deviation σ has the variance σ² whatever it blurs: that of the answer to a single white row.
	line := make([]byte, 224*224)
	for x := range 224 {
		line[112*224+x] = 255
	}
	blurred := gaussianBlur(line, 224, 224, 1, 3, s)
	sum, square := 0.0, 0.0
	for y := range 224 {
		v := float64(blurred[y*224+100])
		sum += v
		square += v * float64((y-112)*(y-112))
	}
	if sigma := math.Sqrt(square / sum); math.Abs(sigma-3) > 0.2 {
		t.Errorf("the blur's deviation is %v", sigma)
	}
}

// An engine takes the model's place where it can run, and says what is missing where it cannot.
func TestEngine(t *testing.T) {
	for _, c := range []struct {
		connected map[string]bool
		want      string
	}{
		{map[string]bool{"data": true}, "Connect \"model\" to a model, or \"engine\""},
		{map[string]bool{"data": true, "model": true, "engine": true}, "judges a model or an engine"},
		{map[string]bool{"data": true, "engine": true, "baseline": true}, ""},
	} {
		_, problems := stages.Decode(Kind.New(), stages.Args{}, c.connected)
		if c.want == "" && len(problems) == 0 {
			continue
		}
		if len(problems) != 1 || !strings.Contains(problems[0].Detail, c.want) {
			t.Errorf("%v: %v, want %q", c.connected, problems, c.want)
		}
	}
	judged := func(files ...string) error {
		dir := t.TempDir()
		in := inputs(t, dir, false)
		delete(in, "model")
		engine := filepath.Join(dir, "engine")
		if err := os.Mkdir(engine, 0o777); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(engine, name), []byte("engine"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		in["engine"] = input(engine, artifact.Engine)
		e := &evaluate{}
		if _, problems := stages.Decode(e, stages.Args{}, map[string]bool{"data": true, "engine": true}); stages.HasErrors(problems) {
			t.Fatal(problems)
		}
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o777); err != nil {
			t.Fatal(err)
		}
		return e.Run(t.Context(), &stages.Job{Inputs: in, OutDir: out, Device: stages.Device{Backend: "cpu", Threads: 1}})
	}
	if err := judged("build.json"); err == nil || !strings.Contains(err.Error(), "its build was skipped") {
		t.Errorf("an engine that was skipped: %v", err)
	}
	if _, err := ort.TensorRTProvider(); err == nil {
		t.Skip("this machine has ONNX Runtime's TensorRT provider")
	}
	var p stages.Problem
	if err := judged("build.json", "engine.onnx", "engine.plan"); !errors.As(err, &p) || !p.Lacking || !strings.Contains(p.Detail, "TensorRT provider") {
		t.Errorf("without the provider: %v", err)
	}
}
