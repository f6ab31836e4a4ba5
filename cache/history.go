package cache

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

// PutExperiment stores an experiment. An equal one is replaced; its hash says that nothing else changes by it.
func (c *Cache) PutExperiment(e *Experiment) error {
	if !e.Hash.Valid() {
		return fmt.Errorf("an experiment with the hash %q", e.Hash)
	}
	b, err := seal(e)
	if err == nil {
		err = c.writeFile(c.path("experiments", string(e.Hash)+".json"), b)
	}
	if err != nil {
		return fmt.Errorf("storing the experiment %s: %w", e.Hash.Short(), err)
	}
	return c.Sync()
}

// ErrAmbiguous says that a prefix fits several experiments or runs.
var ErrAmbiguous = errors.New("the prefix fits more than one")

// Experiment returns the experiment whose hash begins with prefix, at least 4 digits. It wraps ErrMissing when there is
// none.
func (c *Cache) Experiment(prefix string) (*Experiment, error) {
	prefix = strings.ToLower(prefix)
	if len(prefix) < 4 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%q is not the hash of an experiment, nor its first digits (at least 4): %w", prefix, ErrMissing)
	}
	paths, err := c.list(prefix, "experiments")
	switch {
	case err != nil:
		return nil, err
	case len(paths) == 0:
		return nil, fmt.Errorf("the experiment %s is %w", prefix, ErrMissing)
	case len(paths) > 1:
		return nil, fmt.Errorf("%s: %w experiment; give more digits", prefix, ErrAmbiguous)
	}
	var e Experiment
	if err := c.readSealed(paths[0], &e); err != nil {
		return nil, fmt.Errorf("reading the experiment: %w", err)
	}
	return &e, nil
}

// Experiments returns all experiments, newest first. Those that cannot be read are left out and named by the error.
func (c *Cache) Experiments() ([]*Experiment, error) {
	paths, err := c.list("", "experiments")
	if err != nil {
		return nil, err
	}
	var out []*Experiment
	var errs []error
	for _, p := range paths {
		var e Experiment
		if err := c.readSealed(p, &e); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, &e)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Created.After(out[j].Created) })
	return out, errors.Join(errs...)
}

// RunLog is a run that is going on in this process: its state is kept on disk while it goes.
type RunLog struct {
	c     *Cache
	run   Run
	lock  *Lease
	noted map[string]artifact.Digest // by address: what noteLast was told
}

// finished reports whether the stage's key has a record: that of a failed stage explains nothing.
func (s RunStage) finished() bool { return s.State == "done" || s.State == "reused" }

// note remembers the key of a stage that has finished, once.
func (l *RunLog) note(s RunStage) {
	if !s.finished() || l.noted[s.Address] == s.Key {
		return
	}
	l.noted[s.Address] = s.Key
	l.c.noteLast(l.run.Pipeline, s.Address, s.Key, l.run.Started)
}

// BeginRun stores a new run. It shares the cache with other runs and keeps GC away until Finish; ID and PID are set.
func (c *Cache) BeginRun(r Run) (*RunLog, error) {
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("naming the run: %w", err)
	}
	r.ID = r.Started.UTC().Format("20060102T150405") + "-" + hex.EncodeToString(random[:])
	r.PID = os.Getpid()
	lock, err := c.tryLock("run-"+r.ID, exclusive)
	if err != nil || lock == nil {
		return nil, fmt.Errorf("marking the run as going on: %w", err)
	}
	l := &RunLog{c: c, run: r, lock: lock, noted: map[string]artifact.Digest{}}
	return l, l.write()
}

func (l *RunLog) write() error {
	b, err := seal(l.run)
	if err == nil {
		err = l.c.writeFile(l.c.path("runs", l.run.ID+".json"), b)
	}
	if err == nil {
		l.c.leaveBehind()
		return nil
	}
	if _, e := os.Lstat(l.c.path("VERSION")); errors.Is(e, fs.ErrNotExist) {
		return fmt.Errorf("storing the run %s: the cache folder %s was removed while the run was going on, with all that it held: %w", l.run.ID, l.c.dir, err)
	}
	return fmt.Errorf("storing the run %s: %w", l.run.ID, err)
}

// ID names the run.
func (l *RunLog) ID() string { return l.run.ID }

// Update replaces the state of the run's stages, and remembers the last key of those that have finished, so that a run
// that is killed leaves what later explanations compare with.
func (l *RunLog) Update(change func(*Run)) error {
	change(&l.run)
	for _, s := range l.run.Stages {
		l.note(s)
	}
	return l.write()
}

// Finish stores the end of the run and remembers the last key of each of its stages.
func (l *RunLog) Finish(change func(*Run)) error {
	defer l.lock.Release()
	change(&l.run)
	l.run.Finished = time.Now().UTC()
	for _, s := range l.run.Stages {
		l.note(s)
	}
	if err := l.write(); err != nil {
		return err
	}
	return l.c.Sync()
}

// Runs returns all runs, newest first. Those that cannot be read are left out and named by the error.
func (c *Cache) Runs() ([]*Run, error) {
	paths, err := c.list("", "runs")
	if err != nil {
		return nil, err
	}
	sort.Sort(sort.Reverse(sort.StringSlice(paths)))
	var out []*Run
	var errs []error
	for _, p := range paths {
		var r Run
		if err := c.readSealed(p, &r); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		c.setState(&r)
		out = append(out, &r)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Started.After(out[j].Started) })
	return out, errors.Join(errs...)
}

// setState tells a run that is going on from one whose process has died.
func (c *Cache) setState(r *Run) {
	switch {
	case !r.Finished.IsZero() && r.OK:
		r.State = "done"
	case !r.Finished.IsZero():
		r.State = "failed"
	case c.locked("run-" + r.ID):
		r.State = "running"
	default:
		r.State = "interrupted"
	}
}

// Referenced returns what a record names: outputs and log.
func (r *Record) Referenced() []artifact.Ref {
	var refs []artifact.Ref
	for _, ref := range r.Outputs {
		refs = append(refs, ref)
	}
	if !r.Log.IsZero() {
		refs = append(refs, r.Log)
	}
	return refs
}
