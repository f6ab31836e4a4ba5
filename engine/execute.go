package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/stages"
)

// execution runs one stage, in a goroutine of its own. It reads only what does not change during a run.
type execution struct {
	run     *run
	index   int
	res     *resolved
	reasons []Reason
}

// damageError says that an input cannot be brought to the stage because the store's bytes are damaged or gone.
type damageError struct{ damage }

func (e *damageError) Error() string { return e.err.Error() }

// execute waits for the lease of the key, looks whether another process has made the result meanwhile, else makes it.
func (x *execution) execute(ctx context.Context) completion {
	c := completion{index: x.index}
	n := x.res.node
	store := x.run.o.Cache
	waited := false
	lease, err := store.Lease(ctx, x.res.key, func() {
		waited = true
		x.run.events.emit(Event{Event: EventWaitingForLease, Address: n.ID, Key: x.res.key})
	})
	if err != nil {
		c.err = err
		return c
	}
	defer lease.Release()
	if !x.run.resolver.forced(n) || waited {
		// An error means that the result is damaged: it is made anew.
		if rec, err := store.Record(x.res.key); err == nil && rec != nil {
			c.record, c.shared = rec, true
			return c
		}
	}
	x.run.events.emit(Event{Event: EventStageStarted, Address: n.ID, Kind: n.Kind.Name, Key: x.res.key, Action: Execute, Reasons: x.reasons})
	c.record, err = x.attempts(ctx)
	var damaged *damageError
	if errors.As(err, &damaged) {
		c.damage = &damaged.damage
	} else {
		c.err = err
	}
	return c
}

// attempts tries as often as the stage's retry allows. What the user has to mend is not tried again.
func (x *execution) attempts(ctx context.Context) (*cache.Record, error) {
	n := x.res.node
	pause := n.Retry.Backoff
	for attempt := 1; ; attempt++ {
		rec, err := x.attempt(ctx, attempt)
		var problem stages.Problem
		var damaged *damageError
		if err == nil || attempt >= n.Retry.Attempts || ctx.Err() != nil || errors.As(err, &problem) || errors.As(err, &damaged) {
			return rec, err
		}
		x.run.events.emit(Event{Event: EventStageRetry, Address: n.ID, Key: x.res.key, Attempt: attempt + 1, Error: err.Error()})
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		pause *= 2
	}
}

// attempt runs the stage once and commits its record. Everything it makes on the way lies in one folder.
func (x *execution) attempt(ctx context.Context, attempt int) (*cache.Record, error) {
	lease, err := x.lease(ctx)
	if err != nil {
		return nil, err
	}
	var on []string
	place := place(x.res.runner)
	if lease != nil {
		defer lease.Release()
		place, on = lease, lease.On()
	}
	started := time.Now() // what it waited for a device is no part of it
	store := x.run.o.Cache
	dir, err := store.TempDir("stage-*")
	if err != nil {
		return nil, fmt.Errorf("making the stage's folder: %w", err)
	}
	defer removeAll(dir)
	job, err := x.job(dir)
	if err != nil {
		return nil, err
	}
	c := newCollector(x)
	defer c.release()
	if err := x.work(ctx, place, job, c); err != nil {
		return nil, err
	}
	if err := x.inputsUnchanged(); err != nil {
		return nil, err
	}
	values, measured, err := c.check(x.res.schema)
	if err != nil {
		return nil, err
	}
	outputs, err := x.adopt(job.OutDir)
	if err != nil {
		return nil, err
	}
	log, err := store.PutBytes(c.logText(), artifact.File)
	if err != nil {
		return nil, fmt.Errorf("storing the log: %w", err)
	}
	host, _ := os.Hostname() // a name for people; "" does as well
	rec := &cache.Record{Key: x.res.key, Kind: x.res.node.Kind.Name, Manifest: x.res.manifest.Text(), Pipeline: x.run.p.Name, Address: x.res.node.ID,
		Outputs: outputs, Values: values, Measured: measured, Device: x.res.device, Started: started.UTC(), TookS: time.Since(started).Seconds(),
		Host: host, Runner: x.res.runner.Name(), On: on, Attempts: attempt, Log: log, Reasons: toStored(x.reasons)}
	if err := store.PutRecord(rec); err != nil {
		return nil, err
	}
	// The record stands; what is left of the scratch folder is only room, which gc frees too.
	_ = store.DropScratch(x.res.key)
	return rec, nil
}

// work has the runner execute the job, within the stage's timeout.
func (x *execution) work(ctx context.Context, place place, job *stages.Job, c *collector) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if t := x.res.node.Timeout; t > 0 {
		limited, cancel = context.WithTimeout(ctx, t)
	}
	defer cancel()
	err := place.Run(limited, job, c)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return fmt.Errorf("it did not finish within its timeout of %s", x.res.node.Timeout)
	}
	return err
}

