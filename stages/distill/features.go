package distill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
)

// pair is a value of the student and the value of the teacher that it is to be like.
type pair struct {
	student, teacher string // values
	from, to         []int  // their dimensions for one image: (C, H, W) or (D)
}

func (p pair) String() string {
	return fmt.Sprintf("%s (%s) from %s (%s)", p.student, sizes(p.from), p.teacher, sizes(p.to))
}

func sizes(dims []int) string {
	var parts []string
	for _, d := range dims {
		parts = append(parts, fmt.Sprint(d))
	}
	return strings.Join(parts, "×")
}

// looking shows the teacher's inner values of the pairs.
type looking struct {
	probe *infer.Probe
	pairs []pair
	maps  bool // attention maps, not the values themselves
	batch int  // images that the teacher takes at once
}

// inputName is what the teacher's part of a pair is called in a batch.
func inputName(i int) string { return fmt.Sprintf("teacher.%d", i) }

// look finds the pairs that the method compares, and opens the teacher so that they are seen.
func (w *work) look(student *onnx.Model, f *featureArgs, mapsOnly bool) (*looking, error) {
	if len(w.teachers) != 1 {
		return nil, stages.Problemf("method", "Several teachers", "Features are compared with those of one teacher, and there are %d. Use one, or method \"soft_targets\".", len(w.teachers))
	}
	t := w.teachers[0]
	teacher, err := onnx.Load(t.in.Path)
	if err != nil {
		return nil, stages.Problemf("teacher", "Teacher does not fit", "The inside of teacher %s cannot be seen: %v. Use method \"soft_targets\", which needs its answers alone.", t.name, err)
	}
	l := &looking{maps: mapsOnly}
	inStudent, err := w.layersOf(student)
	if err != nil {
		return nil, stages.Problemf("model", "Student does not fit", "The sizes of the student's features cannot be told: %v.", err)
	}
	inTeacher, err := w.layersOf(teacher)
	if err != nil {
		return nil, stages.Problemf("teacher", "Teacher does not fit", "The sizes of the features of teacher %s cannot be told: %v. Export it for images of a fixed size.", t.name, err)
	}
	if l.pairs, err = f.pairs(inStudent, inTeacher, mapsOnly); err != nil {
		return nil, err
	}
	values := []string{teacher.Output().Name}
	for _, p := range l.pairs {
		values = append(values, p.teacher)
		w.note("the student learns %s", p)
	}
	return l, w.openProbe(l, teacher, values)
}

// openProbe opens the teacher with its answers and inner values as outputs.
func (w *work) openProbe(l *looking, teacher *onnx.Model, values []string) error {
	b, err := surgery.Edit(teacher).Expose(values)
	if err != nil {
		return err
	}
	path := filepath.Join(w.job.ScratchDir, "teacher.onnx")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		return fmt.Errorf("writing the teacher with its inner values: %w", err)
	}
	info := w.images
	l.probe, err = infer.OpenProbe(path, values, infer.Options{Threads: max(1, w.job.Device.Threads), Channels: info.Channels, Height: info.Height, Width: info.Width})
	err = errors.Join(err, os.Remove(path)) // it is read
	var bad *infer.ModelError
	if errors.As(err, &bad) {
		return stages.Problemf("teacher", "Teacher does not fit", "The inside of teacher %s cannot be seen: %s.", w.teachers[0].name, bad.Detail)
	}
	return err
}

// layers are the values of a graph that may be compared, in order, with their dimensions for one image.
type layers struct {
	names []string
	dims  map[string][]int
}

func (w *work) layersOf(m *onnx.Model) (*layers, error) {
	shapes, err := surgery.Edit(m).Shapes()
	if err != nil {
		return nil, err
	}
	l := &layers{dims: map[string][]int{}}
	for _, n := range m.Graph().Node {
		for _, name := range n.Output {
			v := shapes.Of(name)
			if !v.Ranked || !v.IsFloat() || len(v.Shape) != 2 && len(v.Shape) != 4 {
				continue
			}
			dims, known := []int{}, true
			for _, d := range v.Shape[1:] {
				size, ok := d.At(1)
				known = known && ok && !d.Batch
				dims = append(dims, size)
			}
			if !known {
				continue
			}
			l.names, l.dims[name] = append(l.names, name), dims
		}
	}
	if len(l.names) == 0 {
		return nil, errors.New("no inner value has a size that follows from the model")
	}
	return l, nil
}

// last returns the last feature map of each height and width above 1×1, in order of the graph.
func (l *layers) last() []string {
	at := map[[2]int]string{}
	for _, name := range l.names {
		if d := l.dims[name]; len(d) == 3 && d[1]*d[2] > 1 {
			at[[2]int{d[1], d[2]}] = name
		}
	}
	chosen := slices.Collect(maps.Values(at))
	return slices.DeleteFunc(slices.Clone(l.names), func(name string) bool { return !slices.Contains(chosen, name) })
}

