package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Policy says what GC keeps. A record is used when a stage runs or finds it; an experiment when a run ends in it.
type Policy struct {
	// KeepAge keeps what was used in that time before now, and checkpoints of stages that did not finish.
	KeepAge time.Duration
	// KeepRuns keeps what the newest runs of each pipeline used, that many of them.
	KeepRuns int
	// Pinned keeps these experiments and everything they name, whatever else the policy says.
	Pinned []artifact.Digest
	// MaxBytes bounds the blobs that stay: what was used longest ago goes first. 0 is no bound.
	MaxBytes int64
	// DryRun says what would go and removes nothing.
	DryRun bool
}

// Collection is what GC removed, or would remove.
type Collection struct {
	DryRun      bool  `json:"dry_run"`
	Blobs       Usage `json:"blobs"`
	Records     int   `json:"records"`
	Experiments int   `json:"experiments"`
	Runs        int   `json:"runs"`
	Scratch     Usage `json:"scratch"` // folders
	Temporary   Usage `json:"temporary"`
	Quarantine  Usage `json:"quarantine"`
	Freed       int64 `json:"freed"` // bytes in all
	Kept        Usage `json:"kept"`  // blobs
}

// ErrInUse says that a run is going on, which GC could take something away from.
var ErrInUse = errors.New("a run is going on in this cache")

// GC removes what the policy does not keep and nothing that is kept needs. It holds the cache alone meanwhile: it
// returns ErrInUse while a run is going on, and a run that begins during it waits for it. Names go before the blobs that
// they name, so that a GC that is killed leaves garbage, never a lie.
func (c *Cache) GC(ctx context.Context, p Policy) (*Collection, error) {
	alone, err := c.tryLock("use", exclusive)
	if err != nil {
		return nil, err
	}
	if alone == nil {
		return nil, fmt.Errorf("collecting garbage in %s: %w", c.dir, ErrInUse)
	}
	defer alone.Release()
	m, err := c.mark(p, time.Now())
	if err != nil {
		return nil, err
	}
	s := &sweep{c: c, ctx: ctx, out: Collection{DryRun: p.DryRun}}
	s.named(m)
	s.blobs(m)
	s.leavings(m)
	return &s.out, s.err
}

// marked is what GC found in the cache and what of it stays.
type marked struct {
	records     map[artifact.Digest]*Record
	experiments map[artifact.Digest]*Experiment
	runs        []*Run

	used     map[artifact.Digest]time.Time // last use of each record and experiment
	stays    map[artifact.Digest]bool      // records and experiments
	pinned   map[artifact.Digest]bool
	runStays map[string]bool
	blobs    map[artifact.Digest]int64 // size of each blob that stays
	oldest   time.Time                 // what was used since then stays
}

func (c *Cache) mark(p Policy, now time.Time) (*marked, error) {
	m := &marked{
		records: map[artifact.Digest]*Record{}, experiments: map[artifact.Digest]*Experiment{},
		used: map[artifact.Digest]time.Time{}, stays: map[artifact.Digest]bool{}, pinned: map[artifact.Digest]bool{},
		runStays: map[string]bool{}, oldest: now.Add(-p.KeepAge),
	}
	if err := m.read(c); err != nil {
		return nil, err
	}
	perPipeline := map[string]int{}
	for _, r := range m.runs { // newest first
		perPipeline[r.Pipeline]++
		keep := perPipeline[r.Pipeline] <= p.KeepRuns || r.Started.After(m.oldest) || r.State == "running"
		m.runStays[r.ID] = keep
		for _, k := range append(keysOf(r), r.Experiment) {
			m.use(k, r.Started)
			m.stays[k] = m.stays[k] || keep
		}
	}
	for k, at := range m.used {
		m.stays[k] = m.stays[k] || at.After(m.oldest)
	}
	for _, hash := range p.Pinned {
		if m.experiments[hash] == nil {
			return nil, fmt.Errorf("the pinned experiment %s is %w", hash.Short(), ErrMissing)
		}
		m.stays[hash], m.pinned[hash] = true, true
	}
	for hash, e := range m.experiments {
		for _, s := range e.Stages {
			m.stays[s.Key] = m.stays[s.Key] || m.stays[hash]
			m.pinned[s.Key] = m.pinned[s.Key] || m.pinned[hash]
			if at := m.used[hash]; m.stays[hash] && at.After(m.used[s.Key]) {
				m.used[s.Key] = at
			}
		}
	}
	m.reach(c, p.MaxBytes)
	return m, nil
}

