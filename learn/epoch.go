package learn

import (
	"context"
	"errors"
	"math"
)

// endEpoch validates, notes the epoch, and keeps the best weights.
func (r *run) endEpoch(ctx context.Context) error {
	done, _ := r.steps()
	rate := r.rate(done - 1)
	e := Epoch{Epoch: r.epoch + 1, Step: done, LearningRate: rate, TrainLoss: r.lossSum / float64(r.batch)}
	for name, total := range r.totals {
		mean := total / float64(r.seen)
		if name == AccuracyMetric {
			e.TrainAccuracy = mean
			continue
		}
		if e.TrainMetrics == nil {
			e.TrainMetrics = map[string]float64{}
		}
		e.TrainMetrics[name] = mean
	}
	if err := r.noteScale(&e); err != nil {
		return err
	}
	if r.validation != nil || r.Judge != nil {
		r.report(true)
		r.meter.pause()
		score, err := r.judge(ctx)
		if err != nil {
			return r.outOfMemory(r.stopped(err))
		}
		if math.IsNaN(score.Loss) || math.IsInf(score.Loss, 0) {
			return r.diverged(done, rate, nil)
		}
		e.Validation = &score
		r.meter.resume()
	}
	better := r.bestEpoch == 0 || e.Validation == nil || r.Monitor.better(*e.Validation, *r.history[r.bestEpoch-1].Validation, 0)
	if !better && r.best == nil {
		return errors.New("the best weights were lost") // an invariant: see advance
	}
	r.history = append(r.history, e)
	r.logEpoch(e)
	if err := r.averageEpoch(e.Epoch); err != nil {
		return err
	}
	return r.advance(better)
}

func (r *run) judge(ctx context.Context) (Score, error) {
	if r.Judge != nil {
		return r.Judge(ctx, r.machine)
	}
	return r.machine.score(ctx, r.validation, judgement(r.Objective, r.Validation))
}

// advance moves on to the next epoch. It copies the state when it is the best so far and another epoch will change it.
func (r *run) advance(better bool) error {
	r.epoch++
	r.batch, r.lossSum, r.totals, r.seen = 0, 0, map[string]float64{}, 0
	if !better {
		return nil
	}
	r.bestEpoch, r.best = r.epoch, nil
	if r.history[r.epoch-1].Validation == nil || r.epoch == r.Epochs && r.SWA.From == 0 {
		return nil
	}
	best, err := r.machine.Snapshot()
	r.best = &best
	return err
}

func (r *run) logEpoch(e Epoch) {
	if e.Validation == nil {
		r.log("epoch %d/%d: loss %.4f, accuracy %.4f, learning rate %.4g", e.Epoch, r.Epochs, e.TrainLoss, e.TrainAccuracy, e.LearningRate)
		return
	}
	r.log("epoch %d/%d: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f; learning rate %.4g",
		e.Epoch, r.Epochs, e.TrainLoss, e.TrainAccuracy, e.Validation.Loss, e.Validation.Accuracy, e.LearningRate)
}
