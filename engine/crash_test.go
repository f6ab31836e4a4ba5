package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/engine"
)

// runProcess starts a run of slowChain in a process of its own.
func runProcess(t *testing.T, dir, journalFile, result string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "run", dir, result)
	cmd.Env = append(os.Environ(), journal+"="+journalFile)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func finished(t *testing.T, cmd *exec.Cmd, result string) string {
	t.Helper()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the run: %v", err)
	}
	text, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// undisturbed returns the digests of a run that nobody kills, and how long it takes.
func undisturbed(t *testing.T) (string, time.Duration) {
	t.Helper()
	dir := t.TempDir()
	result := filepath.Join(dir, "result")
	start := time.Now()
	want := finished(t, runProcess(t, dir, filepath.Join(dir, "journal"), result), result)
	return want, time.Since(start)
}

func TestKilledRunsEndInTheSameDigests(t *testing.T) {
	want, whole := undisturbed(t)
	dir := t.TempDir()
	journalFile, result := filepath.Join(dir, "journal"), filepath.Join(dir, "result")
	random := rand.New(rand.NewPCG(1, 2))
	for range 6 {
		cmd := runProcess(t, dir, journalFile, result)
		killed := time.AfterFunc(time.Duration(random.Float64()*float64(whole)), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		killed.Stop()
	}
	got := finished(t, runProcess(t, dir, journalFile, result), result)
	if got != want {
		t.Errorf("after kills: %s\nundisturbed: %s", got, want)
	}
	noWorkerLeft(t, dir)
}

// noWorkerLeft fails if a process whose working folder lies below dir lives on. One whose run was killed a moment ago
// may still be ending.
func noWorkerLeft(t *testing.T, dir string) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var left []string
		links, err := filepath.Glob("/proc/[0-9]*/cwd")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if cwd, err := os.Readlink(l); err == nil && strings.HasPrefix(cwd, dir+"/") {
				left = append(left, l)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("workers are left: %v", left)
		}
	}
}

func TestTwoRunsAtOnceRunEachStageOnce(t *testing.T) {
	dir := t.TempDir()
	journalFile := filepath.Join(dir, "journal")
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	one, two := runProcess(t, dir, journalFile, first), runProcess(t, dir, journalFile, second)
	if a, b := finished(t, one, first), finished(t, two, second); a != b {
		t.Errorf("%s\n%s", a, b)
	}
	text, err := os.ReadFile(journalFile)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, line := range strings.Fields(string(text)) {
		count[line]++
	}
	if len(count) != 4 {
		t.Errorf("stages that ran: %v", count)
	}
	for id, n := range count {
		if n != 1 {
			t.Errorf("%s ran %d times", id, n)
		}
	}
}

func TestPoolsBoundWhatRunsAtOnce(t *testing.T) {
	b := newBench(t)
	var nodes []*engine.Node
	for i := range 4 {
		nodes = append(nodes, node(fmt.Sprintf("text.n%d", i), arg{"add": fmt.Sprint(i), "steps": 5.0}))
	}
	running, most := 0, 0
	b.options.Events = func(e engine.Event) {
		switch e.Event {
		case engine.EventStageStarted:
			running++
			most = max(most, running)
		case engine.EventStageFinished:
			running--
		}
	}
	b.options.Jobs = 1
	if _, err := engine.Run(t.Context(), pipeline(b.dir, nodes...), b.options); err != nil {
		t.Fatal(err)
	}
	if most != 1 {
		t.Errorf("%d stages ran at once, one was allowed", most)
	}
	nodes[0].Resources.CPUs = 3
	if _, err := engine.Run(t.Context(), pipeline(b.dir, nodes...), b.options); err == nil || !strings.Contains(err.Error(), "cpus = 3") {
		t.Errorf("more than the runner has: %v", err)
	}
}

func TestUnknownTargets(t *testing.T) {
	b := newBench(t)
	b.options.Targets = []string{"text.z"}
	if _, err := engine.Run(context.Background(), chain(b.dir, "x", 1), b.options); err == nil || !strings.Contains(err.Error(), "text.z") {
		t.Errorf("error %v", err)
	}
}
