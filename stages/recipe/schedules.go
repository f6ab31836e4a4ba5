package recipe

import (
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
)

// Schedules are the variants of a block `schedule`.
var Schedules = []stages.Variant{
	{Name: "constant", Doc: "The peak all the time.", New: func() stages.Declarer { return &constant{} }},
	{Name: "step", Doc: "Lower by a factor at given epochs, or after every few.", New: func() stages.Declarer { return &steps{} }},
	{Name: "cosine", Doc: "From the peak down along half a cosine (Loshchilov and Hutter 2017).", New: func() stages.Declarer { return &cosine{} }},
	{Name: "cosine_warm_restarts", Doc: "A cosine that starts again at the peak after each period (Loshchilov and Hutter 2017).", New: func() stages.Declarer { return &restarts{} }},
	{Name: "one_cycle", Doc: "Up to the peak and down to almost nothing, each along half a cosine, the momentum the other way round (Smith and Topin 2018, in the form of PyTorch).", New: func() stages.Declarer { return &oneCycle{} }},
	{Name: "polynomial", Doc: "From the peak down as a power of what is left of the training; a power of 1 is a straight line.", New: func() stages.Declarer { return &polynomial{} }},
}

// warmup is what every schedule has.
type warmup struct{ epochs float64 }

func (w *warmup) Declare(s *stages.Schema) {
	s.Float(&w.epochs, "warmup", 0, "Epochs in which the step size rises to the peak first.").Min(0).InUnit("epochs")
}

func (w *warmup) then(shape learn.Shape) learn.Schedule {
	return learn.Schedule{Shape: shape, Warmup: w.epochs}
}

func final(s *stages.Schema, p *float64) {
	s.Float(p, "final", 0, "Share of the peak at the end.").In(0, 1)
}

type constant struct{ warmup }

func (c *constant) schedule() learn.Schedule { return c.then(learn.Constant{}) }

type steps struct {
	warmup
	shape learn.Steps
}

func (c *steps) Declare(s *stages.Schema) {
	c.warmup.Declare(s)
	s.Float(&c.shape.Factor, "factor", 0.1, "What the step size is multiplied with at each step.").Above(0).In(0, 1)
	s.Float(&c.shape.Every, "every", 0, "After every so many epochs; 0: not.").Min(0).InUnit("epochs")
	s.Floats(&c.shape.At, "at", nil, "At these epochs, counted from the end of the warm-up.").Above(0).InUnit("epochs")
}

func (c *steps) schedule() learn.Schedule { return c.then(c.shape) }

type cosine struct {
	warmup
	shape learn.Cosine
}

func (c *cosine) Declare(s *stages.Schema) {
	c.warmup.Declare(s)
	final(s, &c.shape.Final)
}

func (c *cosine) schedule() learn.Schedule { return c.then(c.shape) }

type restarts struct {
	warmup
	shape learn.WarmRestarts
}

func (c *restarts) Declare(s *stages.Schema) {
	c.warmup.Declare(s)
	s.Float(&c.shape.Period, "period", 0, "Epochs until the first restart.").Required().Above(0).InUnit("epochs")
	s.Float(&c.shape.Growth, "growth", 1, "How many times as long each period is as the one before.").In(1, 100)
	final(s, &c.shape.Final)
}

func (c *restarts) schedule() learn.Schedule { return c.then(c.shape) }

type oneCycle struct {
	warmup
	shape learn.OneCycle
}

func (c *oneCycle) Declare(s *stages.Schema) {
	c.warmup.Declare(s)
	s.Float(&c.shape.Rise, "rise", 0.3, "Share of the training in which the step size rises.").Above(0).Below(1)
	s.Float(&c.shape.Start, "start", 0.04, "Share of the peak at the start.").In(0, 1)
	s.Float(&c.shape.End, "end", 4e-6, "Share of the peak at the end.").In(0, 1)
	s.Float(&c.shape.LowMomentum, "low_momentum", 0.85, "The optimizer's momentum at the peak; 0: it stays what the optimizer says.").In(0, 1).Below(1)
	s.Float(&c.shape.HighMomentum, "high_momentum", 0.95, "The optimizer's momentum at both ends.").In(0, 1).Below(1)
}

func (c *oneCycle) schedule() learn.Schedule { return c.then(c.shape) }

type polynomial struct {
	warmup
	shape learn.Polynomial
}

func (c *polynomial) Declare(s *stages.Schema) {
	c.warmup.Declare(s)
	s.Float(&c.shape.Power, "power", 1, "The power.").Above(0)
	final(s, &c.shape.Final)
}

func (c *polynomial) schedule() learn.Schedule { return c.then(c.shape) }
