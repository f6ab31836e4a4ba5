package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// Record is what is remembered of one key. It is immutable once stored.
type Record struct {
	Key      artifact.Digest         `json:"key"`
	Kind     string                  `json:"kind"`
	Manifest string                  `json:"manifest"`
	Pipeline string                  `json:"pipeline"` // in which it was executed; not part of the key
	Address  string                  `json:"address"`
	Outputs  map[string]artifact.Ref `json:"outputs"`
	Values   map[string]any          `json:"values,omitempty"`
	Measured map[string]float64      `json:"measured,omitempty"`
	Device   stages.Device           `json:"device"`
	Started  time.Time               `json:"started"`
	TookS    float64                 `json:"took_s"`
	Host     string                  `json:"host"`
	Runner   string                  `json:"runner"`
	On       []string                `json:"on,omitempty"` // what it had for itself: the GPUs, by name and UUID, with driver and plugin
	Attempts int                     `json:"attempts"`
	Log      artifact.Ref            `json:"log,omitzero"`
	Reasons  []Reason                `json:"reasons,omitempty"`
}

// Reason is one cause of an execution: what was old and what is new at a path of the manifest.
type Reason struct {
	Path string `json:"path"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Experiment is one resolved pipeline with everything that its stages gave.
type Experiment struct {
	Hash      artifact.Digest         `json:"hash"`
	Pipeline  string                  `json:"pipeline"`
	Seed      uint64                  `json:"seed"`
	Dir       string                  `json:"dir"` // where the pipeline lay; sources that are not stored are looked for there
	Sources   map[string]string       `json:"sources"`
	Variables map[string]any          `json:"variables,omitempty"`
	Inputs    map[string]artifact.Ref `json:"inputs,omitempty"` // sources of the project by path as written
	Stages    []ExperimentStage       `json:"stages"`
	Created   time.Time               `json:"created"`
}

// ExperimentStage is one stage of an experiment.
type ExperimentStage struct {
	Address  string                  `json:"address"`
	Kind     string                  `json:"kind"`
	Version  int                     `json:"version"`
	Key      artifact.Digest         `json:"key"`
	Manifest string                  `json:"manifest"`
	Device   stages.Device           `json:"device"`
	Outputs  map[string]artifact.Ref `json:"outputs"`
	Values   map[string]any          `json:"values,omitempty"`
}

// Run is one execution of a pipeline.
type Run struct {
	ID         string          `json:"id"`
	Pipeline   string          `json:"pipeline"`
	File       string          `json:"file"` // folder of the pipeline
	Experiment artifact.Digest `json:"experiment,omitempty"`
	Started    time.Time       `json:"started"`
	Finished   time.Time       `json:"finished,omitzero"`
	OK         bool            `json:"ok"`
	Error      string          `json:"error,omitempty"`
	Ran        int             `json:"ran"`
	Reused     int             `json:"reused"`
	Failed     int             `json:"failed"`
	PID        int             `json:"pid"`
	Stages     []RunStage      `json:"stages,omitempty"`
	// State is derived when the run is read: running, done, failed, interrupted.
	State string `json:"-"`
}

// RunStage is how far one stage of a run is.
type RunStage struct {
	Address string          `json:"address"`
	Kind    string          `json:"kind"`
	State   string          `json:"state"` // waiting, running, reused, done, failed, skipped
	Key     artifact.Digest `json:"key,omitempty"`
	Reasons []Reason        `json:"reasons,omitempty"`
	Error   string          `json:"error,omitempty"`
	Waiting string          `json:"waiting,omitempty"` // what it waits for outside of its run, while it is running
	TookS   float64         `json:"took_s,omitempty"`
}

// sealed is how records, experiments and runs lie on disk: with the digest of their text, so that a damaged one is
// found out.
type sealed struct {
	Digest artifact.Digest `json:"digest"`
	Body   json.RawMessage `json:"body"`
}

func seal(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(sealed{artifact.DigestBytes(body), body})
	return append(b, '\n'), err
}

// unseal reads what seal wrote and refuses everything else.
func unseal(b []byte, into any) error {
	var s sealed
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return fmt.Errorf("it is torn or not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	if artifact.DigestBytes(s.Body) != s.Digest {
		return errors.New("its text does not match its digest")
	}
	return json.Unmarshal(s.Body, into)
}

// readSealed reads the file at path; a damaged one is quarantined.
func (c *Cache) readSealed(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := unseal(b, into); err != nil {
		c.quarantine(path)
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (c *Cache) recordPath(key artifact.Digest) string {
	return c.path("records", string(key[:2]), string(key)+".json")
}

// PutRecord makes everything that was put durable and then the record.
func (c *Cache) PutRecord(r *Record) error {
	if !r.Key.Valid() {
		return fmt.Errorf("a record with the key %q", r.Key)
	}
	for name, ref := range r.Outputs {
		if err := c.Whole(ref); err != nil {
			return fmt.Errorf("recording %s: output %s: %w", r.Address, name, err)
		}
	}
	if err := c.Sync(); err != nil {
		return fmt.Errorf("recording %s: %w", r.Address, err)
	}
	b, err := seal(r)
	if err != nil {
		return fmt.Errorf("recording %s: %w", r.Address, err)
	}
	if err := c.writeFile(c.recordPath(r.Key), b); err != nil {
		return fmt.Errorf("recording %s: %w", r.Address, err)
	}
	return c.Sync()
}

// Record returns the record of a key when everything that it names is there. Without one it returns nil and nil; when
// there is one that cannot be believed it returns nil and the reason, which wraps ErrMissing or ErrCorrupt where blobs
// are the cause.
func (c *Cache) Record(key artifact.Digest) (*Record, error) {
	r, err := c.Claim(key)
	if r == nil || err != nil {
		return nil, err
	}
	names := make([]string, 0, len(r.Outputs))
	for name := range r.Outputs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := c.Whole(r.Outputs[name]); err != nil {
			return nil, fmt.Errorf("output %s: %w", name, err)
		}
	}
	return r, nil
}

// Claim returns the record of a key without looking at its blobs: for people who ask what was, not for reuse.
func (c *Cache) Claim(key artifact.Digest) (*Record, error) {
	if !key.Valid() {
		return nil, nil
	}
	var r Record
	err := c.readSealed(c.recordPath(key), &r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("the record is damaged: %w", err)
	case r.Key != key:
		c.quarantine(c.recordPath(key))
		return nil, fmt.Errorf("the record of %s names another key", key.Short())
	}
	return &r, nil
}

// list returns the paths of a folder's .json files whose names begin with prefix, sorted. It is no glob: the path of the
// cache may hold what a pattern gives a meaning to.
func (c *Cache) list(prefix string, folder ...string) ([]string, error) {
	dir := c.path(folder...)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the cache: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, prefix) && strings.HasSuffix(name, ".json") {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}

// Keys returns the keys of all records, sorted.
func (c *Cache) Keys() ([]artifact.Digest, error) {
	folders, err := os.ReadDir(c.path("records"))
	if err != nil {
		return nil, fmt.Errorf("listing the records: %w", err)
	}
	var keys []artifact.Digest
	for _, f := range folders {
		if !f.IsDir() {
			continue
		}
		paths, err := c.list("", "records", f.Name())
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			if d := artifact.Digest(strings.TrimSuffix(filepath.Base(p), ".json")); d.Valid() {
				keys = append(keys, d)
			}
		}
	}
	return keys, nil
}

// FindKeys returns the keys of records that begin with prefix.
func (c *Cache) FindKeys(prefix string) ([]artifact.Digest, error) {
	keys, err := c.Keys()
	var out []artifact.Digest
	for _, k := range keys {
		if strings.HasPrefix(string(k), prefix) {
			out = append(out, k)
		}
	}
	return out, err
}

// LastRecord returns the record of the stage's latest execution or reuse in a run of the pipeline; nil when there is
// none. Its blobs need not be there any more.
func (c *Cache) LastRecord(pipeline, address string) *Record {
	var l last
	if v := c.index.get(lastKey(pipeline, address)); v != nil && json.Unmarshal(v, &l) == nil {
		if r, err := c.Claim(l.Key); err == nil && r != nil {
			return r
		}
	}
	if c.index.db != nil {
		return nil
	}
	runs, _ := c.Runs() // newest first; another process has the index
	for _, run := range runs {
		if run.Pipeline != pipeline {
			continue
		}
		for _, s := range run.Stages {
			if s.Address == address && s.Key != "" {
				if r, err := c.Claim(s.Key); err == nil && r != nil {
					return r
				}
			}
		}
	}
	return nil
}
