package evaluate

import (
	"context"
	"sort"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// judge lets the model on that port answer every image and scores the answers.
func (e *evaluate) judge(ctx context.Context, job *stages.Job, port string, data *dataset.Dataset) (*judgement, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info := data.Info()
	session, err := e.openModel(job, port, info, e.batch)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	loader, err := dataset.NewLoader(data, dataset.LoaderOptions{Batch: e.batch, Workers: max(1, job.Resources.CPUs), Layout: dataset.NCHW})
	if err != nil {
		return nil, err
	}
	j := &judgement{classes: info.Classes}
	size := info.Channels * info.Height * info.Width
	started := time.Now()
	var inside time.Duration // spent in the model
	for batch, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		before := time.Now()
		logits, err := session.Logits(ctx, batch.Images[:batch.N*size], batch.N)
		if err != nil {
			return nil, err
		}
		inside += time.Since(before)
		j.logits = append(j.logits, logits...)
		j.labels = append(j.labels, batch.Labels[:batch.N]...)
		job.Progress(progress(port, len(j.labels), data.Len(), time.Since(started)))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(j.logits) != len(j.labels)*len(j.classes) {
		return nil, stages.Problemf(port, "Classes do not agree", "The model gives %d numbers an image, but the images have %d classes.", len(j.logits)/len(j.labels), len(j.classes))
	}
	if j.Scores, err = infer.Score(j.logits, j.labels, len(j.classes)); err != nil {
		return nil, stages.Problemf(port, "Model gives no usable answers", "Its answers cannot be scored: %v. A model whose training diverged answers so.", err)
	}
	if port == "model" {
		job.Measure("images_per_second", float64(len(j.labels))/inside.Seconds())
		return j, e.measureLatency(ctx, job, data)
	}
	return j, nil
}

func progress(phase string, done, total int, elapsed time.Duration) stages.Progress {
	rate := float64(done) / max(elapsed.Seconds(), 1e-9)
	return stages.Progress{Phase: phase, Done: int64(done), Total: int64(total), Unit: "images", Rate: rate,
		Left: time.Duration(float64(total-done) / rate * float64(time.Second))}
}

const (
	latencyRuns   = 50
	latencyBudget = 2 * time.Second // after which no further run starts
)

// measureLatency measures the median time of one image alone.
func (e *evaluate) measureLatency(ctx context.Context, job *stages.Job, data *dataset.Dataset) error {
	session, err := e.openModel(job, "model", data.Info(), 1)
	if err != nil {
		return err
	}
	defer session.Close()
	if session.Info().Batch != 1 {
		return nil
	}
	loader, err := dataset.NewLoader(data, dataset.LoaderOptions{Batch: 1, Workers: 1, Layout: dataset.NCHW})
	if err != nil {
		return err
	}
	started := time.Now()
	var took []float64 // milliseconds
	for batch, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return err
		}
		before := time.Now()
		if _, err := session.Logits(ctx, batch.Images, 1); err != nil {
			return err
		}
		took = append(took, float64(time.Since(before).Nanoseconds())/1e6)
		if len(took) == latencyRuns || time.Since(started) > latencyBudget {
			break
		}
	}
	if len(took) > 1 {
		took = took[1:] // the first one warms up
	}
	sort.Float64s(took)
	job.Measure("latency", took[len(took)/2])
	return nil
}

// mistakes returns the images that were answered wrongly, the least probable true class first, equal ones in order of
// the dataset.
func (j *judgement) mistakes() []mistake {
	var list []mistake
	for i, label := range j.labels {
		row := j.row(i)
		answer := infer.Best(row)
		if answer == int(label) {
			continue
		}
		p := infer.Softmax(row)
		list = append(list, mistake{image: i, answer: answer, confidence: p[answer], truth: p[label], loss: infer.LogLoss(row, int(label))})
	}
	sort.SliceStable(list, func(a, b int) bool { return list[a].loss > list[b].loss })
	return list
}

// mistake is one wrong answer.
type mistake struct {
	image      int
	answer     int
	confidence float64 // probability that the model gave to its answer
	truth      float64 // and to the true class
	loss       float64 // orders mistakes even where the true class's probability is 0 in float64
}
