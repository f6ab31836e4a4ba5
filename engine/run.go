package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/stages"
)

// State is how far a stage of a run is.
type State string

// The states.
const (
	Waiting State = "waiting" // for stages before it
	Ready   State = "ready"   // to run, as soon as the pools allow
	Running State = "running"
	Reused  State = "reused"
	Done    State = "done"
	Failed  State = "failed"
	Skipped State = "skipped" // something that it needs failed, or the run was interrupted
)

func (s State) over() bool { return s == Reused || s == Done || s == Failed || s == Skipped }

// Result is what became of a run.
type Result struct {
	Run        string // its ID in the cache
	Experiment artifact.Digest
	OK         bool
	Ran        int
	Reused     int
	Failed     int // stages that failed, and stages of which a requirement failed
	Skipped    int
	Took       float64 // seconds
	Stages     []StageResult
}

// StageResult is what became of one stage, in the order of the pipeline.
type StageResult struct {
	Node     *Node
	State    State
	Key      artifact.Digest
	Reasons  []Reason
	Outputs  map[string]artifact.Ref
	Values   map[string]any
	Record   *cache.Record
	Err      error    // a *StageError; of Skipped: why
	Judgment []string // messages of requirements that failed
}

// stage is the state of one node during a run. Only the scheduler's goroutine touches it.
type stage struct {
	StageResult
	res      *resolved
	repairs  int  // how often damage of its outputs made it run again
	judged   bool // its requirements were checked
	damaged  *Reason
	priority float64
}

// run is one execution of a pipeline. The scheduler's goroutine owns all fields but those named otherwise.
type run struct {
	ctx      context.Context
	p        *Pipeline
	o        Options
	g        *graph
	resolver *resolver
	stages   []*stage
	done     map[string]*outcome
	pools    map[Runner]*stages.Resources // what is free
	used     int                          // stages that run now
	inflight map[artifact.Digest]bool
	finished chan completion
	waits    waits
	log      *cache.RunLog
	events   *emitter
	start    time.Time
	ranked   bool
	dirty    bool                       // something changed since the state was stored
	stored   time.Time                  // when that was
	planned  map[string]Step            // what the plan reuses, for the first pass
	damaged  map[artifact.Digest]Reason // what planning found of stored results, by key
}

// completion is what the goroutine that executes a stage tells the scheduler.
type completion struct {
	index  int
	record *cache.Record
	shared bool // another process made it meanwhile
	err    error
	damage *damage // an input is damaged
}

// damage is an artifact of the store that turned out to be damaged or gone.
type damage struct {
	from OutputRef
	err  error
}

// Run executes p. What is wrong with the text or the sources is returned as StageErrors before anything runs. A stage
// that fails is part of the Result, not an error; after ctx is cancelled, Run returns the Result so far and ctx's error.
func Run(ctx context.Context, p *Pipeline, o Options) (*Result, error) {
	start := time.Now()
	g, err := newGraph(p, o.Targets)
	if err != nil {
		return nil, err
	}
	if err := checkForce(g, p, o.Force); err != nil {
		return nil, err
	}
	share, err := o.Cache.Share(ctx)
	if err != nil {
		return nil, err
	}
	defer share.Release()
	r := &run{ctx: ctx, p: p, o: o, g: g, resolver: newResolver(p, o), done: map[string]*outcome{}, pools: map[Runner]*stages.Resources{},
		inflight: map[artifact.Digest]bool{}, finished: make(chan completion), waits: newWaits(), events: &emitter{to: o.Events}, start: start}
	plan, err := newPlan(ctx, p, g, r.resolver)
	if err != nil {
		return nil, err
	}
	r.damaged = damagedAt(plan)
	r.planned = map[string]Step{}
	for _, s := range plan.Steps {
		if s.Action == Reuse {
			r.planned[s.Node.ID] = s
		}
	}
	for _, n := range g.nodes {
		r.stages = append(r.stages, &stage{StageResult: StageResult{Node: n, State: Waiting}})
	}
	if r.log, err = o.Cache.BeginRun(cache.Run{Pipeline: p.Name, File: p.Dir, Started: start.UTC(), Stages: r.runStages()}); err != nil {
		return nil, err
	}
	r.events.emit(Event{Event: EventRunStarted, Pipeline: p.Name, Run: r.log.ID()})
	r.loop()
	return r.finish()
}

// loop is the scheduler: it decides what can be decided, starts what the pools allow, and waits for an end.
func (r *run) loop() {
	for {
		changed := r.decideAll()
		r.planned = nil // from now on results may have changed
		if r.ctx.Err() == nil {
			changed = r.startReady() || changed
		}
		if r.used == 0 {
			return
		}
		r.dirty = r.dirty || changed
		r.take(r.await())
	}
}

