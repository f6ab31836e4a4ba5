package nas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"gonum.org/v1/gonum/stat"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/learn"
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/learn/zerocost"
	"github.com/darkroom-dev/darkroom/stages"
)

// takeScores takes the zero-cost scores that were asked for of every candidate, as many at a time as there are threads. A member that was evaluated with several
// budgets has them once.
func (e *evaluator) takeScores(ctx context.Context, all []candidate) error {
	if len(e.scores) == 0 {
		return nil
	}
	images, err := e.batch(e.rank.images)
	if err != nil {
		return err
	}
	errs := make([]error, len(all))
	slots := make(chan struct{}, max(1, e.job.Device.Threads))
	first := map[string]int{} // by member: the candidate whose scores are taken
	var group sync.WaitGroup
	for i := range all {
		if _, taken := first[all[i].point.key()]; taken {
			continue
		}
		first[all[i].point.key()] = i
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				all[i].scores, errs[i] = e.scoresOf(ctx, all[i], images)
			}
		})
	}
	group.Wait()
	for i := range all {
		all[i].scores = all[first[all[i].point.key()]].scores
	}
	return errors.Join(errs...)
}

// scoresOf returns the scores of a candidate, in order of the argument. They are a part: a search that goes on takes none of them again.
func (e *evaluator) scoresOf(ctx context.Context, c candidate, images *learn.Batch) ([]float64, error) {
	data, _ := e.job.Input("data")
	part := stages.Part{Seed: e.job.Seed, Inputs: map[string]artifact.Ref{"data": data.Ref}, OneThread: true,
		Text: fmt.Sprintf("scores %s of %d images of %d, mean %x, std %x\n%s\n", strings.Join(e.scores, ", "), e.rank.images, e.budget.samples, e.means, e.deviations, c.text)}
	dir, err := e.job.Memo(ctx, part, func(_ context.Context, dir string) error {
		var list []float64
		for _, name := range e.scores {
			v, err := e.zeroCost(name, c.point, images)
			if err != nil {
				return err
			}
			list = append(list, v)
		}
		text, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("a score of %s is not a finite number: %w", c.text, err)
		}
		return os.WriteFile(filepath.Join(dir, "scores.json"), text, 0o666)
	})
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "scores.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the scores of candidate %d: %w", c.number, err)
	}
	var list []float64
	if err := json.Unmarshal(text, &list); err != nil || len(list) != len(e.scores) {
		return nil, fmt.Errorf("reading the scores of candidate %d: %d numbers, %w", c.number, len(list), err)
	}
	return list, nil
}

// zeroCost scores the network at a point without training it.
func (e *evaluator) zeroCost(name string, p point, images *learn.Batch) (float64, error) {
	m, err := e.build(p)
	if err != nil {
		return 0, err
	}
	backend, err := devices.Open(devices.Class{Backend: stages.CPU, Threads: 1})
	if err != nil {
		return 0, err
	}
	defer backend.Finalize()
	info := e.images.Info()
	v, err := zerocost.Score(name, zerocost.Case{Backend: backend, Model: m, Channels: info.Channels, Height: info.Height, Width: info.Width, Batch: images})
	if err != nil {
		return 0, fmt.Errorf("ranking %s: %w", e.space.network(p), err)
	}
	return v, nil
}

// correlations returns Spearman's rank correlation of each score with the accuracy, over the candidates that had the whole budget. Scores for which it is
// not defined, such as of fewer than three candidates, are left out.
func (e *evaluator) correlations(all []candidate) map[string]float64 {
	out := map[string]float64{}
	for i, name := range e.scores {
		var x, y []float64
		for _, c := range all {
			if c.budget == 1 && c.failed == "" {
				x, y = append(x, c.scores[i]), append(y, c.accuracy)
			}
		}
		if r, ok := spearman(x, y); ok {
			out[name] = r
		}
	}
	return out
}

// spearman is the correlation of the ranks; equal numbers share the mean of their ranks. It is not defined for fewer than three pairs, nor where one side
// is all the same.
func spearman(x, y []float64) (r float64, ok bool) {
	if len(x) < 3 || slices.Min(x) == slices.Max(x) || slices.Min(y) == slices.Max(y) {
		return 0, false
	}
	return stat.Correlation(ranks(x), ranks(y), nil), true
}

func ranks(list []float64) []float64 {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if list[a] < list[b] {
			return -1
		}
		if list[a] > list[b] {
			return 1
		}
		return 0
	})
	out := make([]float64, len(list))
	for first := 0; first < len(order); {
		end := first + 1
		for end < len(order) && list[order[end]] == list[order[first]] {
			end++
		}
		for _, i := range order[first:end] {
			out[i] = float64(first+end-1) / 2
		}
		first = end
	}
	return out
}
