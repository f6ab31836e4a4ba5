package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type errUnknownCondition string

func (e errUnknownCondition) Error() string { return fmt.Sprintf("unknown condition %q", string(e)) }

// scriptCommands are what scripts can do besides the usual commands. Each says in its comment how it is written.
func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"ran":     cmdRan,
		"json":    cmdJSON,
		"digests": cmdDigests,
		"flip":    cmdFlip,
		"touch":   cmdTouch,
		"umask":   cmdUmask,
		"replace": cmdReplace,
		"exit":    cmdExit,
		"twice":   cmdTwice,
		"killed":  cmdKilled,

		"interrupted": cmdInterrupted,
		"killafter":   cmdKillAfter,
		"gone":        cmdGone,
		"reportfile":  cmdReportFile,
		"experiment":  cmdExperiment,
	}
}

func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// runEvents decodes the events that `run --json` printed.
func runEvents(ts *testscript.TestScript, out string) []map[string]any {
	var events []map[string]any
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e map[string]any
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			ts.Fatalf("line %q is not JSON: %v", lines.Text(), err)
		}
		events = append(events, e)
	}
	return events
}

func executed(events []map[string]any) []string {
	set := map[string]bool{}
	for _, e := range events {
		if e["event"] == "stage_started" {
			set[e["address"].(string)] = true
		}
	}
	return sortedKeys(set)
}

// ran ADDRESS…: the last command was `run --json`, it was ok, and exactly these stages were executed.
func cmdRan(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg, "ran ADDRESS…")
	events := runEvents(ts, ts.ReadFile("stdout"))
	if len(events) == 0 {
		ts.Fatalf("the last command printed no events")
	}
	if last := events[len(events)-1]; last["event"] != "finished" || last["ok"] != true {
		ts.Fatalf("the run is not ok: %v", last)
	}
	sort.Strings(args)
	if got := executed(events); strings.Join(got, " ") != strings.Join(args, " ") {
		ts.Fatalf("ran %v, should run %v", got, args)
	}
}

// json PATH VALUE: in the last document on stdout, the value at PATH (a.b[0].c; [*] any element) is VALUE.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, "json PATH VALUE")
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	var doc any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		last := text[strings.LastIndexByte(text, '\n')+1:]
		if json.Unmarshal([]byte(last), &doc) != nil {
			ts.Fatalf("stdout is not JSON: %v", err)
		}
	}
	var found []string
	for _, v := range lookup(doc, strings.FieldsFunc(args[0], func(r rune) bool { return strings.ContainsRune(".[]", r) })) {
		if s, ok := v.(string); ok {
			found = append(found, s)
			continue
		}
		b, err := json.Marshal(v)
		ts.Check(err)
		found = append(found, string(b))
	}
	match := false
	for _, f := range found {
		match = match || f == args[1]
	}
	if match == neg {
		ts.Fatalf("%s is %q, want %s%q", args[0], found, map[bool]string{true: "anything but "}[neg], args[1])
	}
}

func lookup(v any, path []string) []any {
	if len(path) == 0 {
		return []any{v}
	}
	switch v := v.(type) {
	case map[string]any:
		if e, ok := v[path[0]]; ok {
			return lookup(e, path[1:])
		}
	case []any:
		if path[0] == "*" {
			var out []any
			for _, e := range v {
				out = append(out, lookup(e, path[1:])...)
			}
			return out
		}
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < len(v) {
			return lookup(v[i], path[1:])
		}
	}
	return nil
}

// output runs the command and returns what it prints on stdout.
func output(ts *testscript.TestScript, args ...string) []byte {
	cmd := command(ts, args...)
	var errText strings.Builder
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		ts.Fatalf("darkroom %s: %v\n%s%s", strings.Join(args, " "), err, out, errText.String())
	}
	return out
}