func keysOf(r *Run) []artifact.Digest {
	var keys []artifact.Digest
	for _, s := range r.Stages {
		keys = append(keys, s.Key)
	}
	return keys
}

func (m *marked) use(k artifact.Digest, at time.Time) {
	if at.After(m.used[k]) {
		m.used[k] = at
	}
}

// read reads every record, experiment and run. A damaged one is in quarantine afterwards and names nothing. One that is
// there but cannot be read (no permission, a failing disk) ends GC: what it names must not be taken for garbage.
func (m *marked) read(c *Cache) error {
	keys, err := c.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		r, err := c.Claim(k)
		if unreadable(err) {
			return fmt.Errorf("nothing was removed, because a record cannot be read: %w", err)
		}
		if err == nil && r != nil {
			m.records[k] = r
			m.use(k, r.Started)
		}
	}
	// A folder that cannot be listed must not be taken for an empty one: everything would go.
	if _, err := c.list("", "experiments"); err != nil {
		return err
	}
	if _, err := c.list("", "runs"); err != nil {
		return err
	}
	experiments, err := c.Experiments()
	if unreadable(err) {
		return fmt.Errorf("nothing was removed, because an experiment cannot be read: %w", err)
	}
	for _, e := range experiments {
		m.experiments[e.Hash] = e
		m.use(e.Hash, e.Created)
	}
	if m.runs, err = c.Runs(); unreadable(err) {
		return fmt.Errorf("nothing was removed, because a run cannot be read: %w", err)
	}
	return nil
}

// unreadable tells a file that could not be read from one that was read and is damaged, or is gone.
func unreadable(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && !errors.Is(err, fs.ErrNotExist)
}

// reach finds the blobs that stay. While they are more than maxBytes (0: any number), it gives up what was used
// longest ago: a record, with the experiments that name it.
func (m *marked) reach(c *Cache, maxBytes int64) {
	sizes, owners := map[artifact.Digest]int64{}, map[artifact.Digest]int{}
	var total int64
	owned := map[artifact.Digest][]artifact.Digest{} // record or experiment → its blobs
	own := func(owner artifact.Digest, refs []artifact.Ref) {
		for d, size := range c.blobsOf(refs) {
			owned[owner] = append(owned[owner], d)
			if owners[d]++; owners[d] == 1 {
				sizes[d] = size
				total += size
			}
		}
	}
	var order []artifact.Digest
	for k, r := range m.records {
		if m.stays[k] {
			own(k, r.Referenced())
			order = append(order, k)
		}
	}
	naming := map[artifact.Digest][]artifact.Digest{} // record → experiments
	for hash, e := range m.experiments {
		if m.stays[hash] {
			own(hash, e.referenced())
			order = append(order, hash)
			for _, s := range e.Stages {
				naming[s.Key] = append(naming[s.Key], hash)
			}
		}
	}
	sort.Slice(order, func(i, j int) bool {
		a, b := m.used[order[i]], m.used[order[j]]
		return a.Before(b) || a.Equal(b) && order[i] < order[j]
	})
	for _, owner := range order {
		if maxBytes <= 0 || total <= maxBytes {
			break
		}
		if m.pinned[owner] {
			continue
		}
		for _, o := range append([]artifact.Digest{owner}, naming[owner]...) {
			if !m.stays[o] || m.pinned[o] {
				continue
			}
			m.stays[o] = false
			for _, d := range owned[o] {
				if owners[d]--; owners[d] == 0 {
					total -= sizes[d]
					delete(sizes, d)
				}
			}
		}
	}
	m.blobs = sizes
}

// blobsOf returns the blobs that make up artifacts, with their sizes: a tree's manifest and files too. What is not there
// is left out.
func (c *Cache) blobsOf(refs []artifact.Ref) map[artifact.Digest]int64 {
	out := map[artifact.Digest]int64{}
	for _, ref := range refs {
		if info, err := os.Lstat(c.blobPath(ref.Digest)); err == nil {
			out[ref.Digest] = info.Size()
		}
		if !ref.Tree {
			continue
		}
		if tree, err := c.Tree(ref); err == nil {
			for _, e := range tree.Entries() {
				out[e.Digest] = e.Size
			}
		}
	}
	return out
}

