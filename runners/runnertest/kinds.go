// Package runnertest is the suite that every runner passes, with the kinds that it runs.
//
// Rules of the room: it imports engine, stages and artifact and no runner. A runner's test makes its TestMain serve
// Catalog in the worker's role, and calls Run.
package runnertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// Catalog holds the one kind of the suite: probe, whose argument says how it behaves.
func Catalog() *stages.Catalog {
	c, err := stages.NewCatalog(Probe)
	if err != nil {
		panic(err)
	}
	return c
}

// Probe behaves as its argument "do" says.
var Probe = &stages.Kind{Name: "probe", Version: 1, Doc: "Behaves as told.", New: func() stages.Stage { return &probe{} }}

type probe struct{ do string }

func (p *probe) Declare(s *stages.Schema) {
	s.String(&p.do, "do", "", "What to do.").Required()
	s.Out("out", artifact.File, "A file.")
	s.Reports("sum", stages.Number, "A value.")
}

func (p *probe) Run(ctx context.Context, job *stages.Job) error {
	switch p.do {
	case "talk":
		for i := range 3 {
			job.Progress(stages.Progress{Done: int64(i + 1), Total: 3})
			job.Logf("line %d", i)
		}
		job.Value("sum", 0.1)
		job.Measure("speed", 7)
		return os.WriteFile(job.Output("out"), []byte("done"), 0o666)
	case "parts":
		return makeParts(ctx, job)
	case "problem":
		return fmt.Errorf("reading the photos: %w", stages.Problemf("source", "No images", "The folder is empty."))
	case "error":
		return errors.New("the disk is full")
	case "panic":
		panic("probe panics")
	case "exit":
		os.Exit(7)
	case "killed":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "keeper":
		_ = start(job, "child", false)
		_ = start(job, "daemon", true)
		_ = syscall.Kill(os.Getppid(), syscall.SIGKILL)
		<-make(chan int)
	case "flood":
		line := strings.Repeat("x", 1000) + "\n"
		for range 20000 {
			_, _ = os.Stdout.WriteString(line)
		}
	case "children", "orphans", "wait":
		err := errors.Join(start(job, "child", false), start(job, "daemon", true))
		if p.do == "children" || err != nil {
			return err
		}
		if p.do == "orphans" {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		job.Logf("waiting")
		<-ctx.Done()
		return ctx.Err()
	case "deaf":
		job.Logf("waiting")
		select {}
	}
	return nil
}

// makeParts asks for two parts at the same time and writes what they hold; the log tells which were made.
func makeParts(ctx context.Context, job *stages.Job) error {
	texts := make([]string, 2)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i := range texts {
		both.Go(func() {
			dir, err := job.Memo(ctx, stages.Part{Text: fmt.Sprint("number ", i)}, func(_ context.Context, dir string) error {
				job.Logf("making %d", i)
				return os.WriteFile(filepath.Join(dir, "text"), fmt.Append(nil, "part ", i), 0o666)
			})
			if err == nil {
				var b []byte
				b, err = os.ReadFile(filepath.Join(dir, "text"))
				texts[i] = string(b)
			}
			errs[i] = err
		})
	}
	both.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.WriteFile(job.Output("out"), []byte(strings.Join(texts, ", ")), 0o666)
}

// start starts a process that lives for long and writes its number to ScratchDir/name.pid. A daemon leaves its session
// and its parent.
func start(job *stages.Job, name string, daemon bool) error {
	file := filepath.Join(job.ScratchDir, name+".pid")
	script := "echo $$ > " + file + ".new && mv " + file + ".new " + file + " && exec sleep 600"
	args := []string{"sh", "-c", script}
	if daemon {
		args = []string{"sh", "-c", "setsid sh -c '" + script + "' &"}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // holds the log's pipe open
	if err := cmd.Start(); err != nil {
		return err
	}
	if daemon {
		if err := cmd.Wait(); err != nil {
			return err
		}
	}
	for {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// alive reports whether the process whose number is in the file still runs.
func alive(file string) (bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return false, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, nil
	}
	state := string(stat[strings.LastIndexByte(string(stat), ')')+2])
	return state != "Z" && state != "X", nil
}