// storeEvery bounds how often the state of a run is written: it holds all stages, and there may be thousands.
const storeEvery = 200 * time.Millisecond

// await waits for a stage to end, and keeps the state on disk meanwhile.
func (r *run) await() completion {
	if r.dirty {
		pause := time.NewTimer(time.Until(r.stored.Add(storeEvery)))
		defer pause.Stop()
		select {
		case c := <-r.finished:
			return c
		case <-pause.C:
			r.store()
		}
	}
	for {
		select {
		case c := <-r.finished:
			return c
		case <-r.waits.changed:
			r.store()
		}
	}
}

// decideAll decides every waiting stage whose needs are over, in topological order, so that one pass is enough.
func (r *run) decideAll() (changed bool) {
	for _, i := range r.g.order {
		if s := r.stages[i]; s.State == Waiting && r.ctx.Err() == nil {
			r.decide(i)
			changed = changed || s.State != Waiting
		}
	}
	r.judgeAll()
	return changed
}

// decide moves a waiting stage on: to Skipped, Reused, Ready or Failed.
func (r *run) decide(i int) {
	s := r.stages[i]
	for _, j := range r.g.needs[i] {
		up := r.stages[j]
		switch {
		case up.State == Failed, up.State == Skipped:
			r.skip(s, fmt.Errorf("%s %s", up.Node.ID, map[State]string{Failed: "failed", Skipped: "was not run"}[up.State]))
			return
		case !up.State.over():
			return
		case len(up.Judgment) > 0 && !r.o.KeepGoing:
			r.skip(s, fmt.Errorf("a requirement of %s failed", up.Node.ID))
			return
		}
	}
	// What the plan has just looked up is not looked up again.
	if step, ok := r.planned[s.Node.ID]; ok {
		s.res, s.Key = step.res, step.Key
		r.reuse(s, step.Record)
		return
	}
	res, err := r.resolver.resolve(s.Node, r.done)
	if err != nil {
		r.fail(s, err)
		return
	}
	s.res, s.Key = res, res.key
	if r.inflight[res.key] {
		return // another stage is making the same result
	}
	rec, reasons := r.resolver.lookup(res)
	if s.repairs > 0 && rec == nil && s.damaged != nil {
		reasons = []Reason{*s.damaged}
	} else if rec == nil && len(reasons) == 1 && reasons[0].Path == storedResult {
		if first, ok := r.damaged[res.key]; ok {
			reasons = []Reason{first} // by now the damaged blob is only missing
		}
		r.events.emit(Event{Event: EventBlobDamaged, Address: s.Node.ID, Key: s.Key, Error: reasons[0].New})
	}
	s.Reasons = reasons
	if rec != nil {
		r.reuse(s, rec)
		return
	}
	s.State = Ready
	// The key is claimed here, so that a stage with the same key waits for this one.
	r.inflight[res.key] = true
	r.events.emit(Event{Event: EventStageWaiting, Address: s.Node.ID, Kind: s.Node.Kind.Name, Key: s.Key, Action: Execute, Reasons: reasons})
}

func (r *run) reuse(s *stage, rec *cache.Record) {
	r.settle(s, Reused, rec)
	r.events.emit(Event{Event: EventStageReused, Address: s.Node.ID, Kind: s.Node.Kind.Name, Key: s.Key, Action: Reuse, Outputs: rec.Outputs, Values: rec.Values})
	r.judgeNow(s)
}

func (r *run) settle(s *stage, state State, rec *cache.Record) {
	s.State, s.Record, s.Outputs, s.Values = state, rec, rec.Outputs, rec.Values
	r.done[s.Node.ID] = &outcome{rec.Outputs, rec.Values}
}

func (r *run) skip(s *stage, why error) {
	s.State, s.Err = Skipped, why
	r.events.emit(Event{Event: EventStageSkipped, Address: s.Node.ID, Error: why.Error()})
}

func (r *run) fail(s *stage, err error) {
	e := stageError(s.Node.ID, err)
	s.State, s.Err = Failed, e
	ev := Event{Event: EventStageFailed, Address: s.Node.ID, Kind: s.Node.Kind.Name, Key: s.Key, Problems: e.Problems, Error: e.words()}
	r.events.emit(ev)
}

