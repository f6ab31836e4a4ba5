// Package stagetest is the conformance suite that every kind passes. A kind's own test describes one small use of it
// (a Fixture) and calls Run.
//
// Rules of the room: the suite knows no kind. It checks what the engine relies on: a complete schema, a key that holds
// every argument that can change the result and no other, the same bytes from the same job whatever the machine does
// around it, cancellation, resumption, and a version that rises when results change.
package stagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// Fixture is one small use of a kind. Its runs should take at most seconds.
type Fixture struct {
	Kind *stages.Kind
	Args stages.Args
	// Inputs writes the input artifacts below dir, the same bytes at every call, and returns them by port. Ref's Type
	// must be set; its digest and size are filled in by the suite.
	Inputs func(t *testing.T, dir string) map[string][]stages.Input
	Seed   uint64
	Device stages.Device // for kinds that compute
	// PinFile holds the pinned digests; "" means testdata/pinned.json beside the test. A kind with several fixtures
	// gives each its own.
	PinFile string
	// Mask, of a Measured kind and of no other, blanks out what was measured in the bytes of an output. What is left must be the same every
	// time, and its digest is what is pinned.
	Mask func(output string, content []byte) []byte
	// Interrupt is how many progress or log reports to let pass before the run is cancelled in the resumption check;
	// 0 cancels at the first one.
	Interrupt int
}

// Run checks the kind with the fixture.
func Run(t *testing.T, f Fixture) {
	if f.Kind.Measured != (f.Mask != nil) {
		t.Fatalf("a fixture has a mask where its kind is measured, and only there: Measured is %v", f.Kind.Measured)
	}
	t.Run("schema", func(t *testing.T) { checkSchema(t, f) })
	t.Run("key", func(t *testing.T) { checkKey(t, f) })
	var first outcome
	ok := t.Run("outputs", func(t *testing.T) { first = checkOutputs(t, f) })
	if !ok {
		return
	}
	t.Run("same bytes", func(t *testing.T) { checkSameBytes(t, f, first) })
	if f.Mask != nil {
		t.Run("measured", func(t *testing.T) { checkMasked(t, f) })
	}
	t.Run("cancelled before", func(t *testing.T) { checkCancelledBefore(t, f) })
	t.Run("cancelled and resumed", func(t *testing.T) { checkResumed(t, f, first) })
	t.Run("version", func(t *testing.T) { checkPinned(t, f, first) })
}

// outcome is what one execution produced.
type outcome struct {
	digests  map[string]artifact.Digest
	values   map[string]any
	measured map[string]float64
}

// recorder is a Reporter that keeps what is said and calls notify at every progress or log report.
type recorder struct {
	mu       sync.Mutex // guards the maps and reports
	values   map[string]any
	measured map[string]float64
	reports  int
	notify   func(reports int)
}

func newRecorder() *recorder {
	return &recorder{values: map[string]any{}, measured: map[string]float64{}}
}

func (r *recorder) said() {
	r.mu.Lock()
	r.reports++
	n := r.reports
	r.mu.Unlock()
	if r.notify != nil {
		r.notify(n)
	}
}

func (r *recorder) Progress(stages.Progress) { r.said() }
func (r *recorder) Log(string)               { r.said() }

func (r *recorder) Value(name string, v any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[name] = v
}

func (r *recorder) Measure(name string, v float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.measured[name] = v
}

// job makes a job in a fresh folder; scratch is its scratch folder, "" for a fresh one.
func (f Fixture) job(t *testing.T, scratch string) *stages.Job {
	t.Helper()
	dir := t.TempDir()
	if scratch == "" {
		scratch = filepath.Join(dir, "scratch")
		mkdir(t, scratch)
	}
	job := &stages.Job{
		Kind: f.Kind.Name, Version: f.Kind.Version, Address: f.Kind.Name + ".fixture", Args: f.Args,
		OutDir: filepath.Join(dir, "out"), ScratchDir: scratch, Resources: stages.Resources{CPUs: 1},
	}
	if f.Kind.Seeded {
		job.Seed = f.Seed
	}
	if f.Kind.Computes {
		job.Device = f.Device
	}
	mkdir(t, job.OutDir)
	if f.Inputs != nil {
		inDir := filepath.Join(dir, "in")
		mkdir(t, inDir)
		job.Inputs = f.Inputs(t, inDir)
	}
	for _, ins := range job.Inputs {
		for i := range ins {
			ins[i].Ref = refOf(t, ins[i].Path, ins[i].Ref.Type)
		}
	}
	return job
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
}