// command prepares the command in the script's folder and environment.
func command(ts *testscript.TestScript, args ...string) *exec.Cmd {
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "darkroom")); err == nil && path == "" {
			path = filepath.Join(dir, "darkroom")
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "NO_COLOR", "DARKROOM_ONNXRUNTIME", "DARKROOM_CACHE", "GOMAXPROCS"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

type shownStage struct {
	Key     string
	Outputs map[string]struct{ Digest string }
	Values  map[string]any
}

// digests FILE PIPELINE [FLAG…]: writes the digest of every output and all values of the pipeline's stages to FILE.
func cmdDigests(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "digests FILE PIPELINE [FLAG…]")
	var plan struct {
		Stages []struct{ Address, Action string }
	}
	ts.Check(json.Unmarshal(output(ts, append([]string{"plan", "--json"}, args[1:]...)...), &plan))
	var lines []string
	for _, st := range plan.Stages {
		if st.Action != "reuse" {
			ts.Fatalf("%s is not done", st.Address)
		}
		var s shownStage
		flags := append([]string{"show", st.Address, "--json", "--pipeline", args[1]}, args[2:]...)
		ts.Check(json.Unmarshal(output(ts, flags...), &s))
		for name, o := range s.Outputs {
			lines = append(lines, st.Address+"."+name+" "+o.Digest)
		}
		values, err := json.Marshal(s.Values)
		ts.Check(err)
		lines = append(lines, st.Address+" values "+string(values))
	}
	sort.Strings(lines)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(lines, "\n")+"\n"), 0o666))
}

// flip CACHE PIPELINE ADDRESS OUTPUT: changes one byte of the stored blob of that output.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 4, "flip CACHE PIPELINE ADDRESS OUTPUT")
	var s shownStage
	ts.Check(json.Unmarshal(output(ts, "show", args[2], "--json", "--pipeline", args[1], "--cache", ts.MkAbs(args[0])), &s))
	digest := s.Outputs[args[3]].Digest
	blob := ""
	ts.Check(filepath.WalkDir(filepath.Join(ts.MkAbs(args[0]), "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && digest != "" && strings.Contains(strings.ReplaceAll(path, "/", ""), digest) {
			blob = path
		}
		return err
	}))
	if blob == "" {
		ts.Fatalf("there is no blob %q", digest)
	}
	b, err := os.ReadFile(blob)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.Chmod(blob, 0o644))
	f, err := os.OpenFile(blob, os.O_WRONLY, 0) // in place: the same inode, as a failing disk would do it
	ts.Check(err)
	_, err = f.Write(b)
	ts.Check(err)
	ts.Check(f.Close())
	ts.Check(os.Chmod(blob, 0o444))
}

// touch FILE: gives the file the time of now.
func cmdTouch(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "touch FILE")
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	later := info.ModTime().Add(3_000_000_000)
	ts.Check(os.Chtimes(ts.MkAbs(args[0]), later, later))
}

// umask MASK COMMAND…: runs the command with that umask.
func cmdUmask(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "umask MASK DARKROOM-ARGUMENT…")
	// A shell sets it, so that it does not leak into scripts that run beside this one.
	cmd := command(ts, args[1:]...)
	cmd.Args = append([]string{"sh", "-c", "umask " + args[0] + "; exec \"$0\" \"$@\"", cmd.Path}, args[1:]...)
	cmd.Path = "/bin/sh"
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}

// replace FILE OLD NEW: replaces the first OLD in FILE, which must be there; \n is a line break.
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 3, "replace FILE OLD NEW")
	text := ts.ReadFile(args[0])
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], `\n`, "\n")
	}
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o666))
}

// exit CODE DARKROOM-ARGUMENT…: the command ends with that exit code; its output is compared with `cmp stdout FILE`.
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "exit CODE DARKROOM-ARGUMENT…")
	err := ts.Exec("darkroom", args[1:]...)
	code := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// twice DARKROOM-ARGUMENT…: starts the command twice at once; both must be ok; prints the stages that each executed and
// fails when one was executed twice.
func cmdTwice(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 1, "twice DARKROOM-ARGUMENT…")
	var outs [2]strings.Builder
	var cmds [2]*exec.Cmd
	for i := range cmds {
		cmds[i] = command(ts, args...)
		cmds[i].Stdout = &outs[i]
		cmds[i].Stderr = &outs[i]
		ts.Check(cmds[i].Start())
	}
	count := map[string]int{}
	for i := range cmds {
		if err := cmds[i].Wait(); err != nil {
			ts.Fatalf("run %d: %v\n%s", i, err, outs[i].String())
		}
		for _, address := range executed(runEvents(ts, outs[i].String())) {
			count[address]++
		}
	}
	if len(count) == 0 {
		ts.Fatalf("neither run executed anything")
	}
	for _, address := range sortedKeys(count) {
		if count[address] != 1 {
			ts.Fatalf("%s was executed %d times", address, count[address])
		}
	}
}

