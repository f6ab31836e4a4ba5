package learn

import (
	"fmt"
	"math"
)

// Schedule says how the learning rate goes over the steps of a training. The zero value is constant.
type Schedule struct {
	Shape Shape // after the warm-up; nil: Constant
	// Warmup is the epochs in which the rate rises linearly to the peak first: the step i of n is i+1 of n+1 parts of it.
	Warmup float64
}

// Shape is how a schedule goes after the warm-up: Constant, Steps, Cosine, WarmRestarts, OneCycle or Polynomial.
type Shape interface {
	// factor returns the share of the peak at a step of total, both counted after the warm-up, where an epoch has perEpoch.
	factor(step, total, perEpoch float64) float64
}

// At returns the learning rate of a step, counted from 0, of a training of total steps with perEpoch in each epoch.
func (s Schedule) At(peak float64, step, total, perEpoch int) float64 {
	warmup := s.Warmup * float64(perEpoch)
	at := float64(step)
	if at < warmup {
		return peak * (at + 1) / (warmup + 1)
	}
	if s.Shape == nil {
		return peak
	}
	return peak * s.Shape.factor(at-warmup, float64(total)-warmup, float64(perEpoch))
}

// Momentum returns the momentum of a step where the schedule has one of its own, else 0.
func (s Schedule) Momentum(step, total, perEpoch int) float64 {
	c, ok := s.Shape.(OneCycle)
	if !ok || c.LowMomentum == 0 {
		return 0
	}
	warmup := s.Warmup * float64(perEpoch)
	return c.momentum(math.Max(float64(step)-warmup, 0), float64(total)-warmup)
}

// Check says, in full sentences, why the schedule does not fit a training of that many epochs; "" where it does.
func (s Schedule) Check(epochs int) string {
	if s.Warmup > float64(epochs) {
		return fmt.Sprintf("The warm-up of %g epochs is longer than the whole training of %d.", s.Warmup, epochs)
	}
	left := float64(epochs) - s.Warmup
	switch c := s.Shape.(type) {
	case WarmRestarts:
		if c.Period > left {
			return fmt.Sprintf("The period of %g epochs is longer than the training, which has %g after the warm-up, so that it never restarts.", c.Period, left)
		}
	case Steps:
		for i, e := range c.At {
			if e >= float64(epochs) || i > 0 && e <= c.At[i-1] {
				return fmt.Sprintf("The steps at epochs %v do not rise, or lie outside of a training of %d epochs.", c.At, epochs)
			}
		}
		if c.Every > float64(epochs) {
			return fmt.Sprintf("A step every %g epochs never comes in a training of %d.", c.Every, epochs)
		}
	}
	return ""
}

// Constant is the peak all the time.
type Constant struct{}

func (Constant) factor(float64, float64, float64) float64 { return 1 }

// Steps multiplies the rate by Factor at each of the epochs At, or after every Every epochs; both are counted from the end of the warm-up.
type Steps struct {
	Factor float64 // above 0, at most 1
	Every  float64 // epochs; 0: not
	At     []float64
}

func (s Steps) factor(step, _, perEpoch float64) float64 {
	count := 0.0
	// Half a step of slack: epochs times steps of an epoch is exact only for whole numbers.
	if s.Every > 0 {
		count = math.Floor((step + 0.5) / (s.Every * perEpoch))
	}
	for _, e := range s.At {
		if step+0.5 >= e*perEpoch {
			count++
		}
	}
	return math.Pow(s.Factor, count)
}

// Cosine goes from the peak down to Final of it along half a cosine (Loshchilov and Hutter 2017).
type Cosine struct {
	Final float64 // share of the peak, 0 to 1
}

func (c Cosine) factor(step, total, _ float64) float64 {
	return c.Final + (1-c.Final)*0.5*(1+math.Cos(math.Pi*math.Min(step/math.Max(total, 1), 1)))
}

// WarmRestarts is a cosine that starts again at the peak after Period epochs; each period is Growth times the one before (Loshchilov and Hutter 2017,
// SGDR).
type WarmRestarts struct {
	Period float64 // epochs, above 0
	Growth float64 // at least 1; 0 counts as 1
	Final  float64 // share of the peak
}

func (w WarmRestarts) factor(step, _, perEpoch float64) float64 {
	length, at := w.Period*perEpoch, step
	growth := math.Max(w.Growth, 1)
	for at+1e-9 >= length {
		at -= length
		length *= growth
	}
	return Cosine{w.Final}.factor(math.Max(at, 0), length, perEpoch)
}

// OneCycle rises along half a cosine from Start of the peak to the peak in the share Rise of the training, and falls along another to End of it, while the
// momentum goes from HighMomentum down to LowMomentum and back (Smith and Topin 2018, in the form of PyTorch).
type OneCycle struct {
	Rise                      float64 // 0 < share < 1; 0.3 in PyTorch
	Start                     float64 // share of the peak; 1/25 in PyTorch
	End                       float64 // share of the peak; 1/250,000 in PyTorch
	LowMomentum, HighMomentum float64 // 0.85 and 0.95 in PyTorch; 0: the momentum stays the optimizer's
}

// between returns where a step is in the rise (share 0 to 1, falling false) or in the fall.
func (c OneCycle) between(step, total float64) (share float64, falling bool) {
	top := c.Rise*total - 1
	if step <= top && top > 0 {
		return step / top, false
	}
	return math.Min((step-top)/math.Max(total-1-top, 1), 1), true
}

func anneal(from, to, share float64) float64 { return to + (from-to)/2*(1+math.Cos(math.Pi*share)) }

func (c OneCycle) factor(step, total, _ float64) float64 {
	share, falling := c.between(step, total)
	if falling {
		return anneal(1, c.End, share)
	}
	return anneal(c.Start, 1, share)
}

func (c OneCycle) momentum(step, total float64) float64 {
	share, falling := c.between(step, total)
	if falling {
		return anneal(c.LowMomentum, c.HighMomentum, share)
	}
	return anneal(c.HighMomentum, c.LowMomentum, share)
}

// Polynomial goes from the peak to Final of it as (1 - share of the training)^Power.
type Polynomial struct {
	Power float64 // above 0; 1 is a straight line
	Final float64 // share of the peak
}

func (p Polynomial) factor(step, total, _ float64) float64 {
	left := 1 - math.Min(step/math.Max(total, 1), 1)
	return p.Final + (1-p.Final)*math.Pow(left, p.Power)
}
