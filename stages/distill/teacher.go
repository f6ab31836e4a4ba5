package distill

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
)

// teacher is a model that is asked.
type teacher struct {
	name    string
	in      stages.Input
	session *infer.Session
	outputs int   // logits an image
	columns []int // for each class of the student the teacher's logit
}

// openTeachers opens the teachers and settles the classes of the student: those of labelled images, else of the validation images, else of the first
// teacher.
func (w *work) openTeachers() error {
	info := w.images
	for i, in := range w.job.Inputs["teacher"] {
		s, err := infer.Open(in.Path, infer.Options{Threads: max(1, w.job.Device.Threads), Channels: info.Channels, Height: info.Height, Width: info.Width})
		if err != nil {
			var bad *infer.ModelError
			if errors.As(err, &bad) {
				return stages.Problemf("teacher", "Teacher does not fit", "Teacher %s cannot answer these images: %s.", teacherName(in, i), bad.Detail)
			}
			return err
		}
		t := &teacher{name: teacherName(in, i), in: in, session: s, outputs: s.Info().Outputs}
		w.teachers = append(w.teachers, t)
		if t.outputs == 0 {
			t.outputs = len(s.Info().Classes)
		}
		if t.outputs < 2 {
			return stages.Problemf("teacher", "Teacher does not fit", "The file of teacher %s does not say how many classes it has, or has fewer than two. Export it with a fixed number of logits.", t.name)
		}
	}
	switch first := w.teachers[0]; {
	case w.labelled:
		w.classes = info.Classes
	case w.validation != nil && len(w.validation.Info().Classes) > 0:
		w.classes = w.validation.Info().Classes
	case len(first.session.Info().Classes) > 0:
		w.classes = first.session.Info().Classes
	default:
		for c := range first.outputs {
			w.classes = append(w.classes, strconv.Itoa(c))
		}
	}
	for _, t := range w.teachers {
		if err := w.matchClasses(t); err != nil {
			return err
		}
	}
	return nil
}

func teacherName(in stages.Input, i int) string {
	if in.Name == "" {
		return strconv.Itoa(i)
	}
	return in.Name
}

// matchClasses finds the teacher's logit of each class.
func (w *work) matchClasses(t *teacher) error {
	const summary = "Classes do not agree"
	names := t.session.Info().Classes
	if len(names) == 0 {
		if t.outputs != len(w.classes) {
			return stages.Problemf("teacher", summary, "Teacher %s gives %d logits and names no classes, but there are %d classes. A teacher without names must have as many, in the same order.", t.name, t.outputs, len(w.classes))
		}
		for c := range w.classes {
			t.columns = append(t.columns, c)
		}
		w.note("teacher %s names no classes; they are taken to be in the order of the images'", t.name)
		return nil
	}
	var missing []string
	for _, class := range w.classes {
		at := slices.Index(names, class)
		if at < 0 {
			missing = append(missing, strconv.Quote(class))
		}
		t.columns = append(t.columns, at)
	}
	if len(missing) > 0 {
		return stages.Problemf("teacher", summary, "Teacher %s does not know %d of the %d classes: %s. It knows %q. Train the teacher on these classes, or rename them in ingest.",
			t.name, len(missing), len(w.classes), strings.Join(missing[:min(len(missing), 5)], ", "), names)
	}
	if extra := len(names) - len(w.classes); extra > 0 {
		w.note("teacher %s knows %d classes more, which are left out of its answers", t.name, extra)
	}
	return nil
}

// pick appends the teacher's logits of the student's classes, of n images.
func (t *teacher) pick(logits []float32, n int) ([]float32, error) {
	if len(logits) != n*t.outputs {
		return nil, fmt.Errorf("teacher %s gave %d numbers for %d images instead of %d each", t.name, len(logits), n, t.outputs)
	}
	out := make([]float32, 0, n*len(t.columns))
	for i := range n {
		for _, c := range t.columns {
			v := logits[i*t.outputs+c]
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, stages.Problemf("teacher", "Teacher gives no numbers", "A logit of teacher %s is not a finite number. Evaluate the teacher on these images first.", t.name)
			}
			out = append(out, v)
		}
	}
	return out, nil
}

// together returns logits whose softmax at the temperature is the mean of those of the teachers: T·log of the mean, or the only teacher's own. All are
// (N, classes).
func together(answers [][]float32, classes int, temperature float64) []float32 {
	if len(answers) == 1 {
		return answers[0]
	}
	out := make([]float32, len(answers[0]))
	logs := make([][]float64, len(answers)) // of the probabilities of one image
	for first := 0; first < len(out); first += classes {
		for k, a := range answers {
			logs[k] = logSoftmax(a[first:first+classes], temperature)
		}
		for c := range classes {
			largest, sum := math.Inf(-1), 0.0
			for k := range logs {
				largest = max(largest, logs[k][c])
			}
			for k := range logs {
				sum += math.Exp(logs[k][c] - largest)
			}
			out[first+c] = float32(temperature * (largest + math.Log(sum/float64(len(answers)))))
		}
	}
	return out
}

