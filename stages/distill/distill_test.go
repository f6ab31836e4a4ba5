package distill

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

var device = stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}

var colours = []string{"red", "green", "blue"}

func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

// writeImages makes noise in which one channel, that of the image's class, is brighter; a label is wrong for a share of the images.
func writeImages(t *testing.T, path string, info dataset.Info, n int, seed uint64, wrong float64) stages.Input {
	t.Helper()
	info.Channels = 3
	if info.Height == 0 {
		info.Height, info.Width = 16, 16
	}
	w, err := dataset.Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := dataset.NewStream(seed, "image", uint64(i))
		class := i % 3
		image := make([]byte, info.ImageSize())
		for k := range image {
			image[k] = byte(s.In(0, 200))
			if k%3 == class {
				image[k] += 50
			}
		}
		label := int32(class)
		if s.In(0, 1) < wrong {
			label = (label + 1) % 3
		}
		if info.Task == dataset.Unlabelled {
			label = dataset.NoLabel
		}
		if err := w.Add(fmt.Sprint(i), label, image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return stages.Input{Path: path, Ref: artifact.Ref{Type: artifact.Dataset, Digest: artifact.DigestBytes([]byte(path))}}
}

// writeTeacher makes a model that knows: the logit of a class is the mean of its channel. order says which channel is whose.
func writeTeacher(t *testing.T, path string, classes []string, order ...int) stages.Input {
	t.Helper()
	return writeTeacherFor(t, 16, path, classes, order...)
}

// writeTeacherFor is writeTeacher for images of side×side.
func writeTeacherFor(t *testing.T, side int, path string, classes []string, order ...int) stages.Input {
	t.Helper()
	b := onnx.NewBuilder("teacher", 3, side, side)
	x := b.Node("Flatten", "flatten", []string{b.Node("GlobalAveragePool", "pool", []string{onnx.InputName})})
	weights := make([]float32, 3*len(order))
	for c, channel := range order {
		weights[channel*len(order)+c] = 40
	}
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("fc", []int{3, len(order)}, weights)})
	m, err := b.Model(len(order), onnx.Meta{Classes: classes})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return stages.Input{Name: filepath.Base(path), Path: path, Ref: artifact.Ref{Type: artifact.Model, Digest: artifact.DigestBytes([]byte(path))}}
}

func inputs(t *testing.T, dir string) map[string][]stages.Input {
	labelled := dataset.Info{Classes: colours}
	return map[string][]stages.Input{"data": {writeImages(t, filepath.Join(dir, "data"), labelled, 48, 1, 0)}, "validation": {writeImages(t, filepath.Join(dir, "validation"), labelled, 24, 2, 0)},
		"teacher": {writeTeacher(t, filepath.Join(dir, "teacher"), colours, 0, 1, 2)}}
}

func args(method string, values, of map[string]any) stages.Args {
	a := stages.Args{Values: map[string]any{"model": "resnet8", "epochs": 2.0, "batch": 12.0}}
	for name, v := range values {
		a.Values[name] = v
	}
	if method != "" {
		a.Blocks = []stages.BlockArgs{{Type: "method", Label: method, Args: stages.Args{Values: of}}}
	}
	return a
}

// Teacher and student see the images as the augmentation leaves them, whose size is another than that of the stored ones.
func TestAugmentationThatChangesTheSize(t *testing.T) {
	dir := t.TempDir()
	policy, err := dataset.NewPolicy([]dataset.Operation{{Name: "random_crop", Args: map[string]any{"height": 8.0, "width": 8.0}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	in := map[string][]stages.Input{"data": {writeImages(t, filepath.Join(dir, "data"), dataset.Info{Classes: colours, Policy: policy}, 48, 1, 0)},
		"validation": {writeImages(t, filepath.Join(dir, "validation"), dataset.Info{Classes: colours, Height: 8, Width: 8}, 24, 2, 0)},
		"teacher":    {writeTeacherFor(t, 8, filepath.Join(dir, "teacher"), colours, 0, 1, 2)}}
	said, err := run(t, dir, args("", map[string]any{"epochs": 4.0}, nil), in)
	if err != nil {
		t.Fatal(err)
	}
	if a := said.values["accuracy"].(float64); a < 0.7 {
		t.Errorf("accuracy %g", a)
	}
	m, err := onnx.Load(filepath.Join(dir, "out", "model"))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Input(); got.Height != 8 || got.Width != 8 {
		t.Errorf("the student takes images of %d×%d", got.Width, got.Height)
	}
}

func TestConformance(t *testing.T) {
	needLibrary(t)
	for phase, reports := range map[string]int{"with the teacher": 14, "alone": 24} {
		t.Run("stopped "+phase, func(t *testing.T) {
			stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs, Interrupt: reports, Args: args("", map[string]any{"compare": true}, nil)})
		})
	}
}

func TestKilledRuns(t *testing.T) {
	needLibrary(t)
	stagetest.Killed(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs, Args: args("", map[string]any{"compare": true, "epochs": 3.0}, nil)}, 4)
}