// refOf digests a file or folder as the store would.
func refOf(t *testing.T, path string, typ artifact.Type) artifact.Ref {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !info.IsDir() {
		d, n, err := artifact.DigestFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return artifact.Ref{Type: typ, Digest: d, Size: n}
	}
	var entries []artifact.Entry
	err = artifact.Walk(path, func(rel string, info os.FileInfo) error {
		d, n, err := artifact.DigestFile(filepath.Join(path, filepath.FromSlash(rel)))
		entries = append(entries, artifact.Entry{Path: rel, Digest: d, Size: n, Executable: info.Mode()&0o111 != 0})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := artifact.NewTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Ref(typ)
}

// decode returns a stage with the fixture's arguments bound, and its schema.
func (f Fixture) decode(t *testing.T, job *stages.Job) (stages.Stage, *stages.Schema) {
	t.Helper()
	connected := map[string]bool{}
	for port := range job.Inputs {
		connected[port] = true
	}
	st := f.Kind.New()
	schema, problems := stages.Decode(st, job.Args, connected)
	if stages.HasErrors(problems) {
		t.Fatalf("the fixture's arguments do not decode: %v", problems)
	}
	return st, schema
}

// execute runs the job with ctx and digests its outputs; notify is called at every report.
func (f Fixture) execute(t *testing.T, ctx context.Context, job *stages.Job, notify func(int)) (outcome, error) {
	t.Helper()
	st, _ := f.decode(t, job)
	rec := newRecorder()
	rec.notify = notify
	if err := st.Run(ctx, job.WithReporter(rec)); err != nil {
		return outcome{}, err
	}
	out := outcome{digests: map[string]artifact.Digest{}, values: map[string]any{}, measured: rec.measured}
	names, err := os.ReadDir(job.OutDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		out.digests[e.Name()] = f.digest(t, filepath.Join(job.OutDir, e.Name()))
	}
	for name, v := range rec.values {
		normal, err := stages.NormalValue(v)
		if err != nil {
			t.Errorf("value %s: %v", name, err)
		}
		out.values[name] = normal
	}
	return out, nil
}

// digest is that of an output, or of what the mask leaves of it.
func (f Fixture) digest(t *testing.T, path string) artifact.Digest {
	t.Helper()
	if f.Mask == nil {
		return refOf(t, path, artifact.File).Digest
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return artifact.DigestBytes(f.Mask(filepath.Base(path), b))
}

// same compares two outcomes but for their measurements.
func same(t *testing.T, what string, a, b outcome) {
	t.Helper()
	for _, name := range union(a.digests, b.digests) {
		if a.digests[name] != b.digests[name] {
			t.Errorf("%s: output %s has digest %s, was %s", what, name, short(b.digests[name]), short(a.digests[name]))
		}
	}
	va, _ := json.Marshal(a.values)
	vb, _ := json.Marshal(b.values)
	if string(va) != string(vb) {
		t.Errorf("%s: values are %s, were %s", what, vb, va)
	}
}

func short(d artifact.Digest) string {
	if d == "" {
		return "(none)"
	}
	return d.Short()
}

func union[V any](a, b map[string]V) []string {
	set := map[string]bool{}
	for k := range a {
		set[k] = true
	}
	for k := range b {
		set[k] = true
	}
	var names []string
	for k := range set {
		names = append(names, k)
	}
	sort.Strings(names)
	return names
}

// roundTrip passes a job through its JSON form, as a worker receives it.
func roundTrip(job *stages.Job) (*stages.Job, error) {
	b, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("writing the job as JSON: %w", err)
	}
	var out stages.Job
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("reading the job from JSON: %w", err)
	}
	return &out, nil
}
