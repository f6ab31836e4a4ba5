package evaluate

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// judgement is a model's answers and how good they are. Of single and multi one is set: images with one class each, or with several.
type judgement struct {
	single  *infer.Scores
	multi   *infer.LabelScores
	classes []string
	logits  []float32 // (images, classes)
	size    int64     // of the model's file, bytes

	answers [][]int32 // the classes answered for each image
	right   []bool    // whether exactly the true classes are
	loss    []float64 // nats
}

// row returns the logits of one image.
func (j *judgement) row(image int) []float32 {
	return j.logits[image*len(j.classes) : (image+1)*len(j.classes)]
}

// probabilities returns the probability of each class for one image.
func (j *judgement) probabilities(image int) []float64 {
	if j.single != nil {
		return infer.Softmax(j.row(image))
	}
	out := make([]float64, len(j.classes))
	for c, l := range j.row(image) {
		out[c] = infer.Logistic(float64(l))
	}
	return out
}

// judgeAll lets the models answer every image, plain and spoiled.
func (r *result) judgeAll(ctx context.Context, job *stages.Job) error {
	var err error
	if r.model, err = r.judge(ctx, job, "model"); err != nil {
		return err
	}
	if _, ok := job.Input("baseline"); !ok {
		return nil
	}
	if r.baseline, err = r.judge(ctx, job, "baseline"); err != nil {
		return err
	}
	r.agreed = r.compare()
	return nil
}

// judge lets the model on that port answer and scores its answers.
func (r *result) judge(ctx context.Context, job *stages.Job, port string) (*judgement, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	size, err := subjectOf(job, port).size()
	if err != nil {
		return nil, err
	}
	model, err := r.openModel(job, port, r.data.Info())
	if err != nil {
		return nil, err
	}
	defer model.Close()
	a := &asking{result: r, job: job, port: port, model: model}
	logits, err := a.ask(ctx, port, nil)
	if err != nil {
		return nil, err
	}
	if port == "model" {
		job.Measure("images_per_second", float64(a.images)/a.inside.Seconds())
	}
	j, err := r.score(port, logits)
	if err != nil {
		return nil, err
	}
	j.size = size
	return j, r.spoil(ctx, a)
}

// score judges logits.
func (r *result) score(port string, logits []float32) (*judgement, error) {
	j := &judgement{classes: r.data.Info().Classes, logits: logits}
	if n := r.data.Len(); len(logits) != n*len(j.classes) {
		return nil, stages.Problemf(port, "Classes do not agree", "The model gives %d numbers an image, but the images have %d classes.", len(logits)/n, len(j.classes))
	}
	var err error
	if r.members != nil {
		j.multi, err = infer.ScoreLabels(logits, r.members, len(j.classes), r.threshold)
	} else {
		j.single, err = infer.Score(logits, r.labels, len(j.classes))
	}
	if err != nil {
		return nil, stages.Problemf(port, "Model gives no usable answers", "Its answers cannot be scored: %v. A model whose training diverged answers so.", err)
	}
	for i, truth := range r.truth {
		answer, loss := r.answer(j.row(i), truth)
		j.answers, j.right, j.loss = append(j.answers, answer), append(j.right, slices.Equal(answer, truth)), append(j.loss, loss)
	}
	return j, nil
}

// answer returns the classes that logits stand for, and their loss.
func (r *result) answer(logits []float32, truth []int32) ([]int32, float64) {
	if r.members == nil {
		return []int32{int32(infer.Best(logits))}, infer.LogLoss(logits, int(truth[0]))
	}
	var out []int32
	loss := 0.0
	for c, l := range logits {
		p := infer.Logistic(float64(l))
		if p > r.threshold {
			out = append(out, int32(c))
		}
		loss += infer.BinaryLoss(float64(l), slices.Contains(truth, int32(c)))
	}
	return out, loss / float64(len(logits))
}