type said struct {
	values map[string]any
	lines  []string
}

func (s *said) Progress(stages.Progress) {}
func (s *said) Log(line string)          { s.lines = append(s.lines, line) }
func (s *said) Measure(string, float64)  {}
func (s *said) Value(name string, v any) { s.values[name] = v }

// run executes the kind in dir.
func run(t *testing.T, dir string, a stages.Args, in map[string][]stages.Input) (*said, error) {
	t.Helper()
	needLibrary(t)
	connected := map[string]bool{}
	for port := range in {
		connected[port] = true
	}
	s := Kind.New()
	if _, problems := stages.Decode(s, a, connected); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	r := &said{values: map[string]any{}}
	job := &stages.Job{Kind: "distill", Args: a, Inputs: in, OutDir: filepath.Join(dir, "out"), ScratchDir: filepath.Join(dir, "scratch"), Seed: 1, Device: device}
	if err := os.RemoveAll(job.OutDir); err != nil { // of a run before
		t.Fatal(err)
	}
	for _, d := range []string{job.OutDir, job.ScratchDir} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return r, s.Run(t.Context(), job.WithReporter(r))
}

// A student learns from a teacher's answers to images that have no labels, whatever the order of the teacher's classes.
func TestWithoutLabels(t *testing.T) {
	dir := t.TempDir()
	in := map[string][]stages.Input{
		"data":       {writeImages(t, filepath.Join(dir, "data"), dataset.Info{Task: dataset.Unlabelled}, 96, 1, 0)},
		"validation": {writeImages(t, filepath.Join(dir, "validation"), dataset.Info{Classes: colours}, 48, 2, 0)},
		"teacher":    {writeTeacher(t, filepath.Join(dir, "teacher"), []string{"blue", "other", "green", "red"}, 2, 2, 1, 0)}}
	got, err := run(t, dir, args("soft_targets", map[string]any{"epochs": 4.0}, map[string]any{"weight": 1.0, "temperature": 2.0}), in)
	if err != nil {
		t.Fatal(err)
	}
	if got.values["teacher_accuracy"] != 1.0 || got.values["accuracy"].(float64) < 0.9 || got.values["gain"] != nil {
		t.Errorf("values %v", got.values)
	}
}

// With a few labels, two of five of which are wrong, a teacher that knows makes a better student than the labels.
func TestGainOverLabels(t *testing.T) {
	for _, method := range []string{"soft_targets", "dkd"} {
		dir := t.TempDir()
		in := inputs(t, dir)
		in["data"] = []stages.Input{writeImages(t, filepath.Join(dir, "few"), dataset.Info{Classes: colours}, 60, 5, 0.4)}
		got, err := run(t, dir, args(method, map[string]any{"epochs": 6.0, "compare": true, "learning_rate": 0.03}, map[string]any{"weight": 0.5}), in)
		if err != nil {
			t.Fatal(err)
		}
		if gain, ok := got.values["gain"].(float64); !ok || gain < 0 || got.values["accuracy"].(float64) < 0.8 {
			t.Errorf("%s: values %v", method, got.values)
		}
	}
}