// referenced returns what an experiment names: its sources, where they were stored, and its outputs.
func (e *Experiment) referenced() []artifact.Ref {
	var refs []artifact.Ref
	for _, ref := range e.Inputs {
		refs = append(refs, ref)
	}
	for _, s := range e.Stages {
		for _, ref := range s.Outputs {
			refs = append(refs, ref)
		}
	}
	return refs
}

// sweep removes what was not marked. After the first error it removes nothing more.
type sweep struct {
	c   *Cache
	ctx context.Context
	out Collection
	err error
}

// remove removes a file or folder, unless the sweep is a dry run, and reports whether it is gone or would be.
func (s *sweep) remove(path string) bool {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err != nil {
		return false
	}
	if !s.out.DryRun {
		s.err = removeAll(path)
		s.c.renamedIn(filepath.Dir(path))
	}
	return s.err == nil
}

// named removes runs, experiments and records, and makes that durable.
func (s *sweep) named(m *marked) {
	for _, r := range m.runs {
		if !m.runStays[r.ID] && s.remove(s.c.path("runs", r.ID+".json")) {
			s.out.Runs++
		}
	}
	for hash := range m.experiments {
		if !m.stays[hash] && s.remove(s.c.path("experiments", string(hash)+".json")) {
			s.out.Experiments++
		}
	}
	for k := range m.records {
		if !m.stays[k] && s.remove(s.c.recordPath(k)) {
			s.out.Records++
		}
	}
	if s.err == nil && !s.out.DryRun {
		s.err = s.c.Sync()
	}
}

func (s *sweep) blobs(m *marked) {
	files, err := s.c.files("blobs")
	if s.err == nil {
		s.err = err
	}
	for _, f := range files {
		if _, stays := m.blobs[artifact.Digest(filepath.Base(f.path))]; stays {
			s.out.Kept.Files++
			s.out.Kept.Bytes += f.size
		} else if s.remove(f.path) {
			s.count(&s.out.Blobs, f.size)
		}
	}
}

func (s *sweep) count(u *Usage, bytes int64) {
	u.Files++
	u.Bytes += bytes
	s.out.Freed += bytes
}

// leavings removes what interrupted processes left: nobody else is at work, so nothing in tmp is in use. Checkpoints and
// damaged files stay for as long as the policy keeps what was used, checkpoints of finished stages do not.
func (s *sweep) leavings(m *marked) {
	for _, part := range []struct {
		dir   string
		use   *Usage
		stays func(name string, changed time.Time) bool
	}{
		{"tmp", &s.out.Temporary, func(string, time.Time) bool { return false }},
		{"sources", &s.out.Temporary, func(_ string, changed time.Time) bool { return changed.After(m.oldest) }},
		{"quarantine", &s.out.Quarantine, func(_ string, changed time.Time) bool { return changed.After(m.oldest) }},
		{"scratch", &s.out.Scratch, func(name string, changed time.Time) bool {
			return m.records[artifact.Digest(name)] == nil && changed.After(m.oldest)
		}},
	} {
		entries, err := os.ReadDir(s.c.path(part.dir))
		if s.err == nil {
			s.err = err
		}
		for _, e := range entries {
			bytes, changed, err := extent(s.c.path(part.dir, e.Name()))
			if err == nil && !part.stays(e.Name(), changed) && s.remove(s.c.path(part.dir, e.Name())) {
				s.count(part.use, bytes)
			}
		}
	}
	s.leases()
}

// extent returns the bytes of the files at or below path and the latest of their and their folders' changes.
func extent(path string) (bytes int64, changed time.Time, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !d.IsDir() {
			bytes += info.Size()
		}
		if info.ModTime().After(changed) {
			changed = info.ModTime()
		}
		return nil
	})
	return bytes, changed, err
}

// leases removes the lock files that nobody holds, each while holding it.
func (s *sweep) leases() {
	entries, err := os.ReadDir(s.c.path("leases"))
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Name() == "use" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if l, err := s.c.tryLock(e.Name(), exclusive); err == nil && l != nil {
			s.remove(s.c.path("leases", e.Name()))
			l.Release()
		}
	}
}
