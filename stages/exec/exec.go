// Package exec is the exec kind: a user's own program as a stage, with declared inputs, outputs, environment and
// working folder, cached like every other.
//
// Rules of the room: the program is not ours. It sees private copies of its inputs at the fixed relative paths
// in/NAME, writes to out/NAME, gets only the environment that the pipeline declares, and is ended with everything that
// it started before its outputs are taken. No path of this machine reaches its command line.
package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the exec kind.
var Kind = &stages.Kind{
	Name:    "exec",
	Version: 1,
	Doc: "Runs a program of yours. Its inputs lie at `in/NAME` and its outputs are what it writes to `out/NAME`, relative to the folder in which it starts; " +
		"in `command` and `env` these paths are written `input.NAME` and `output.NAME`. A file of the project is named by its content with `source(\"path\")`, so that a change to a script runs it again.\n\n" +
		"The program's environment is empty but for `PATH`, `HOME` and `TMPDIR` (folders of its own), `LC_ALL=C.UTF-8`, what `env` declares, `CUDA_VISIBLE_DEVICES` with the GPUs that a runner \"gpu\" has leased for it, and the variables of yours whose names `inherit` lists (their contents are not part of the key). " +
		"It may write to its inputs: they are copies. What it starts is ended with it. A program whose output depends on the time, the network or anything else that is not declared cannot be reproduced; `darkroom reproduce` shows it.",
	Example: `exec "features" {
  command = ["python3", input.script, input.photos, output.table]
  inputs  = { script = source("features.py"), photos = ingest.photos.dataset }
  outputs = { table = "table", stats = "file" }
  values  = "stats"
  env     = { PYTHONHASHSEED = "0" }
}`,
	Foreign: true,
	New:     func() stages.Stage { return &program{} },
}

type program struct {
	command []string
	outputs map[string]string
	env     map[string]string
	inherit []string
	values  string
}

func (p *program) Declare(s *stages.Schema) {
	s.Strings(&p.command, "command", nil, "The program and its arguments. No shell is involved; write `[\"sh\", \"-c\", \"…\"]` for one.").Required().NonEmpty()
	s.In("inputs", "", "Artifacts and `source(…)` files by name; each lies at `in/NAME`.").OrNone().Many().Mixed()
	s.Source("workdir", "A folder of the project, copied to be the folder in which the program starts.").OrNone()
	s.StringMap(&p.outputs, "outputs", "What the program writes, by name: `file`, `folder`, or the type of an artifact (`dataset`, `model`, `table`, …).")
	s.StringMap(&p.env, "env", "Environment variables.")
	s.Strings(&p.inherit, "inherit", nil, "Names of environment variables passed on from where darkroom runs, such as `CUDA_VISIBLE_DEVICES`. Their contents are not part of the key.")
	s.String(&p.values, "values", "", "The output, a file with one JSON object, whose members become the stage's values.").NoDefault()
	s.OpenValues, s.LocalPaths = true, true
}