// Answers to images as they are come from the part that was kept; augmented images are shown to the teacher anew.
func TestAnswersAreKept(t *testing.T) {
	dir := t.TempDir()
	in := inputs(t, dir)
	asked := func(r *said) int {
		n := 0
		for _, line := range r.lines {
			if strings.HasPrefix(line, "teacher teacher answers") {
				n++
			}
		}
		return n
	}
	first, err := run(t, dir, args("", map[string]any{"epochs": 1.0}, nil), in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := run(t, dir, args("dkd", map[string]any{"epochs": 1.0}, map[string]any{"temperature": 3.0}), in)
	if err != nil {
		t.Fatal(err)
	}
	if asked(first) != 2 || asked(second) != 0 {
		t.Errorf("the teacher answered %d datasets, then %d", asked(first), asked(second))
	}
	policy, err := dataset.NewPolicy([]dataset.Operation{{Name: "horizontal_flip", Args: map[string]any{"p": 0.5}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	in["data"] = []stages.Input{writeImages(t, filepath.Join(dir, "augmented"), dataset.Info{Classes: colours, Policy: policy}, 24, 1, 0)}
	third, err := run(t, dir, args("", map[string]any{"epochs": 1.0}, nil), in)
	if err != nil || asked(third) != 0 {
		t.Errorf("of augmented images: %v, %d datasets answered", err, asked(third))
	}
}

// zooTeacher is a resnet8 that was trained on the images.
func zooTeacher(t *testing.T, dir string, in map[string][]stages.Input) stages.Input {
	t.Helper()
	if _, err := run(t, dir, args("", map[string]any{"epochs": 4.0}, nil), in); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "zoo")
	if err := os.Rename(filepath.Join(dir, "out", "model"), path); err != nil {
		t.Fatal(err)
	}
	digest, size, err := artifact.DigestFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return stages.Input{Name: "zoo", Path: path, Ref: artifact.Ref{Type: artifact.Model, Digest: digest, Size: size}}
}

// A student whose features are to be those of the teacher comes nearer to them the longer it learns, and its file has no trace of the projection.
func TestFeatures(t *testing.T) {
	dir := t.TempDir()
	in := inputs(t, dir)
	in["teacher"] = []stages.Input{zooTeacher(t, filepath.Join(dir, "first"), in)}
	policy, err := dataset.NewPolicy([]dataset.Operation{{Name: "horizontal_flip", Args: map[string]any{"p": 0.5}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	augmented := writeImages(t, filepath.Join(dir, "augmented"), dataset.Info{Classes: colours, Policy: policy}, 48, 1, 0)
	unlabelled := writeImages(t, filepath.Join(dir, "unlabelled"), dataset.Info{Task: dataset.Unlabelled}, 48, 1, 0)
	for i, c := range []struct {
		method string
		model  string
		data   stages.Input
		of     map[string]any
		says   string
	}{
		{"hints", "resnet8", in["data"][0], nil, "the student learns layer2.0.relu2 (32×8×8) from layer2.0.relu2 (32×8×8)"},
		{"hints", "mobilenet_v2", augmented, map[string]any{"soft_weight": 0.5}, "from layer2.0.relu2 (32×8×8)"},
		{"hints", "resnet8", unlabelled, map[string]any{"soft_weight": 1.0, "layers": map[string]any{"layer3.0.relu2": "layer3.0.relu2"}}, "the student learns layer3.0.relu2 (64×4×4)"},
		{"attention", "resnet8", in["data"][0], nil, "the student learns layer1.0.relu2 (16×16×16)"},
		{"attention", "resnet8", augmented, nil, "layer3.0.relu2 (64×4×4) from"},
	} {
		ports := maps.Clone(in)
		ports["data"] = []stages.Input{c.data}
		at := filepath.Join(dir, fmt.Sprint(i))
		got, err := run(t, at, args(c.method, map[string]any{"model": c.model, "epochs": 5.0, "learning_rate": 0.02}, c.of), ports)
		if err != nil {
			t.Fatalf("%s, case %d: %v", c.method, i, err)
		}
		if !slices.ContainsFunc(got.lines, func(line string) bool { return strings.Contains(line, c.says) }) {
			t.Errorf("%s, case %d: no line says %q: %q", c.method, i, c.says, got.lines)
		}
		m, err := onnx.Load(filepath.Join(at, "out", "model"))
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range m.Graph().Initializer {
			if strings.HasPrefix(tensor.Name, "hint") {
				t.Errorf("the projection is still there: %s", tensor.Name)
			}
		}
		text, err := os.ReadFile(filepath.Join(at, "out", "curves", "curves.json"))
		if err != nil {
			t.Fatal(err)
		}
		var curves learn.Curves
		if err := json.Unmarshal(text, &curves); err != nil {
			t.Fatal(err)
		}
		name := map[string]string{"hints": "hint_loss", "attention": "attention_loss"}[c.method]
		first, last := curves.Epochs[0].TrainMetrics[name], curves.Epochs[4].TrainMetrics[name]
		if !(last > 0 && last < 0.8*first) {
			t.Errorf("%s, case %d: the loss of the features went from %g to %g", c.method, i, first, last)
		}
	}
}

// The teacher's features are the same whether they come from the kept table or are computed for the batch.
func TestKeptFeatures(t *testing.T) {
	dir := t.TempDir()
	in := inputs(t, dir)
	in["teacher"] = []stages.Input{zooTeacher(t, filepath.Join(dir, "first"), in)}
	a := args("attention", nil, nil)
	if _, err := run(t, filepath.Join(dir, "kept"), a, in); err != nil {
		t.Fatal(err)
	}
	defer func(n int) { keptFeatures = n }(keptFeatures)
	keptFeatures = 0
	if _, err := run(t, filepath.Join(dir, "computed"), a, in); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "kept", "out", "model"))
	if err != nil {
		t.Fatal(err)
	}
	if computed, err := os.ReadFile(filepath.Join(dir, "computed", "out", "model")); err != nil || string(kept) != string(computed) {
		t.Errorf("the students differ: %v", err)
	}
}

// The softmax of the averaged answers is the mean of the teachers' softmax.
func TestTogether(t *testing.T) {
	a, b := []float32{3, -1, 0, 5, 5, -90}, []float32{-2, 4, 1, 0, 1, 2}
	got := together([][]float32{a, b}, 3, 4)
	for i := range 2 {
		p, q, r := logSoftmax(a[3*i:3*i+3], 4), logSoftmax(b[3*i:3*i+3], 4), logSoftmax(got[3*i:3*i+3], 4)
		for c := range 3 {
			if want := (math.Exp(p[c]) + math.Exp(q[c])) / 2; math.Abs(math.Exp(r[c])-want) > 1e-6 {
				t.Errorf("image %d, class %d: %g, want %g", i, c, math.Exp(r[c]), want)
			}
		}
	}
	if alone := together([][]float32{a}, 3, 4); !slices.Equal(alone, a) {
		t.Errorf("one teacher's answers became %v", alone)
	}
}

func TestImagesFirst(t *testing.T) {
	if got := imagesFirst([]float32{1, 10, 2, 20, 3, 30}, 2); !slices.Equal(got, []float32{1, 2, 3, 10, 20, 30}) {
		t.Error(got)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	in := inputs(t, dir)
	unlabelled := writeImages(t, filepath.Join(dir, "unlabelled"), dataset.Info{Task: dataset.Unlabelled}, 24, 1, 0)
	mix, err := dataset.NewPolicy([]dataset.Operation{{Name: "mixup", Args: map[string]any{"alpha": 1.0}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	mixed := writeImages(t, filepath.Join(dir, "mixed"), dataset.Info{Classes: colours, Policy: mix}, 24, 1, 0)
	for i, c := range []struct {
		args     stages.Args
		port     string
		input    stages.Input
		arg, say string
	}{
		{args("", nil, nil), "teacher", writeTeacher(t, filepath.Join(dir, "others"), []string{"red", "green", "yellow"}, 0, 1, 2), "teacher", `does not know 1 of the 3 classes: "blue"`},
		{args("", nil, nil), "teacher", writeTeacher(t, filepath.Join(dir, "nameless"), nil, 0, 1), "teacher", "gives 2 logits and names no classes"},
		{args("", nil, nil), "data", unlabelled, "method", "weight = 1"},
		{args("dkd", nil, nil), "data", unlabelled, "method", "no labels"},
		{args("dkd", nil, nil), "data", mixed, "method", "one class for each image"},
		{args("soft_targets", map[string]any{"compare": true}, map[string]any{"weight": 1.0}), "data", unlabelled, "compare", "nothing to learn from"},
		{args("", map[string]any{"batch": 49.0}, nil), "", stages.Input{}, "batch", "more than the 48"},
		{args("hints", nil, nil), "data", unlabelled, "method", "Write soft_weight = 1"},
		{args("hints", nil, nil), "", stages.Input{}, "method", "no feature maps of one height and width"},
		{args("attention", nil, map[string]any{"layers": map[string]any{"nowhere": "pool"}}), "", stages.Input{}, "method", `The student has no value "nowhere"`},
		{args("attention", nil, map[string]any{"layers": map[string]any{"layer1.0.relu2": "nowhere"}}), "", stages.Input{}, "method", `The teacher has no value "nowhere"`},
		{args("attention", nil, map[string]any{"layers": map[string]any{"layer1.0.relu2": "pool"}}), "", stages.Input{}, "method", "feature maps of one height and width."},
	} {
		ports := map[string][]stages.Input{}
		for port, list := range in {
			ports[port] = list
		}
		if c.port != "" {
			ports[c.port] = []stages.Input{c.input}
		}
		_, err := run(t, filepath.Join(dir, fmt.Sprint(i)), c.args, ports)
		p, ok := err.(stages.Problem)
		if !ok || p.Arg != c.arg || !strings.Contains(p.Detail, c.say) {
			t.Errorf("mistake %d: %v, want %q on %s", i, err, c.say, c.arg)
		}
	}
	for _, c := range []struct {
		args      stages.Args
		connected map[string]bool
		want      string
	}{
		{args("soft_targets", nil, map[string]any{"temperature": 0.0}), map[string]bool{"data": true, "teacher": true}, "temperature"},
		{args("", map[string]any{"compare": true}, nil), map[string]bool{"data": true, "teacher": true}, "compare"},
		{args("", nil, nil), map[string]bool{"data": true}, "teacher"},
	} {
		_, problems := stages.Decode(Kind.New(), c.args, c.connected)
		if len(problems) != 1 || !strings.Contains(fmt.Sprint(problems[0]), c.want) {
			t.Errorf("%v, want %q", problems, c.want)
		}
	}
}
