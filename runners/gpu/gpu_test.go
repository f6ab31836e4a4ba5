package gpu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/runners/local"
	"github.com/darkroom-dev/darkroom/runners/runnertest"
	"github.com/darkroom-dev/darkroom/stages"
)

// TestMain lets this binary be a worker, and a process that holds GPUs until a test kills it.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "worker":
		os.Exit(local.Serve(context.Background(), runnertest.Catalog(), os.Stdin, os.NewFile(3, "events")))
	case len(os.Args) > 1 && os.Args[1] == "hold":
		os.Exit(hold())
	}
	os.Exit(m.Run())
}

// hold reads a job, runs it on a GPU and says "running" once it does.
func hold() int {
	var job stages.Job
	if json.NewDecoder(os.Stdin).Decode(&job) != nil {
		return 2
	}
	here, err := local.New(local.Options{})
	if err == nil {
		fmt.Println("started")
		err = New(Options{Local: here}).Run(context.Background(), &job, &runnertest.Listener{Heard: func(string) { fmt.Println("running") }})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// machine is a fake one: count GPUs of 80 GiB, and a folder of locks of the test's own.
func machine(t *testing.T, count int) {
	t.Helper()
	var lines strings.Builder
	for i := range count {
		fmt.Fprintf(&lines, "GPU-%d%d%d%d, NVIDIA H100, 580.95, 9.0, 81920, 81000\n", i, i, i, i)
	}
	program(t, "cat <<E\n"+lines.String()+"E\n")
	t.Setenv(LocksVariable, filepath.Join(t.TempDir(), "locks"))
	if _, set := os.LookupEnv(visibleVariable); set {
		t.Setenv(visibleVariable, "")
		os.Unsetenv(visibleVariable)
	}
}

func runner(t *testing.T, settings map[string]any) *Runner {
	t.Helper()
	here, err := local.New(local.Options{Grace: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Local: here, Settings: settings})
}

func TestRunner(t *testing.T) {
	machine(t, 1)
	runnertest.Run(t, runner(t, nil))
}

func mustLease(t *testing.T, r *Runner, gpus int) engine.Lease {
	t.Helper()
	l, err := r.Lease(t.Context(), stages.Resources{GPUs: gpus}, func(why string) { t.Errorf("it waits for %s", why) })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWhatCanNeverFitIsRefused(t *testing.T) {
	machine(t, 2)
	for _, c := range []struct {
		name     string
		settings map[string]any
		gpus     int
		want     string
	}{
		{"more GPUs than there are", nil, 3, "asks for 3 GPUs, but this machine has 2"},
		{"by the runner's block", map[string]any{"devices": 4.0}, 0, "asks for 4 GPUs"},
		{"more memory than any has", map[string]any{"memory": "100GB"}, 1, "93.1 GiB of memory, but the largest of this machine has 80.0 GiB"},
		{"a GPU that is not there", map[string]any{"uuids": []any{"GPU-9999"}}, 1, "GPU-9999, which this machine does not have"},
		{"fewer are allowed", map[string]any{"uuids": []any{"GPU-1111"}}, 2, "only 1 of this machine's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := runner(t, c.settings).Claim(stages.Resources{GPUs: c.gpus})
			var p stages.Problem
			if !errors.As(err, &p) || !strings.Contains(p.Detail, c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	got, err := runner(t, map[string]any{"devices": 2.0, "memory": "40GB"}).Claim(stages.Resources{CPUs: 3})
	if err != nil || got != (stages.Resources{CPUs: 3, GPUs: 2}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWithoutAGPUNothingRuns(t *testing.T) {
	machine(t, 0)
	if _, err := runner(t, nil).Claim(stages.Resources{}); err == nil || !strings.Contains(err.Error(), "knows no GPU") {
		t.Error(err)
	}
	program(t, "echo Driver/library version mismatch; exit 18")
	err := runner(t, nil).Run(t.Context(), runnertest.Job(t, "talk"), &runnertest.Listener{})
	if err == nil || !strings.Contains(err.Error(), "version mismatch") {
		t.Error(err)
	}
	machine(t, 2)
	t.Setenv(visibleVariable, "7")
	if _, err := runner(t, nil).Claim(stages.Resources{}); err == nil || !strings.Contains(err.Error(), `CUDA_VISIBLE_DEVICES = "7" leaves no GPU`) {
		t.Error(err)
	}
}

func TestWrongSettings(t *testing.T) {
	for _, settings := range []map[string]any{{"device": 1.0}, {"devices": 0.0}, {"devices": 1.5}, {"devices": "all"}, {"memory": 40.0}, {"memory": "big"}, {"uuids": "GPU-1"},
		{"uuids": []any{}}, {"uuids": []any{"0"}}, {"uuids": []any{1.0}}} {
		r := New(Options{Settings: settings})
		var p stages.Problem
		if err := r.Check(); !errors.As(err, &p) || p.Arg != "runner" {
			t.Errorf("%v: %v", settings, err)
		}
	}
	if err := New(Options{Settings: map[string]any{"devices": 2.0, "memory": "4GiB", "uuids": []any{"GPU-1"}}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestVisibleDevices(t *testing.T) {
	list := []Device{{UUID: "GPU-aa11"}, {UUID: "GPU-bb22"}, {UUID: "GPU-cc33"}}
	for _, c := range []struct{ variable, want string }{
		{"0,2", "GPU-aa11 GPU-cc33"}, {" 1 ", "GPU-bb22"}, {"GPU-cc", "GPU-cc33"}, {"", ""}, {"-1", ""}, {"1,x,2", "GPU-bb22"}, {"1,1", "GPU-bb22"}, {"NoDevFiles", ""}, {"GPU-", ""},
	} {
		if got := strings.Join(names(visible(list, c.variable, true)), " "); got != c.want {
			t.Errorf("%q leaves %q, want %q", c.variable, got, c.want)
		}
	}
	if got := visible(list, "", false); len(got) != 3 {
		t.Errorf("without the variable: %v", got)
	}
}

func TestGPUsOfDifferentModelsAreNoDeviceClass(t *testing.T) {
	machine(t, 1)
	program(t, "echo GPU-1111, NVIDIA H100, 580.95, 9.0, 81920, 81000; echo GPU-2222, NVIDIA A100, 580.95, 8.0, 81920, 81000")
	want := stages.Device{Backend: stages.CUDA, Precision: stages.BF16, Threads: 4}
	ask := func(settings map[string]any) (stages.Device, error) {
		r := runner(t, settings)
		r.o.Device = func(want stages.Device, on Device) (stages.Device, error) { want.ISA = on.Name; return want, nil }
		return r.Device(want)
	}
	if _, err := ask(nil); err == nil || !strings.Contains(err.Error(), "different models") {
		t.Error(err)
	}
	if d, err := ask(map[string]any{"uuids": []any{"GPU-2222"}}); err != nil || d.ISA != "NVIDIA A100" || d.Precision != stages.BF16 {
		t.Errorf("%+v, %v", d, err)
	}
}

// Many that want some of a few GPUs: nobody ever has one that another has, everybody gets what he asked for, and all are free in the end.
func TestLeasesAreExclusive(t *testing.T) {
	machine(t, 3)
	r := runner(t, nil)
	var owner [3]atomic.Int32
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			n := 1 + i%3
			l, err := r.Lease(t.Context(), stages.Resources{GPUs: n}, func(string) {})
			if err != nil {
				t.Error(err)
				return
			}
			mine := l.(*lease).devices
			if len(mine) != n || len(l.On()) != n {
				t.Errorf("asked for %d, has %v", n, mine)
			}
			for _, d := range mine {
				if !owner[d.UUID[4]-'0'].CompareAndSwap(0, int32(i+1)) {
					t.Errorf("two have %s", d.UUID)
				}
			}
			time.Sleep(5 * time.Millisecond)
			for _, d := range mine {
				owner[d.UUID[4]-'0'].Store(0)
			}
			l.Release()
		}()
	}
	wg.Wait()
	mustLease(t, r, 3).Release()
}

// One who wants all GPUs is not overtaken by those who came later and want one.
func TestWaitingIsFair(t *testing.T) {
	machine(t, 2)
	r := runner(t, nil)
	first := mustLease(t, r, 1)
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	queue := func(name string, n int) string {
		said := make(chan string, 10)
		wg.Add(1)
		go func() {
			defer wg.Done()
			l, err := r.Lease(t.Context(), stages.Resources{GPUs: n}, func(why string) { said <- why })
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			time.Sleep(20 * time.Millisecond)
			l.Release()
		}()
		return <-said
	}
	if why := queue("both", 2); !strings.Contains(why, "2 GPUs: GPU-0000 is held by process") {
		t.Errorf("it waits for %q", why)
	}
	if why := queue("one", 1); !strings.Contains(why, "1 before it") {
		t.Errorf("it waits for %q", why)
	}
	first.Release()
	wg.Wait()
	if !slices.Equal(order, []string{"both", "one"}) {
		t.Errorf("order %v", order)
	}
}

// Who waits for what others cannot use holds nobody up.
func TestWaitingForOneHoldsUpNoOther(t *testing.T) {
	machine(t, 2)
	held := mustLease(t, runner(t, map[string]any{"uuids": []any{"GPU-0000"}}), 1)
	said := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := runner(t, map[string]any{"uuids": []any{"GPU-0000"}}).Lease(ctx, stages.Resources{GPUs: 1}, func(why string) { said <- why })
		ended <- err
	}()
	<-said
	other := mustLease(t, runner(t, nil), 1)
	if on := other.On(); len(on) != 1 || !strings.Contains(on[0], "GPU-1111") {
		t.Errorf("it has %v", on)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	other.Release()
	held.Release()
	mustLease(t, runner(t, nil), 2).Release() // the ticket of the cancelled one is gone
}

// holdElsewhere has another process run a job that waits on a GPU.
func holdElsewhere(t *testing.T) (*exec.Cmd, *stages.Job) {
	t.Helper()
	job := runnertest.Job(t, "wait")
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "hold")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(text)), os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "running" {
			return cmd, job
		}
	}
	t.Fatal("the other process did not get its GPU")
	return nil, nil
}

// A run that is killed frees its GPU, but not before all of its worker is dead.
func TestAKilledHolderFreesItsGPU(t *testing.T) {
	machine(t, 1)
	cmd, job := holdElsewhere(t)
	r := runner(t, nil)
	said := make(chan string, 1)
	leased := make(chan engine.Lease)
	go func() {
		l, err := r.Lease(t.Context(), stages.Resources{GPUs: 1}, func(why string) { said <- why })
		if err != nil {
			t.Error(err)
		}
		leased <- l
	}()
	if why := <-said; !strings.Contains(why, fmt.Sprintf("GPU-0000 is held by process %d, probe.it", cmd.Process.Pid)) {
		t.Errorf("it waits for %q", why)
	}
	if err := syscall.Kill(cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case l := <-leased:
		runnertest.NothingLeft(t, job.ScratchDir)
		l.Release()
	case <-time.After(20 * time.Second):
		t.Error("the GPU of a killed process is still held")
	}
}

// While the worker's own process lives on, as one that the kernel lets hang may, the GPU is not free even though the run is dead.
func TestTheWorkerHoldsTheGPUToo(t *testing.T) {
	machine(t, 1)
	r := runner(t, nil)
	l := mustLease(t, r, 1).(*lease)
	cmd := exec.Command("sleep", "600")
	cmd.ExtraFiles = l.files
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := r.Lease(ctx, stages.Resources{GPUs: 1}, func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two have the GPU: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	mustLease(t, r, 1).Release()
}

// A ticket of one who died while waiting holds nobody up, and is cleared away.
func TestADeadWaiterHoldsUpNobody(t *testing.T) {
	machine(t, 1)
	r := runner(t, nil)
	mustLease(t, r, 1).Release()
	dir := os.Getenv(LocksVariable)
	ticket := filepath.Join(dir, ticketPrefix+"1")
	if err := os.WriteFile(ticket, []byte(`{"count":1,"devices":["GPU-0000"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	mustLease(t, r, 1).Release()
	if _, err := os.Stat(ticket); err == nil {
		t.Error("the ticket is still there")
	}
}

func TestLocksOfNoUse(t *testing.T) {
	machine(t, 1)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(LocksVariable, file)
	if _, err := runner(t, nil).Lease(t.Context(), stages.Resources{GPUs: 1}, func(string) {}); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Error(err)
	}
}