func logSoftmax(logits []float32, temperature float64) []float64 {
	largest, sum := math.Inf(-1), 0.0
	for _, v := range logits {
		largest = max(largest, float64(v)/temperature)
	}
	for _, v := range logits {
		sum += math.Exp(float64(v)/temperature - largest)
	}
	out := make([]float64, len(logits))
	for i, v := range logits {
		out[i] = float64(v)/temperature - largest - math.Log(sum)
	}
	return out
}

// answersFile holds a teacher's logits, (N, outputs), float32 in little endian.
const answersFile = "logits.f32"

// answers returns the answers of all teachers to the images of a dataset as they are, (N, classes). Each teacher's are made once and kept.
func (w *work) answers(ctx context.Context, d *dataset.Dataset, ref artifact.Ref) ([]float32, error) {
	var all [][]float32
	for _, t := range w.teachers {
		part := stages.Part{Text: fmt.Sprintf("a teacher's logits, float32\nonnxruntime = %s, %s\nbatch = %d\n", ort.Version(), ort.ISA(), t.session.Info().Batch),
			Inputs: map[string]artifact.Ref{"data": ref, "teacher": t.in.Ref}}
		dir, err := w.job.Memo(ctx, part, func(ctx context.Context, dir string) error { return w.ask(ctx, t, d, dir) })
		if err != nil {
			return nil, err
		}
		logits, err := readFloats(filepath.Join(dir, answersFile))
		if err != nil {
			return nil, fmt.Errorf("reading the answers of teacher %s: %w", t.name, err)
		}
		picked, err := t.pick(logits, d.Len())
		if err != nil {
			return nil, err
		}
		all = append(all, picked)
	}
	return together(all, len(w.classes), w.body().heat()), nil
}

// ask writes a teacher's answers to every image of d.
func (w *work) ask(ctx context.Context, t *teacher, d *dataset.Dataset, dir string) error {
	w.job.Logf("teacher %s answers %d images", t.name, d.Len())
	loader, err := dataset.NewLoader(d, dataset.LoaderOptions{Batch: t.session.Info().Batch, Workers: 1, Layout: dataset.NCHW})
	if err != nil {
		return err
	}
	var b []byte
	done := 0
	for batch, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return err
		}
		logits, err := t.session.Logits(ctx, batch.Images, batch.N)
		if err != nil {
			return err
		}
		b = appendFloats(b, logits)
		done += batch.N
		w.job.Progress(stages.Progress{Phase: "asking teacher " + t.name, Done: int64(done), Total: int64(d.Len()), Unit: "images"})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, answersFile), b, 0o666)
}

// judgeTeachers returns the share of right answers of the teachers together on the validation images; nil without any.
func (w *work) judgeTeachers(ctx context.Context) (any, error) {
	if w.validation == nil {
		return nil, nil
	}
	in, _ := w.job.Input("validation")
	logits, err := w.answers(ctx, w.validation, in.Ref)
	if err != nil {
		return nil, err
	}
	right, n := 0, len(w.classes)
	for i := range w.validation.Len() {
		if infer.Best(logits[i*n:(i+1)*n]) == int(w.validation.Label(i)) {
			right++
		}
	}
	share := float64(right) / float64(w.validation.Len())
	w.job.Logf("the teachers answer %.4f of the validation images right", share)
	return share, nil
}

// source gives batches with the teachers' answers: looked up where images are shown as they are, else asked for each batch.
func (w *work) source(ctx context.Context, c learn.Config) (learn.BatchSource, error) {
	plain, err := learn.DataSource(w.data, c.Batch, c.Seed, c.Workers)
	if err != nil {
		return nil, err
	}
	var digests []string
	for _, t := range w.teachers {
		digests = append(digests, string(t.in.Ref.Digest))
	}
	identity := fmt.Sprintf("teachers %q at %x, classes %q", digests, w.body().heat(), w.classes)
	if w.inside != nil {
		identity += fmt.Sprintf(", inside %v", w.inside.pairs)
	}
	if len(w.data.Info().Policy.Operations()) > 0 {
		return learn.Extend(plain, identity+", of augmented images", func(b *learn.Batch) error { return w.askBatch(ctx, b) }), nil
	}
	in, _ := w.job.Input("data")
	table, err := w.answers(ctx, w.data, in.Ref)
	if err != nil {
		return nil, err
	}
	features, err := w.features(ctx, in.Ref)
	if err != nil {
		return nil, err
	}
	return learn.Extend(plain, identity, func(b *learn.Batch) error {
		give(b, learn.TeacherInput, rowsOf(table, len(w.classes), b.Indexes))
		for i, f := range features {
			give(b, inputName(i), rowsOf(f, w.inside.width(i), b.Indexes))
		}
		if w.inside == nil || features != nil {
			return nil
		}
		_, seen, err := w.inside.see(ctx, imagesFirst(b.Images, len(b.Indexes)), len(b.Indexes))
		for i, f := range seen {
			give(b, inputName(i), f)
		}
		return err
	}), nil
}