// killed TIMES DARKROOM-ARGUMENT…: starts the command TIMES times and kills it with SIGKILL each time after another
// number of lines of output, so that the moments are spread over the whole run; nothing that it started may be left.
func cmdKilled(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "killed TIMES DARKROOM-ARGUMENT…")
	times, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i := range times {
		lines := 2 + 3*i
		killWhen(ts, args[1:], func(string) bool { lines--; return lines < 0 })
	}
}

// killafter TEXT DARKROOM-ARGUMENT…: starts the command and kills it when it prints a line with TEXT.
func cmdKillAfter(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "killafter TEXT DARKROOM-ARGUMENT…")
	seen := false
	killWhen(ts, args[1:], func(line string) bool { seen = seen || strings.Contains(line, args[0]); return seen })
	if !seen {
		ts.Fatalf("no line contains %q", args[0])
	}
}

// interrupted TEXT DARKROOM-ARGUMENT…: starts the command, interrupts it (Ctrl-C) when it prints a line with TEXT, and
// expects that it ends in order with 130.
func cmdInterrupted(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "interrupted TEXT DARKROOM-ARGUMENT…")
	code := endWhen(ts, syscall.SIGINT, args[1:], func(line string) bool { return strings.Contains(line, args[0]) })
	if code != 130 {
		ts.Fatalf("exit code %d, want 130", code)
	}
}

func killWhen(ts *testscript.TestScript, args []string, moment func(line string) bool) {
	endWhen(ts, syscall.SIGKILL, args, moment)
}

// endWhen starts the command, sends it the signal at the first line of its output of which moment says so, and returns
// its exit code when everything that it started is gone.
func endWhen(ts *testscript.TestScript, signal syscall.Signal, args []string, moment func(line string) bool) int {
	cmd := command(ts, args...)
	// Whatever the run starts inherits the write end, so that the read end sees when the last of it is gone. It has a
	// high number, because runners use the low ones for their own pipes.
	alive, inherited, err := os.Pipe()
	ts.Check(err)
	cmd.ExtraFiles = make([]*os.File, 40)
	cmd.ExtraFiles[39] = inherited
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Check(inherited.Close())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() && !moment(lines.Text()) {
	}
	_ = cmd.Process.Signal(signal)
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	ts.Check(alive.SetReadDeadline(time.Now().Add(20 * time.Second)))
	if _, err := alive.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		ts.Fatalf("a process that the killed run started is still there: %v", err)
	}
	ts.Check(alive.Close())
	return cmd.ProcessState.ExitCode()
}

// gone FILE: the process whose number FILE holds does not exist any more.
func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "gone FILE")
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	if err := syscall.Kill(pid, 0); err == nil {
		ts.Fatalf("process %d is still there", pid)
	}
}

// reportfile FILE: FILE, mostly stdout, names a report that is there and is a page.
func cmdReportFile(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "reportfile FILE")
	found := 0
	for _, line := range strings.Split(ts.ReadFile(args[0]), "\n") {
		if path, ok := strings.CutPrefix(line, "Report: "); ok {
			if info, err := os.Stat(ts.MkAbs(path)); err != nil || info.Size() == 0 || info.Mode().Perm()&0o222 != 0 {
				ts.Fatalf("the report %s is missing, empty or writable: %v", path, err)
			}
			found++
		}
	}
	if found == 0 {
		ts.Fatalf("no line begins with \"Report: \"")
	}
}

// experiment [PIPELINE]: sets $EXPERIMENT to the pipeline's experiment, and $KEY and $DIGEST to those of its first stage
// and that one's output.
func cmdExperiment(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) <= 1, "experiment [PIPELINE]")
	var plan struct {
		Experiment string
		Stages     []struct{ Address, Key string }
	}
	ts.Check(json.Unmarshal(output(ts, append([]string{"plan", "--json"}, args...)...), &plan))
	if plan.Experiment == "" {
		ts.Fatalf("the plan has no experiment")
	}
	if ts.Getenv("EXPERIMENT") != "" {
		ts.Setenv("FIRST", ts.Getenv("EXPERIMENT"))
	}
	ts.Setenv("EXPERIMENT", plan.Experiment)
	ts.Setenv("KEY", plan.Stages[0].Key)
	var s shownStage
	ts.Check(json.Unmarshal(output(ts, "show", plan.Stages[0].Key, "--json"), &s))
	for _, name := range sortedKeys(s.Outputs) {
		ts.Setenv("DIGEST", s.Outputs[name].Digest)
	}
}