// job lays out the inputs below dir and describes the execution.
func (x *execution) job(dir string) (*stages.Job, error) {
	scratch, err := x.run.o.Cache.Scratch(x.res.key)
	if err != nil {
		return nil, err
	}
	job := &stages.Job{Kind: x.res.node.Kind.Name, Version: x.res.node.Kind.Version, Address: x.res.node.ID, Args: x.res.args, OutDir: filepath.Join(dir, "out"),
		ScratchDir: scratch, Seed: x.res.seed, Device: x.res.device, Resources: x.res.resources, Inputs: map[string][]stages.Input{}}
	for _, d := range []string{job.OutDir, filepath.Join(dir, "in")} {
		if err := os.Mkdir(d, 0o777); err != nil {
			return nil, fmt.Errorf("making the stage's folder: %w", err)
		}
	}
	for _, in := range x.res.inputs {
		path := filepath.Join(dir, "in", in.port+"."+strconv.Itoa(len(job.Inputs[in.port])))
		if path, err = x.materialize(in, path); err != nil {
			return nil, err
		}
		job.Inputs[in.port] = append(job.Inputs[in.port], stages.Input{Name: in.name, Ref: in.ref, Path: path})
	}
	return job, nil
}

// Sources up to these bounds are copied into the store, from which an experiment can be rebuilt. Larger ones are read where
// they lie, by kinds that are ours.
const (
	storedBytes = 256 << 20
	storedFiles = 4096
)

// materialize brings an input to path, or returns where it lies already.
func (x *execution) materialize(in boundInput, path string) (string, error) {
	store, mode := x.run.o.Cache, cache.Link
	if x.res.node.Kind.Foreign {
		mode = cache.Copy
	}
	if in.source != nil {
		if mode == cache.Link && (in.ref.Size > storedBytes || in.source.Files() > storedFiles) {
			return in.source.Path, nil
		}
		if err := store.StoreSource(in.source); err != nil {
			return "", fmt.Errorf("%w. Run again when nothing writes to it", err)
		}
	}
	err := store.Materialize(in.ref, path, mode)
	if errors.Is(err, cache.ErrCorrupt) || errors.Is(err, cache.ErrMissing) {
		if in.source != nil { // the project has it: it is copied into the store again
			if err = store.StoreSource(in.source); err == nil {
				removeAll(path)
				err = store.Materialize(in.ref, path, mode)
			}
			return path, err
		}
		return "", &damageError{damage{in.from, err}}
	}
	if err != nil {
		return "", fmt.Errorf("bringing the input %s to the stage: %w", in.port, err)
	}
	return path, nil
}

// inputsUnchanged makes sure that what the stage has read is what the key names.
func (x *execution) inputsUnchanged() error {
	for _, in := range x.res.inputs {
		if in.source != nil {
			ok, err := x.run.o.Cache.Unchanged(in.source)
			if err != nil {
				return fmt.Errorf("looking at the source %s again: %w", in.written, err)
			}
			if !ok {
				return stages.Problemf(in.port, "Source changed during the run", "%s changed while the stage was running, so its result would belong to neither state. Run again when nothing writes to it.", in.written)
			}
			continue
		}
		if x.res.node.Kind.Foreign {
			continue // it had copies
		}
		if err := x.run.o.Cache.Whole(in.ref); err != nil {
			return &damageError{damage{in.from, err}}
		}
	}
	return nil
}

// adopt checks the outputs against the schema and moves them into the store.
func (x *execution) adopt(outDir string) (map[string]artifact.Ref, error) {
	if err := x.onlyDeclared(outDir); err != nil {
		return nil, err
	}
	outputs := map[string]artifact.Ref{}
	for _, port := range x.res.schema.Outputs {
		path := filepath.Join(outDir, port.Name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, stages.Problemf("", "Missing output", "The stage ended well but did not write its output %q.", port.Name)
		case err != nil:
			return nil, fmt.Errorf("looking at output %s: %w", port.Name, err)
		}
		typ := x.res.outputType(port)
		var ref artifact.Ref
		switch {
		case info.IsDir() && typ == artifact.File, !info.IsDir() && typ == artifact.Folder, !info.IsDir() && !info.Mode().IsRegular():
			return nil, stages.Problemf("", "Output of the wrong nature", "The output %q is declared as a %s, but the stage wrote something else there.", port.Name, typ)
		case info.IsDir():
			ref, err = x.run.o.Cache.PutTree(path, typ)
		default:
			ref, err = x.run.o.Cache.PutFile(path, typ)
		}
		if err != nil {
			return nil, fmt.Errorf("storing output %s: %w", port.Name, err)
		}
		outputs[port.Name] = ref
	}
	return outputs, nil
}

func (x *execution) onlyDeclared(outDir string) error {
	entries, err := os.ReadDir(outDir)
	if err != nil {
		return fmt.Errorf("looking at the outputs: %w", err)
	}
	for _, e := range entries {
		if x.res.schema.Output(e.Name()) == nil {
			return stages.Problemf("", "Output that is not declared", "The stage wrote %q, which is not among its outputs. Declare it or do not write it.", e.Name())
		}
	}
	return nil
}

// removeAll removes a stage's folder, also where a program made folders read only. What stays is cleared by gc.
func removeAll(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o777)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}