// pairs are those that the user named, or what the two graphs have of one size: all of them for attention, the middle one for hints.
func (f *featureArgs) pairs(student, teacher *layers, mapsOnly bool) ([]pair, error) {
	var out []pair
	for _, name := range slices.Sorted(maps.Keys(f.layers)) {
		p := pair{name, f.layers[name], student.dims[name], teacher.dims[f.layers[name]]}
		switch {
		case p.from == nil:
			return nil, unknownLayer("student", name, student)
		case p.to == nil:
			return nil, unknownLayer("teacher", p.teacher, teacher)
		case len(p.from) != len(p.to) || !slices.Equal(p.from[1:], p.to[1:]) || mapsOnly && len(p.from) != 3:
			return nil, stages.Problemf("method", "Layers of different sizes", "%q of the student is %s and %q of the teacher %s. They must be feature maps of one height and width%s.", name, sizes(p.from), p.teacher, sizes(p.to),
				map[bool]string{true: "", false: ", or both vectors"}[mapsOnly])
		}
		out = append(out, p)
	}
	if len(out) > 0 {
		return out, nil
	}
	for _, s := range student.last() {
		for _, t := range teacher.last() {
			if a, b := student.dims[s], teacher.dims[t]; slices.Equal(a[1:], b[1:]) {
				out = append(out, pair{s, t, a, b})
			}
		}
	}
	if len(out) == 0 {
		return nil, stages.Problemf("method", "No layers of one size", "Student and teacher have no feature maps of one height and width: the last ones of each size are %s in the student and %s in the teacher. Name what to compare with \"layers\", or use method \"soft_targets\".",
			student.list(), teacher.list())
	}
	if !mapsOnly {
		middle := len(out) / 2
		out = out[middle : middle+1]
	}
	return out, nil
}

func unknownLayer(whose, name string, l *layers) error {
	return stages.Problemf("method", "Unknown layer", "The %s has no value %q whose size is known. The last feature maps of each size are %s.", whose, name, l.list())
}

func (l *layers) list() string {
	var parts []string
	for _, name := range l.last() {
		parts = append(parts, fmt.Sprintf("%q (%s)", name, sizes(l.dims[name])))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// project returns the student with a projection of each pair's value to the teacher's channels, and the names of their results.
func (l *looking) project(student *onnx.Model, seed uint64) (*onnx.Model, error) {
	var taps []zoo.Tap
	for _, p := range l.pairs {
		taps = append(taps, zoo.Tap{Value: p.student, In: p.from[0], Out: p.to[0], Map: len(p.from) == 3})
	}
	return zoo.Tapped(student, taps, seed)
}

// featurePairs are the pairs as the objective has them; projected says that the student's values are projections.
func (l *looking) featurePairs() []learn.FeaturePair {
	var out []learn.FeaturePair
	for i, p := range l.pairs {
		if l.maps {
			out = append(out, learn.FeaturePair{Student: p.student, Input: inputName(i), Dims: p.from})
			continue
		}
		out = append(out, learn.FeaturePair{Student: fmt.Sprintf("hint.%d", i), Input: inputName(i), Dims: p.to})
	}
	return out
}

// width is how many numbers the batch brings of pair i for one image.
func (l *looking) width(i int) int {
	n := 1
	for k, d := range l.pairs[i].to {
		if k > 0 || !l.maps {
			n *= d
		}
	}
	return n
}

// see returns the teacher's logits of n images (n, C, H, W), and what is compared of each pair, (n, …).
func (l *looking) see(ctx context.Context, images []float32, n int) (logits []float32, features [][]float32, err error) {
	features = make([][]float32, len(l.pairs))
	size := len(images) / n
	step := n
	if fixed := l.probe.Batch(); fixed > 0 {
		step = fixed
	}
	for first := 0; first < n; first += step {
		count := min(step, n-first)
		part := images[first*size : (first+count)*size]
		if count < step { // filled up; those answers are cut off
			part = append(slices.Clone(part), make([]float32, (step-count)*size)...)
		}
		err := l.probe.Run(ctx, part, step, func(i int, dims []int64, data []float32) {
			width := len(data) / int(dims[0])
			data = data[:width*count]
			switch {
			case i == 0:
				logits = append(logits, data...)
			case l.maps:
				features[i-1] = append(features[i-1], attentionMaps(data, count, int(dims[1]))...)
			default:
				features[i-1] = append(features[i-1], data...)
			}
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return logits, features, nil
}

// attentionMaps are the means over the channels of the squares of features (n, C, H, W): (n, H, W).
func attentionMaps(data []float32, n, channels int) []float32 {
	places := len(data) / (n * channels)
	out := make([]float32, n*places)
	for i := range n {
		to := out[i*places : (i+1)*places]
		for c := range channels {
			for k, v := range data[(i*channels+c)*places : (i*channels+c+1)*places] {
				to[k] += v * v
			}
		}
		for k := range to {
			to[k] /= float32(channels)
		}
	}
	return out
}