// askBatch shows the images of a batch to the teachers.
func (w *work) askBatch(ctx context.Context, b *learn.Batch) error {
	n := len(b.Indexes)
	images := imagesFirst(b.Images, n)
	var all [][]float32
	for _, t := range w.teachers {
		var logits []float32
		var err error
		if w.inside != nil { // the only teacher
			var seen [][]float32
			logits, seen, err = w.inside.see(ctx, images, n)
			for i, f := range seen {
				give(b, inputName(i), f)
			}
		} else {
			logits, err = t.session.Logits(ctx, images, n)
		}
		if err == nil {
			logits, err = t.pick(logits, n)
		}
		if err != nil {
			return err
		}
		all = append(all, logits)
	}
	give(b, learn.TeacherInput, together(all, len(w.classes), w.body().heat()))
	return nil
}

// rowsOf are rows of a table of that width.
func rowsOf(table []float32, width int, rows []int) []float32 {
	out := make([]float32, 0, len(rows)*width)
	for _, i := range rows {
		out = append(out, table[i*width:(i+1)*width]...)
	}
	return out
}

// keptFeatures is how many bytes of a teacher's features are kept at most. A variable, so that a test can do without.
var keptFeatures = 256 << 20

// features returns what the pairs of the teacher are for all images of data as they are, by pair, (N, …); nil where there are none or too many to be kept.
func (w *work) features(ctx context.Context, ref artifact.Ref) ([][]float32, error) {
	if w.inside == nil {
		return nil, nil
	}
	total := 0
	for i := range w.inside.pairs {
		total += w.inside.width(i)
	}
	if 4*total*w.data.Len() > keptFeatures {
		w.job.Logf("the teacher's features of all images take %d MiB, so they are computed for each batch", 4*total*w.data.Len()>>20)
		return nil, nil
	}
	part := stages.Part{Text: fmt.Sprintf("a teacher's features, float32\nonnxruntime = %s, %s\nvalues = %v, maps = %t\n", ort.Version(), ort.ISA(), w.inside.pairs, w.inside.maps),
		Inputs: map[string]artifact.Ref{"data": ref, "teacher": w.teachers[0].in.Ref}}
	dir, err := w.job.Memo(ctx, part, func(ctx context.Context, dir string) error { return w.seeAll(ctx, dir) })
	if err != nil {
		return nil, err
	}
	var out [][]float32
	for i := range w.inside.pairs {
		list, err := readFloats(filepath.Join(dir, inputName(i)))
		if err == nil && len(list) != w.inside.width(i)*w.data.Len() {
			err = fmt.Errorf("%d numbers", len(list))
		}
		if err != nil {
			return nil, fmt.Errorf("reading the teacher's features: %w", err)
		}
		out = append(out, list)
	}
	return out, nil
}

// seeAll writes the teacher's features of all images of data, a file for each pair.
func (w *work) seeAll(ctx context.Context, dir string) error {
	loader, err := dataset.NewLoader(w.data, dataset.LoaderOptions{Batch: w.teachers[0].session.Info().Batch, Workers: 1, Layout: dataset.NCHW})
	if err != nil {
		return err
	}
	all := make([][]byte, len(w.inside.pairs))
	done := 0
	for batch, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return err
		}
		_, seen, err := w.inside.see(ctx, batch.Images, batch.N)
		if err != nil {
			return err
		}
		for i, f := range seen {
			all[i] = appendFloats(all[i], f)
		}
		done += batch.N
		w.job.Progress(stages.Progress{Phase: "looking into the teacher", Done: int64(done), Total: int64(w.data.Len()), Unit: "images"})
	}
	for i, b := range all {
		if err := errors.Join(ctx.Err(), os.WriteFile(filepath.Join(dir, inputName(i)), b, 0o666)); err != nil {
			return err
		}
	}
	return nil
}

func appendFloats(b []byte, list []float32) []byte {
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func readFloats(path string) ([]float32, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list := make([]float32, len(b)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list, nil
}

// give adds an input to a batch.
func give(b *learn.Batch, name string, list []float32) {
	if b.Floats == nil {
		b.Floats = map[string][]float32{}
	}
	b.Floats[name] = list
}

// imagesFirst returns images (C, H, W, N) as (N, C, H, W).
func imagesFirst(images []float32, n int) []float32 {
	size := len(images) / n
	out := make([]float32, len(images))
	for k := range size {
		for i := range n {
			out[i*size+k] = images[k*n+i]
		}
	}
	return out
}