// take applies a completion.
func (r *run) take(c completion) {
	s := r.stages[c.index]
	r.used--
	delete(r.inflight, s.Key)
	pool := r.pools[s.res.runner]
	pool.CPUs, pool.Memory, pool.GPUs = pool.CPUs+s.res.resources.CPUs, pool.Memory+s.res.resources.Memory, pool.GPUs+s.res.resources.GPUs
	switch {
	case r.ctx.Err() != nil && c.record == nil:
		r.skip(s, errors.New("the run was interrupted"))
	case c.damage != nil:
		r.repair(s, c.damage)
	case c.err != nil:
		r.fail(s, c.err)
	case c.shared:
		r.reuse(s, c.record)
	default:
		r.settle(s, Done, c.record)
		r.events.emit(Event{Event: EventStageFinished, Address: s.Node.ID, Kind: s.Node.Kind.Name, Key: s.Key, Outputs: c.record.Outputs,
			Values: c.record.Values, Measured: c.record.Measured, Took: c.record.TookS, Attempt: c.record.Attempts})
		r.judgeNow(s)
	}
}

// maxRepairs bounds how often one stage is made anew in a run: storage that damages everything is no use.
const maxRepairs = 3

// repair sends the producer of a damaged artifact back to run again, and s back to wait for it.
func (r *run) repair(s *stage, d *damage) {
	up := r.stages[r.g.index[d.from.Node]]
	if up.repairs >= maxRepairs {
		r.fail(s, fmt.Errorf("its input from %s was damaged again after it had been made anew; look at the disk: %w", up.Node.ID, d.err))
		return
	}
	r.events.emit(Event{Event: EventBlobDamaged, Address: up.Node.ID, Key: up.Key, Error: d.err.Error()})
	s.State = Waiting
	if up.State.over() {
		up.State, up.damaged = Waiting, &Reason{Path: "output " + d.from.Output, Old: "stored", New: "damaged"}
		up.repairs++
		up.judged, up.Judgment = false, nil
		delete(r.done, up.Node.ID)
	}
}

// finish ends the run: it waits for nothing any more.
func (r *run) finish() (*Result, error) {
	if r.ctx.Err() != nil {
		for _, s := range r.stages {
			if !s.State.over() {
				r.skip(s, errors.New("the run was interrupted"))
			}
		}
	}
	res := &Result{Run: r.log.ID(), OK: r.ctx.Err() == nil, Took: time.Since(r.start).Seconds()}
	keys := map[string]artifact.Digest{}
	for _, s := range r.stages {
		switch {
		case s.State == Failed || len(s.Judgment) > 0:
			res.Failed++
		case s.State == Skipped:
			res.Skipped++
		}
		switch s.State {
		case Done:
			res.Ran++
		case Reused:
			res.Reused++
		}
		if s.State == Done || s.State == Reused {
			keys[s.Node.ID] = s.Key
		}
		res.Stages = append(res.Stages, s.StageResult)
	}
	res.OK = res.OK && res.Failed+res.Skipped == 0
	var err error
	if len(keys) == len(r.p.Nodes) {
		res.Experiment = experimentHash(keys)
		err = r.storeExperiment(res.Experiment)
	}
	err = errors.Join(err, r.log.Finish(func(run *cache.Run) {
		run.OK, run.Experiment, run.Ran, run.Reused, run.Failed, run.Stages = res.OK, res.Experiment, res.Ran, res.Reused, res.Failed, r.runStages()
		if r.ctx.Err() != nil {
			run.Error = "interrupted"
		}
	}))
	r.events.emit(Event{Event: EventFinished, Pipeline: r.p.Name, Run: res.Run, Finished: &Finished{Experiment: res.Experiment, OK: res.OK,
		Ran: res.Ran, Reused: res.Reused, Failed: res.Failed, Skipped: res.Skipped, Took: res.Took}})
	if r.ctx.Err() != nil {
		return res, r.ctx.Err()
	}
	return res, err
}

// store keeps the state of the run on disk for those who look at it. That it cannot be written is found again, and
// reported, at the end.
func (r *run) store() {
	r.dirty, r.stored = false, time.Now()
	_ = r.log.Update(func(run *cache.Run) { run.Stages = r.runStages() })
}

// runStages is the state of every stage, each after those that it needs.
func (r *run) runStages() []cache.RunStage {
	out := make([]cache.RunStage, 0, len(r.stages))
	for _, i := range r.g.order {
		s := r.stages[i]
		rs := cache.RunStage{Address: s.Node.ID, Kind: s.Node.Kind.Name, State: string(s.State), Key: s.Key, Reasons: toStored(s.Reasons)}
		if s.State == Ready {
			rs.State = string(Waiting)
		}
		if s.State == Running {
			rs.Waiting = r.waits.of(s.Node.ID)
		}
		if s.Err != nil {
			rs.Error = s.Err.Error()
		}
		if s.Record != nil {
			rs.TookS = s.Record.TookS
		}
		out = append(out, rs)
	}
	return out
}

// emitter hands events out one at a time.
type emitter struct {
	mu sync.Mutex // held while an event is handled, which keeps the order
	to func(Event)
}

func (e *emitter) emit(ev Event) {
	if e.to == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.Time = time.Now().UTC()
	e.to(ev)
}
