package local

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/runners/runnertest"
	"github.com/darkroom-dev/darkroom/stages"
)

// TestMain lets this binary be a worker, and a run that a test kills.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "worker":
		os.Exit(Serve(context.Background(), runnertest.Catalog(), os.Stdin, os.NewFile(3, "events")))
	case len(os.Args) > 1 && os.Args[1] == "run":
		var job stages.Job
		if json.NewDecoder(os.Stdin).Decode(&job) != nil {
			os.Exit(2)
		}
		r, err := New(Options{})
		if err == nil {
			err = r.Run(context.Background(), &job, &runnertest.Listener{Heard: func(line string) { os.Stdout.WriteString(line + "\n") }})
		}
		os.Stderr.WriteString("the run came to an end: " + err.Error())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestRunner(t *testing.T) {
	r, err := New(Options{Grace: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	runnertest.Run(t, r)
}

func TestWorkerThatCannotStart(t *testing.T) {
	r, err := New(Options{Command: []string{"/nonexistent/darkroom", "worker"}})
	if err != nil {
		t.Fatal(err)
	}
	var died *engine.WorkerError
	if err := r.Run(t.Context(), runnertest.Job(t, "talk"), &runnertest.Listener{}); !errors.As(err, &died) {
		t.Errorf("error %v", err)
	}
}

func TestKilledRunLeavesNothing(t *testing.T) {
	job := runnertest.Job(t, "wait")
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "run")
	cmd.Stdin = strings.NewReader(string(text))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	runnertest.NothingLeft(t, job.ScratchDir)
}

// In the session of the run a program that reads from the terminal would be stopped for ever.
func TestAWorkerHasNoTerminal(t *testing.T) {
	r, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.start(runnertest.Job(t, "wait"), Extra{})
	if err != nil {
		t.Fatal(err)
	}
	session, err := unix.Getsid(w.cmd.Process.Pid)
	if err != nil || session != w.cmd.Process.Pid {
		t.Errorf("the worker %d is in the session %d, %v", w.cmd.Process.Pid, session, err)
	}
	w.close() // its job's end ends it
	w.wait()
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LC_NUMERIC", "de_DE")
	t.Setenv("DARKROOM_ONNXRUNTIME", "/lib")
	env := strings.Join(environment(&stages.Job{Resources: stages.Resources{CPUs: 3, Memory: 8 << 20}}), "\n")
	for _, want := range []string{"TZ=UTC", "DARKROOM_ONNXRUNTIME=/lib", "OMP_NUM_THREADS=3", "GOMEMLIMIT=7340032"} {
		if !strings.Contains(env, want) {
			t.Errorf("no %s in\n%s", want, env)
		}
	}
	if strings.Contains(env, "LC_NUMERIC") {
		t.Error("the language of the caller reaches the worker")
	}
}
