package runnertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// Listener is a stages.Reporter that keeps what it is told.
type Listener struct {
	mu       sync.Mutex // guards all below
	Lines    []string
	Steps    []stages.Progress
	Values   map[string]any
	Measures map[string]float64
	Heard    func(line string) // called for each line of the log
}

// Progress implements stages.Reporter.
func (l *Listener) Progress(p stages.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Steps = append(l.Steps, p)
}

// Log implements stages.Reporter.
func (l *Listener) Log(line string) {
	l.mu.Lock()
	l.Lines = append(l.Lines, line)
	l.mu.Unlock()
	if l.Heard != nil {
		l.Heard(line)
	}
}

// Value implements stages.Reporter.
func (l *Listener) Value(name string, v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Values == nil {
		l.Values = map[string]any{}
	}
	l.Values[name] = v
}

// Measure implements stages.Reporter.
func (l *Listener) Measure(name string, v float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Measures == nil {
		l.Measures = map[string]float64{}
	}
	l.Measures[name] = v
}

// Job returns a job of the probe kind in folders of the test's own.
func Job(t *testing.T, do string) *stages.Job {
	return &stages.Job{Kind: "probe", Version: 1, Address: "probe.it", Args: stages.Args{Values: map[string]any{"do": do}},
		OutDir: t.TempDir(), ScratchDir: t.TempDir(), Resources: stages.Resources{CPUs: 1}}
}

// Run runs the suite on r.
func Run(t *testing.T, r engine.Runner) {
	t.Run("reports arrive in order", func(t *testing.T) { reports(t, r) })
	t.Run("failures", func(t *testing.T) { failures(t, r) })
	t.Run("parts are kept", func(t *testing.T) { parts(t, r) })
	t.Run("cancel", func(t *testing.T) { cancels(t, r) })
	for _, do := range []string{"children", "orphans", "keeper"} {
		t.Run("nothing is left of "+do, func(t *testing.T) {
			job := Job(t, do)
			err := r.Run(t.Context(), job, &Listener{})
			var died *engine.WorkerError
			if (do == "children") != (err == nil) || err != nil && !errors.As(err, &died) {
				t.Errorf("error %v", err)
			}
			NothingLeft(t, job.ScratchDir)
		})
	}
	t.Run("a flood of output is cut", func(t *testing.T) {
		l := &Listener{}
		if err := r.Run(t.Context(), Job(t, "flood"), l); err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, line := range l.Lines {
			size += len(line)
		}
		if size == 0 || size > 8<<20 || !strings.Contains(l.Lines[len(l.Lines)-1], "cut") {
			t.Errorf("%d bytes in %d lines were kept, the last is %.80q", size, len(l.Lines), l.Lines[len(l.Lines)-1])
		}
	})
}

func reports(t *testing.T, r engine.Runner) {
	l := &Listener{}
	if err := r.Run(t.Context(), Job(t, "talk"), l); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(l.Lines, ","); got != "line 0,line 1,line 2" {
		t.Errorf("log %q", got)
	}
	for i, p := range l.Steps {
		if p.Done != int64(i+1) {
			t.Errorf("progress %d says %d", i, p.Done)
		}
	}
	if len(l.Steps) != 3 || l.Values["sum"] != 0.1 || l.Measures["speed"] != 7 {
		t.Errorf("progress %v, values %v, measures %v", l.Steps, l.Values, l.Measures)
	}
}

// shelf is a stages.Memory that keeps parts in a folder.
type shelf struct {
	Listener
	dir string
}

// Recall implements stages.Memory.
func (s *shelf) Recall(_ context.Context, key artifact.Digest, dst string) (bool, error) {
	kept := filepath.Join(s.dir, string(key))
	if _, err := os.Stat(kept); err != nil {
		return false, nil
	}
	return true, os.CopyFS(dst, os.DirFS(kept))
}

// Remember implements stages.Memory.
func (s *shelf) Remember(_ context.Context, key artifact.Digest, manifest, src string) error {
	if artifact.DigestBytes([]byte(manifest)) != key {
		return errors.New("the key is not that of the manifest")
	}
	return os.CopyFS(filepath.Join(s.dir, string(key)), os.DirFS(src))
}

// parts checks that a part is made once, with a reporter that keeps parts, and also without.
func parts(t *testing.T, r engine.Runner) {
	s := &shelf{dir: t.TempDir()}
	for _, made := range []int{2, 0} {
		s.Lines = nil
		job := Job(t, "parts")
		if err := r.Run(t.Context(), job, s); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(job.Output("out")); err != nil || string(b) != "part 0, part 1" {
			t.Errorf("the parts hold %q, %v", b, err)
		}
		if len(s.Lines) != made {
			t.Errorf("made %q, want %d parts", s.Lines, made)
		}
	}
	job, l := Job(t, "parts"), &Listener{}
	for range 2 { // the second attempt finds them in the scratch folder
		if err := r.Run(t.Context(), job, l); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.Lines) != 2 {
		t.Errorf("without a memory: made %q in two attempts", l.Lines)
	}
}

func failures(t *testing.T, r engine.Runner) {
	for _, c := range []struct {
		do, want     string
		died, mended bool
	}{
		{"problem", "reading the photos: source: No images", false, true},
		{"error", "the disk is full", false, false},
		{"panic", "probe panics", true, false},
		{"exit", "exit code 7", true, false},
		{"killed", "signal 9", true, false},
	} {
		t.Run(c.do, func(t *testing.T) {
			err := r.Run(t.Context(), Job(t, c.do), &Listener{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			var died *engine.WorkerError
			var problem stages.Problem
			if errors.As(err, &died) != c.died || errors.As(err, &problem) != c.mended {
				t.Errorf("%#v is of the wrong type", err)
			}
			if c.do == "panic" && !strings.Contains(died.Log, "probe.Run") && !strings.Contains(died.Log, "runnertest") {
				t.Errorf("the log has no stack: %s", died.Log)
			}
		})
	}
	job := Job(t, "talk")
	job.Kind = "nosuch"
	if err := r.Run(t.Context(), job, &Listener{}); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("unknown kind: %v", err)
	}
}

func cancels(t *testing.T, r engine.Runner) {
	for _, do := range []string{"wait", "deaf"} {
		t.Run(do, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			job := Job(t, do)
			err := r.Run(ctx, job, &Listener{Heard: func(string) { cancel() }})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if do == "wait" {
				NothingLeft(t, job.ScratchDir)
			}
		})
	}
}

// NothingLeft fails when a process that noted its number in dir still runs; a killed one may take a moment to go.
func NothingLeft(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.pid"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the stage noted %v, want two processes (%v)", files, err)
	}
	for _, f := range files {
		for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			on, err := alive(f)
			if err != nil {
				t.Fatal(err)
			}
			if !on {
				break
			}
			if time.Now().After(limit) {
				t.Errorf("%s still runs", filepath.Base(f))
				break
			}
		}
	}
}
