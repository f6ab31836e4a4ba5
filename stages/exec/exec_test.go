package exec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func shell(script string) []any { return []any{"sh", "-c", script} }

func inputFile(t *testing.T, dir string) map[string][]stages.Input {
	path := filepath.Join(dir, "letters")
	if err := os.WriteFile(path, []byte("b\na\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string][]stages.Input{"inputs": {{Name: "letters", Path: path, Ref: artifact.Ref{Type: artifact.File}}}}
}

func TestConformance(t *testing.T) {
	stagetest.Run(t, stagetest.Fixture{
		Kind: Kind,
		Args: stages.Args{Values: map[string]any{
			"command": shell(`sort in/letters > out/sorted && echo sorted && mkdir out/tree && cp in/letters out/tree/copy && printf '{"lines": 2}' > out/numbers`),
			"outputs": map[string]any{"sorted": "file", "tree": "folder", "numbers": "table"},
			"values":  "numbers",
		}},
		Inputs: inputFile,
	})
}

type reporter struct {
	mu     sync.Mutex
	values map[string]any
	log    []string
	notify func(line string)
}

func (r *reporter) Progress(stages.Progress) {}
func (r *reporter) Measure(string, float64)  {}
func (r *reporter) Value(name string, v any) { r.values[name] = v }
func (r *reporter) text() string             { r.mu.Lock(); defer r.mu.Unlock(); return strings.Join(r.log, "\n") }
func (r *reporter) Log(line string) {
	r.mu.Lock()
	r.log = append(r.log, line)
	r.mu.Unlock()
	if r.notify != nil {
		r.notify(line)
	}
}

// execute decodes and runs an exec stage with one input, letters.
func execute(t *testing.T, ctx context.Context, values map[string]any, rep *reporter) (*stages.Job, error) {
	t.Helper()
	dir := t.TempDir()
	job := &stages.Job{OutDir: filepath.Join(dir, "out"), ScratchDir: filepath.Join(dir, "scratch"), Inputs: inputFile(t, dir)}
	for _, d := range []string{job.OutDir, job.ScratchDir} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	st := Kind.New()
	if _, problems := stages.Decode(st, stages.Args{Values: values}, map[string]bool{"inputs": true}); len(problems) > 0 {
		return job, problems[0]
	}
	rep.values = map[string]any{}
	return job, st.Run(ctx, job.WithReporter(rep))
}

func TestProblems(t *testing.T) {
	out := map[string]any{"o": "file"}
	for _, c := range []struct {
		about  string
		values map[string]any
		want   string
	}{
		{"no program", map[string]any{"command": []any{"no-such-program-here"}}, "Program not found"},
		{"no script", map[string]any{"command": []any{"./missing.sh"}}, "Program not found"},
		{"not executable", map[string]any{"command": []any{"/etc/passwd"}}, "Program cannot be executed"},
		{"no interpreter", map[string]any{"command": []any{"in/letters"}}, "whose first line names its interpreter"},
		{"exit status", map[string]any{"command": shell("exit 3")}, "exit status 3"},
		{"signal", map[string]any{"command": shell("kill -9 $$")}, "ended by a signal"},
		{"missing output", map[string]any{"command": shell("true"), "outputs": out}, "Missing output"},
		{"a folder for a file", map[string]any{"command": shell("mkdir out/o"), "outputs": out}, "Wrong kind of output"},
		{"a file for a folder", map[string]any{"command": shell("touch out/o"), "outputs": map[string]any{"o": "folder"}}, "Wrong kind of output"},
		{"a link for a file", map[string]any{"command": shell("ln -s ../in/letters out/o"), "outputs": out}, "left a symbolic link as out/o"},
		{"a named pipe for values", map[string]any{"command": shell("mkfifo out/o"), "outputs": out, "values": "o"}, "left a named pipe as out/o"},
		{"another folder for out", map[string]any{"command": shell("mkdir else; touch else/o; rmdir out; ln -s else out"), "outputs": out}, "replaced the folder out"},
		{"its folder removed", map[string]any{"command": shell(`rm -rf "$PWD"`), "outputs": out}, "Missing output"},
		{"unknown type", map[string]any{"command": shell("true"), "outputs": map[string]any{"o": "flie"}}, "Unknown type of artifact"},
		{"values are no output", map[string]any{"command": shell("true"), "values": "x"}, "Values need an output"},
		{"values are no object", map[string]any{"command": shell("echo 3 > out/o"), "outputs": out, "values": "o"}, "Values cannot be read"},
		{"values with a bad name", map[string]any{"command": shell(`echo '{"a b": 1}' > out/o`), "outputs": out, "values": "o"}, "Malformed name"},
		{"values with an output's name", map[string]any{"command": shell(`echo '{"o": 1}' > out/o`), "outputs": out, "values": "o"}, "Name of a value is taken"},
		{"values without end", map[string]any{"command": shell(`truncate -s 3M out/o`), "outputs": out, "values": "o"}, "at most 2 MiB"},
		{"environment with =", map[string]any{"command": shell("true"), "env": map[string]any{"A=B": "c"}}, "Malformed environment variable"},
		{"empty command", map[string]any{"command": []any{}}, "must not be empty"},
	} {
		t.Run(c.about, func(t *testing.T) {
			_, err := execute(t, context.Background(), c.values, &reporter{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestEnvironmentIsDeclared(t *testing.T) {
	t.Setenv("DARKROOM_TEST_SECRET", "leaks")
	t.Setenv("DARKROOM_TEST_WANTED", "passed")
	rep := &reporter{}
	job, err := execute(t, context.Background(), map[string]any{
		"command": shell(`env | sed 's/=.*//' | sort | grep -v '^_$\|^PWD$\|^OLDPWD$\|^SHLVL$' > out/names; echo "$DARKROOM_TEST_WANTED $A" > out/text`),
		"outputs": map[string]any{"names": "file", "text": "file"},
		"env":     map[string]any{"A": "declared"},
		"inherit": []any{"DARKROOM_TEST_WANTED", "DARKROOM_TEST_ABSENT"},
	}, rep)
	if err != nil {
		t.Fatal(err, rep.text())
	}
	names, _ := os.ReadFile(job.Output("names"))
	if want := "A\nDARKROOM_TEST_WANTED\nHOME\nLC_ALL\nPATH\nTMPDIR\nTZ\n"; string(names) != want {
		t.Errorf("the program saw the variables %q, want %q", names, want)
	}
	if text, _ := os.ReadFile(job.Output("text")); string(text) != "passed declared\n" {
		t.Errorf("the program saw %q", text)
	}
}

func TestChildLeftRunningIsEnded(t *testing.T) {
	rep := &reporter{}
	job, err := execute(t, context.Background(), map[string]any{
		"command": shell(`sleep 1000 & echo $! > out/pid`),
		"outputs": map[string]any{"pid": "file"},
	}, rep)
	if err != nil {
		t.Fatal(err, rep.text())
	}
	b, _ := os.ReadFile(job.Output("pid"))
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(pid); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("the child %d is still running", pid)
		}
	}
}

// alive reports whether a process runs; one that ended and waits to be reaped does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestCancelEndsTheProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	rep := &reporter{notify: func(line string) {
		if line == "started" {
			cancel()
		}
	}}
	_, err := execute(t, ctx, map[string]any{"command": shell("echo started; sleep 1000")}, rep)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("returned %v", err)
	}
}

func TestInputsArePrivateAndWorkFolderIsFresh(t *testing.T) {
	rep := &reporter{}
	job, err := execute(t, context.Background(), map[string]any{
		"command": shell(`echo more >> in/letters; touch left-over; ls > out/list; printf x >> out/undeclared`),
		"outputs": map[string]any{"list": "file"},
	}, rep)
	if err != nil {
		t.Fatal(err, rep.text())
	}
	if !strings.Contains(rep.text(), "out/undeclared is not among the declared outputs") {
		t.Errorf("the log does not warn of the undeclared output: %s", rep.text())
	}
	st := Kind.New()
	stages.Decode(st, stages.Args{Values: map[string]any{"command": shell("ls > out/list"), "outputs": map[string]any{"list": "file"}}}, nil)
	again := *job
	again.OutDir, again.Inputs = t.TempDir(), nil
	if err := st.Run(context.Background(), (&again).WithReporter(rep)); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(again.Output("list")); string(b) != "in\nout\n" {
		t.Errorf("a second attempt starts in a folder with %q", b)
	}
}

func TestLongLinesAreCut(t *testing.T) {
	rep := &reporter{}
	if _, err := execute(t, context.Background(), map[string]any{"command": shell(`head -c 10000 /dev/zero | tr '\0' x; printf '\nend'`)}, rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.log) != 5 || len(rep.log[1]) != 4096 || len(rep.log[3]) != 10000-2*4096 || rep.log[4] != "end" {
		t.Errorf("log has %d lines", len(rep.log))
	}
}

func TestAnInputThatIsTheCommandIsExecutable(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho done > out/o\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	st := Kind.New()
	stages.Decode(st, stages.Args{Values: map[string]any{"command": []any{"in/script"}, "outputs": map[string]any{"o": "file"}}}, map[string]bool{"inputs": true})
	job := &stages.Job{OutDir: t.TempDir(), ScratchDir: t.TempDir(), Inputs: map[string][]stages.Input{"inputs": {{Name: "script", Path: script, Ref: artifact.Ref{Type: artifact.File}}}}}
	rep := &reporter{values: map[string]any{}}
	if err := st.Run(context.Background(), job.WithReporter(rep)); err != nil {
		t.Fatal(err, rep.text())
	}
}
