package stagetest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// checkOutputs runs the job as a worker would and checks that it produced exactly what it declared.
func checkOutputs(t *testing.T, f Fixture) outcome {
	original := f.job(t, "")
	job, err := roundTrip(original)
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.execute(t, context.Background(), job, nil)
	if err != nil {
		t.Fatalf("running: %v", err)
	}
	_, schema := f.decode(t, job)
	declared := map[string]artifact.Digest{}
	for _, p := range schema.Outputs {
		declared[p.Name] = ""
		if out.digests[p.Name] == "" {
			t.Errorf("the declared output %s was not written", p.Name)
		}
	}
	for name := range out.digests {
		if _, ok := declared[name]; !ok {
			t.Errorf("%s was written to the output folder but is not declared", name)
		}
	}
	for _, v := range schema.Values {
		if _, ok := out.values[v.Name]; !ok {
			t.Errorf("the declared value %s was not reported", v.Name)
		}
	}
	for name := range out.values {
		if schema.Value(name) == nil && !schema.OpenValues {
			t.Errorf("the value %s was reported but is not declared", name)
		}
	}
	checkMeasured(t, schema, out)
	if !f.Kind.Foreign {
		checkInputsKept(t, job)
	}
	return out
}

func checkMeasured(t *testing.T, schema *stages.Schema, out outcome) {
	known := map[string]bool{}
	for _, m := range schema.Measurements {
		known[m.Name] = true
	}
	for name := range out.measured {
		if !known[name] {
			t.Errorf("the measurement %s was reported but is not declared", name)
		}
	}
}

// checkMasked checks that the mask hides something, and not everything: a kind whose bytes are always the same is not measured.
func checkMasked(t *testing.T, f Fixture) {
	plain := f
	plain.Mask = nil
	var seen [2]outcome
	for i := range seen {
		var err error
		if seen[i], err = plain.execute(t, context.Background(), plain.job(t, ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	differ := false
	for name, d := range seen[0].digests {
		differ = differ || d != seen[1].digests[name]
	}
	if !differ {
		t.Error("two runs gave the same bytes: this kind is not measured")
	}
	masked, err := f.execute(t, context.Background(), f.job(t, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range masked.digests {
		if d == artifact.DigestBytes(nil) {
			t.Errorf("the mask leaves nothing of the output %s", name)
		}
	}
}

func checkInputsKept(t *testing.T, job *stages.Job) {
	for port, ins := range job.Inputs {
		for _, in := range ins {
			if now := refOf(t, in.Path, in.Ref.Type); now != in.Ref {
				t.Errorf("the stage changed its input %s", port)
			}
		}
	}
}

// checkSameBytes runs again with other surroundings: number of processors, umask, folders.
func checkSameBytes(t *testing.T, f Fixture, first outcome) {
	job := f.job(t, "")
	procs := runtime.GOMAXPROCS(1)
	mask := syscall.Umask(0o077)
	job.Resources.CPUs = 2
	out, err := f.execute(t, context.Background(), job, nil)
	syscall.Umask(mask)
	runtime.GOMAXPROCS(procs)
	if err != nil {
		t.Fatalf("running again: %v", err)
	}
	same(t, "with one processor, another umask and another folder", first, out)
}

func checkCancelledBefore(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.execute(t, ctx, f.job(t, ""), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a run whose context is cancelled returned %v; it must return the context's error", err)
	}
}

// checkResumed cancels a run in its middle and runs again with the same scratch folder.
func checkResumed(t *testing.T, f Fixture, first outcome) {
	job := f.job(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := f.execute(t, ctx, job, func(reports int) {
		if reports > f.Interrupt {
			cancel()
		}
	})
	switch {
	case err == nil && ctx.Err() == nil:
		t.Log("the kind reports nothing while it runs, so it was not interrupted")
		return
	case err == nil:
		t.Log("the run ended before it noticed the cancellation")
	case !errors.Is(err, context.Canceled):
		t.Fatalf("the cancelled run returned %v; it must return the context's error", err)
	}
	out, err := f.execute(t, context.Background(), f.job(t, job.ScratchDir), nil)
	if err != nil {
		t.Fatalf("resuming: %v", err)
	}
	same(t, "after an interruption", first, out)
}

// pins are the digests of a fixture by kind version, device class and output.
type pins map[string]map[string]artifact.Digest

// checkPinned compares with the digests pinned for the kind's version. To pin a new version, run the test with
// DARKROOM_PIN=1; an existing version's pins are never overwritten.
func checkPinned(t *testing.T, f Fixture, first outcome) {
	path := f.PinFile
	if path == "" {
		path = filepath.Join("testdata", "pinned.json")
	}
	all := pins{}
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatalf("reading %s: %v", path, err)
		}
	}
	class := pinClass(f)
	pinned, ok := all[class]
	if ok {
		for _, name := range union(pinned, first.digests) {
			if pinned[name] != first.digests[name] {
				t.Errorf("output %s has digest %s, pinned is %s: the results of the kind %s changed. Raise its Version and pin again with DARKROOM_PIN=1.",
					name, short(first.digests[name]), short(pinned[name]), f.Kind.Name)
			}
		}
		return
	}
	if os.Getenv("DARKROOM_PIN") == "" {
		if f.Kind.Computes && len(all) > 0 && hasVersion(all, f) {
			t.Skipf("no digests are pinned for %s: results of this device class cannot be compared", class)
		}
		t.Fatalf("no digests are pinned for %s in %s: run the test with DARKROOM_PIN=1 and commit the file", class, path)
	}
	all[class] = first.digests
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	mkdir(t, filepath.Dir(path))
	if err := os.WriteFile(path, append(b, '\n'), 0o666); err != nil {
		t.Fatal(err)
	}
}