var portName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]*$`)

// Check implements stages.Checker.
func (p *program) Check() []stages.Problem {
	var problems []stages.Problem
	if len(p.command) > 0 && p.command[0] == "" {
		problems = append(problems, stages.Problemf("command", "Empty program name", "The first element of `command` is the program to run; it must not be empty."))
	}
	for _, text := range p.command {
		if strings.ContainsRune(text, 0) {
			problems = append(problems, stages.Problemf("command", "Invalid character", "An element of `command` holds a zero character, which no program can be given."))
		}
	}
	for _, name := range sortedKeys(p.outputs) {
		if !portName.MatchString(name) {
			problems = append(problems, stages.Problemf("outputs", "Malformed name", "The output %q is not a name: use letters, digits, - and _.", name))
		}
		if typ, err := artifact.ParseType(p.outputs[name]); err != nil {
			prob := stages.Problemf("outputs", "Unknown type of artifact", "The output %q is declared as %q. An output is a file, a folder or one of the artifact types.", name, typ)
			prob.Given, prob.Options = p.outputs[name], typeNames()
			problems = append(problems, prob)
		}
	}
	for _, name := range sortedKeys(p.env) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(p.env[name], 0) {
			problems = append(problems, stages.Problemf("env", "Malformed environment variable", "%q cannot be an environment variable: a name has no = and neither name nor text has a zero character.", name))
		}
	}
	if typ, ok := p.outputs[p.values]; p.values != "" && (!ok || typ == string(artifact.Folder)) {
		prob := stages.Problemf("values", "Values need an output", "`values` names %q, which is not among the declared outputs that are files.", p.values)
		prob.Given, prob.Options = p.values, sortedKeys(p.outputs)
		problems = append(problems, prob)
	}
	return problems
}

// Shape implements stages.Shaper: the outputs are what the user declared.
func (p *program) Shape(s *stages.Schema) {
	for _, name := range sortedKeys(p.outputs) {
		s.Out(name, artifact.Type(p.outputs[name]), "Written by the program to `out/"+name+"`.")
	}
}

func typeNames() []string {
	var names []string
	for _, t := range artifact.Types() {
		names = append(names, string(t))
	}
	return names
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// Run implements stages.Stage.
func (p *program) Run(ctx context.Context, job *stages.Job) error {
	work, err := p.prepare(job)
	if err != nil {
		return err
	}
	if err := p.execute(ctx, job, work); err != nil {
		return err
	}
	if err := p.collect(job, work); err != nil {
		return err
	}
	if p.values != "" {
		return p.reportValues(job, job.Output(p.values))
	}
	return nil
}

// prepare makes the folder in which the program starts, anew for every attempt.
func (p *program) prepare(job *stages.Job) (string, error) {
	work := filepath.Join(job.ScratchDir, "work")
	if err := clear(work); err != nil {
		return "", fmt.Errorf("clearing the working folder of an earlier attempt: %w", err)
	}
	if dir, ok := job.Input("workdir"); ok {
		if !dir.Ref.Tree {
			return "", stages.Problemf("workdir", "Not a folder", "`workdir` names a file. It is copied to be the folder in which the program starts, so it must be a folder.")
		}
		if err := os.CopyFS(work, os.DirFS(dir.Path)); err != nil {
			return "", fmt.Errorf("copying workdir: %w", err)
		}
		for _, name := range []string{"in", "out", ".home", ".tmp"} {
			if _, err := os.Lstat(filepath.Join(work, name)); err == nil {
				return "", stages.Problemf("workdir", "Name already taken", "The folder given as `workdir` holds %q, a name that darkroom uses in the working folder. Rename it.", name)
			}
		}
	}
	for _, name := range []string{"in", "out", ".home", ".tmp"} {
		if err := os.MkdirAll(filepath.Join(work, name), 0o777); err != nil {
			return "", fmt.Errorf("making the working folder: %w", err)
		}
	}
	for i, in := range job.Inputs["inputs"] {
		name := in.Name
		if name == "" {
			name = fmt.Sprint(i)
		}
		if !portName.MatchString(name) && name != fmt.Sprint(i) {
			return "", stages.Problemf("inputs", "Malformed name", "The input %q is not a name: use letters, digits, - and _.", name)
		}
		path := filepath.Join(work, "in", name)
		if err := place(in, path); err != nil {
			return "", err
		}
		// The content of a single file has no execute bit, but that of a script which is the command can only be meant.
		if !in.Ref.Tree && filepath.Join(work, p.command[0]) == path {
			if err := os.Chmod(path, 0o755); err != nil {
				return "", fmt.Errorf("making the input %s executable: %w", name, err)
			}
		}
	}
	return work, nil
}

// clear removes what an earlier attempt left, also where its program made folders read only.
func clear(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o777) // what stays closed is reported by the removal below
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// place moves the engine's private copy of an input to where the program finds it, or copies it when it cannot move.
func place(in stages.Input, path string) error {
	if err := os.Rename(in.Path, path); err == nil {
		return nil
	}
	var err error
	if in.Ref.Tree {
		err = os.CopyFS(path, os.DirFS(in.Path))
	} else {
		err = copyFile(in.Path, path)
	}
	if err != nil {
		return fmt.Errorf("placing the input %s: %w", filepath.Base(path), err)
	}
	return nil
}

func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o666|info.Mode()&0o111)
}

// environment returns what the program sees. The order is fixed, later entries win. Of the GPUs of the machine it sees what the job has.
func (p *program) environment(work string, gpus int) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(work, ".home"),
		"TMPDIR=" + filepath.Join(work, ".tmp"),
		"LC_ALL=C.UTF-8",
		"TZ=UTC",
	}
	inherit := p.inherit
	if gpus > 0 {
		inherit = append([]string{"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}, inherit...)
	}
	for _, name := range inherit {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for _, name := range sortedKeys(p.env) {
		env = append(env, name+"="+p.env[name])
	}
	return env
}

func (p *program) execute(ctx context.Context, job *stages.Job, work string) error {
	cmd := osexec.CommandContext(ctx, p.command[0], p.command[1:]...)
	cmd.Dir = work
	cmd.Env = p.environment(work, job.Resources.GPUs)
	if strings.Contains(p.command[0], "/") && !filepath.IsAbs(p.command[0]) {
		cmd.Path = filepath.Join(work, p.command[0])
		cmd.Err = nil
	}
	ownGroup(cmd)
	job.Logf("$ %s", strings.Join(p.command, " "))
	log, err := captureOutput(cmd, job)
	if err != nil {
		return err
	}
	err = cmd.Run()
	endGroup(cmd)
	log.finish()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return p.explain(err)
}

// explain turns how the program ended into an error that its author can act on.
func (p *program) explain(err error) error {
	var exit *osexec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, osexec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return stages.Problemf("command", "Program not found", "There is no program %q. Install it, or give a script of the project as an input: `inputs = { script = source(\"…\") }` and `command = [input.script]`.", p.command[0])
	case errors.Is(err, syscall.ENOEXEC):
		return stages.Problemf("command", "Program cannot be executed", "%q is neither a program for this machine nor a script whose first line names its interpreter, as #!/bin/sh does. Add that line, or name the interpreter first: [\"sh\", %q].", p.command[0], p.command[0])
	case errors.Is(err, os.ErrPermission):
		return stages.Problemf("command", "Program cannot be executed", "%q is not executable. Set its execute bit (chmod +x), or name its interpreter first: [\"sh\", %q].", p.command[0], p.command[0])
	case errors.As(err, &exit) && exit.Exited():
		return fmt.Errorf("%s ended with exit status %d; its last lines are in the log", p.command[0], exit.ExitCode())
	case errors.As(err, &exit):
		return fmt.Errorf("%s was ended by a signal: %s", p.command[0], exit.ProcessState)
	}
	return fmt.Errorf("running %s: %w", p.command[0], err)
}

