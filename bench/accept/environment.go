package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// environment is where the checks work: the repository, the binary and a folder of their own.
type environment struct {
	root   string
	binary string
	dir    string
}

func newEnvironment() (*environment, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	e := &environment{root: root, binary: filepath.Join(root, "bin", "darkroom")}
	if _, err := os.Stat(e.binary); err != nil {
		return nil, fmt.Errorf("run it from the root of the repository after `make build`: %w", err)
	}
	e.dir, err = os.MkdirTemp("", "darkroom-accept-")
	return e, err
}

// folder makes a fresh working folder.
func (e *environment) folder(name string) (string, error) {
	dir, err := os.MkdirTemp(e.dir, name+"-")
	return dir, err
}

// command is one call of the binary.
type command struct {
	dir  string
	args []string
	env  []string
}

// output is what a call left.
type output struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (e *environment) prepare(ctx context.Context, c command) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.binary, c.args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// call runs the binary; an exit code other than 0 is not an error here.
func (e *environment) call(ctx context.Context, c command) (output, error) {
	cmd := e.prepare(ctx, c)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	o := output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(start)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return o, err
}

// finished is the last event of `run --json`.
type finished struct {
	Event      string  `json:"event"`
	Experiment string  `json:"experiment"`
	OK         bool    `json:"ok"`
	Ran        int     `json:"ran"`
	Reused     int     `json:"reused"`
	Failed     int     `json:"failed"`
	TookS      float64 `json:"took_s"`
}

// event is what the checks read of the other events.
type event struct {
	Event   string `json:"event"`
	Address string `json:"address"`
	Line    string `json:"line"`
}

// ran is what one `run --json` came to.
type ran struct {
	finished
	output
	events []event
}

// started lists the addresses of the stages that were executed, sorted.
func (r ran) started() string {
	set := map[string]bool{}
	for _, ev := range r.events {
		if ev.Event == "stage_started" {
			set[ev.Address] = true
		}
	}
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

func (r ran) has(name string) bool {
	for _, ev := range r.events {
		if ev.Event == name {
			return true
		}
	}
	return false
}

// run executes `run --json` with further arguments and fails unless the run is ok.
func (e *environment) run(ctx context.Context, c command) (ran, error) {
	c.args = append([]string{"run", "--json"}, c.args...)
	o, err := e.call(ctx, c)
	if err != nil {
		return ran{}, err
	}
	r := parseRun(o)
	if o.code != 0 || !r.OK {
		return r, fmt.Errorf("run ended with exit code %d: %s", o.code, tail(o.stdout+o.stderr))
	}
	return r, nil
}

func parseRun(o output) ran {
	r := ran{output: o}
	lines := bufio.NewScanner(strings.NewReader(o.stdout))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var ev event
		if json.Unmarshal(lines.Bytes(), &ev) != nil {
			continue
		}
		r.events = append(r.events, ev)
		if ev.Event == "finished" {
			_ = json.Unmarshal(lines.Bytes(), &r.finished) // checked by its OK
		}
	}
	return r
}

func tail(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > 600 {
		text = "…" + text[len(text)-600:]
	}
	return text
}

// shown is `show ADDR --json`.
type shown struct {
	Address string `json:"address"`
	Key     string `json:"key"`
	Outputs map[string]struct {
		Type   string `json:"type"`
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	} `json:"outputs"`
	Values map[string]any `json:"values"`
	TookS  float64        `json:"took_s"`
}

func (e *environment) show(ctx context.Context, dir, pipeline, address string, args ...string) (shown, error) {
	var s shown
	err := e.json(ctx, &s, command{dir: dir, args: append([]string{"show", address, "--pipeline", pipeline, "--json"}, args...)})
	return s, err
}

// json calls the binary and decodes what it prints.
func (e *environment) json(ctx context.Context, into any, c command) error {
	o, err := e.call(ctx, c)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(o.stdout), into); err != nil {
		return fmt.Errorf("%s: exit code %d: %s", strings.Join(c.args, " "), o.code, tail(o.stdout+o.stderr))
	}
	return nil
}

// digests returns every output's digest of every stage of the pipeline, as sorted lines.
func (e *environment) digests(ctx context.Context, dir, pipeline string, args ...string) ([]string, error) {
	var plan struct {
		Stages []struct {
			Address string `json:"address"`
			Action  string `json:"action"`
		} `json:"stages"`
	}
	if err := e.json(ctx, &plan, command{dir: dir, args: append([]string{"plan", pipeline, "--json"}, args...)}); err != nil {
		return nil, err
	}
	var lines []string
	for _, st := range plan.Stages {
		if st.Action != "reuse" {
			return nil, fmt.Errorf("%s would run again", st.Address)
		}
		s, err := e.show(ctx, dir, pipeline, st.Address, args...)
		if err != nil {
			return nil, err
		}
		for name, o := range s.Outputs {
			lines = append(lines, st.Address+"."+name+" "+o.Digest)
		}
		values, _ := json.Marshal(s.Values)
		lines = append(lines, st.Address+" values "+string(values))
	}
	sort.Strings(lines)
	return lines, nil
}

// differences lists the lines that are in one list only.
func differences(a, b []string) []string {
	in := map[string]int{}
	for _, l := range a {
		in[l]++
	}
	for _, l := range b {
		in[l]--
	}
	var out []string
	for l, n := range in {
		if n != 0 {
			out = append(out, l)
		}
	}
	sort.Strings(out)
	return out
}

// equal fails when the digests of two runs differ.
func equal(what string, a, b []string) error {
	if d := differences(a, b); len(d) > 0 {
		return fmt.Errorf("%s: %d digests or values differ, the first: %s", what, len(d), d[0])
	}
	return nil
}

// workers lists the processes of the binary that run a worker below dir or anywhere.
func (e *environment) workers() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, en := range entries {
		pid, err := strconv.Atoi(en.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if exe, err := os.Readlink(filepath.Join("/proc", en.Name(), "exe")); err == nil && exe == e.binary {
			pids = append(pids, pid)
		}
	}
	return pids
}

// quiet waits until no process of the binary is left, at most for the given time.
func (e *environment) quiet(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		left := e.workers()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes are still there after %s: %v", len(left), limit, left)
		}
	}
}

func machine() string {
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.TrimSpace(strings.TrimLeft(name, "\t :"))
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, no GPU used", runtime.NumCPU(), model)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func median(ds []time.Duration) time.Duration {
	s := append([]time.Duration(nil), ds...)
	sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
	return s[len(s)/2]
}