// asking is a model answering all images, perhaps several times.
type asking struct {
	*result
	job    *stages.Job
	port   string
	model  answerer
	images int           // through the model so far
	inside time.Duration // spent in the model
}

// ask returns the logits of all images, (images, classes), after spoil has been at their pixels. With views they are the logits of the mean
// probability.
func (a *asking) ask(ctx context.Context, phase string, spoil func(row int, pixels []byte) []byte) ([]float32, error) {
	looks := a.looks()
	if len(looks) == 1 {
		return a.look(ctx, phase, spoil, looks[0])
	}
	var mean []float64
	for _, look := range looks {
		logits, err := a.look(ctx, phase, spoil, look)
		if err != nil {
			return nil, err
		}
		if mean == nil {
			mean = make([]float64, len(logits))
		}
		j := judgement{classes: make([]string, len(logits)/a.data.Len()), logits: logits}
		if a.members == nil {
			j.single = &infer.Scores{}
		}
		for i := range a.data.Len() {
			for c, p := range j.probabilities(i) {
				mean[i*len(j.classes)+c] += p / float64(len(looks))
			}
		}
	}
	out := make([]float32, len(mean))
	for i, p := range mean {
		p = min(max(p, 1e-30), 1)
		out[i] = float32(math.Log(p))
		if a.members != nil {
			out[i] -= float32(math.Log(max(1-p, 1e-16)))
		}
	}
	return out, nil
}

// look runs the model over all images once.
func (a *asking) look(ctx context.Context, phase string, spoil func(row int, pixels []byte) []byte, look func([]byte) []byte) ([]float32, error) {
	started := time.Now()
	f := &feed{data: a.data, batch: a.batch, workers: 1, spoil: spoil, look: look}
	if a.data.Info().Encoded || spoil != nil { // else another thread takes longer to wake than to help
		f.workers = max(1, a.job.Resources.CPUs)
	}
	taken := a.job.Device.Threads
	if subjectOf(a.job, a.port).folder != "" {
		taken = 0 // an engine computes elsewhere
	}
	if rest := a.job.Resources.CPUs - taken; rest > 0 {
		f.workers, f.ahead = rest, true
	}
	var logits []float32
	done := 0
	for batch, err := range f.batches(ctx) {
		if err != nil {
			return nil, err
		}
		before := time.Now()
		out, err := a.model.Logits(ctx, batch.images, batch.n)
		if err != nil {
			return nil, err
		}
		a.inside += time.Since(before)
		a.images += batch.n
		done += batch.n
		logits = append(logits, out...)
		a.job.Progress(progress(phase, done, a.data.Len(), started))
	}
	return logits, ctx.Err()
}

// mistakes returns the images that were answered wrongly, the least probable true classes first, equal ones in order of
// the dataset.
func (j *judgement) mistakes() []int {
	var list []int
	for i, right := range j.right {
		if !right {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(j.loss[b], j.loss[a]) })
	return list
}

// compare compares the answers of both models. Answers with several classes are compared as sets.
func (r *result) compare() infer.Agreement {
	if r.members == nil {
		of := func(j *judgement) (out []int) {
			for _, answer := range j.answers {
				out = append(out, int(answer[0]))
			}
			return out
		}
		return infer.Compare(of(r.model), of(r.baseline), r.labels, len(r.model.classes))
	}
	// Each image's true set is 0, and other sets are numbered as they come.
	numbers := map[string]int{}
	number := func(i int, answer []int32) int {
		if slices.Equal(answer, r.truth[i]) {
			return 0
		}
		key := names(r.model.classes, answer, "\x00")
		if numbers[key] == 0 {
			numbers[key] = len(numbers) + 1
		}
		return numbers[key]
	}
	var a, b []int
	for i := range r.truth {
		a, b = append(a, number(i, r.model.answers[i])), append(b, number(i, r.baseline.answers[i]))
	}
	return infer.Compare(a, b, make([]int32, len(r.truth)), len(numbers)+1)
}