// collect moves what the program wrote to the outputs and refuses what is missing or of the other nature.
//
// Links are not followed: what they name may lie anywhere and belong to anybody, and reading a named pipe never ends.
func (p *program) collect(job *stages.Job, work string) error {
	if info, err := os.Lstat(filepath.Join(work, "out")); err == nil && !info.IsDir() {
		return stages.Problemf("outputs", "Wrong kind of output", "The program replaced the folder out, in which its outputs are looked for, by %s.", nature(info.Mode()))
	}
	for _, name := range sortedKeys(p.outputs) {
		path := filepath.Join(work, "out", name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return stages.Problemf("outputs", "Missing output", "The program ended without writing out/%s. Pass it the path with output.%s, or take the output out of `outputs`.", name, name)
		case err != nil:
			return fmt.Errorf("looking at the output %s: %w", name, err)
		case !info.IsDir() && !info.Mode().IsRegular():
			return stages.Problemf("outputs", "Wrong kind of output", "The program left %s as out/%s. An output is a file or a folder: write, copy or move the content itself there.", nature(info.Mode()), name)
		case p.outputs[name] == string(artifact.Folder) && !info.IsDir():
			return stages.Problemf("outputs", "Wrong kind of output", "The output %q is declared as a folder, but the program wrote a file.", name)
		case p.outputs[name] == string(artifact.File) && info.IsDir():
			return stages.Problemf("outputs", "Wrong kind of output", "The output %q is declared as a file, but the program wrote a folder.", name)
		}
		if err := os.Rename(path, job.Output(name)); err != nil {
			return fmt.Errorf("taking the output %s: %w", name, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(work, "out"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it may remove the folder when it has no outputs
		return fmt.Errorf("looking at the outputs: %w", err)
	}
	for _, e := range left {
		job.Logf("warning: out/%s is not among the declared outputs and is dropped", e.Name())
	}
	return nil
}

// nature names what lies where a file or a folder should, for people.
func nature(mode os.FileMode) string {
	switch {
	case mode&os.ModeSymlink != 0:
		return "a symbolic link"
	case mode&os.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&os.ModeSocket != 0:
		return "a socket"
	case mode&os.ModeDevice != 0:
		return "a device"
	case mode.IsRegular():
		return "a file"
	}
	return "something that is no file"
}

// maxValuesSize bounds the file of values in bytes: a worker's messages, in which text may take six times its size, are
// bounded too.
const maxValuesSize = 2 << 20

// reportValues reports the members of the JSON object in the file at path.
func (p *program) reportValues(job *stages.Job, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("reading the values: %w", err)
	}
	if info.IsDir() || info.Size() > maxValuesSize {
		return stages.Problemf("values", "Values cannot be read", "The output named by `values` must be a file with one JSON object of at most 2 MiB.")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the values: %w", err)
	}
	var object map[string]any
	if err := json.Unmarshal(b, &object); err != nil || object == nil {
		return stages.Problemf("values", "Values cannot be read", "The output named by `values` does not hold one JSON object: %v.", err)
	}
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if !portName.MatchString(name) {
			return stages.Problemf("values", "Malformed name", "The value %q is not a name: use letters, digits, - and _.", name)
		}
		if _, taken := p.outputs[name]; taken {
			return stages.Problemf("values", "Name of a value is taken", "The value %q has the name of an output. Expressions name both in the same way, so rename one of them.", name)
		}
		job.Value(name, object[name])
	}
	return nil
}
