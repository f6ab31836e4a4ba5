package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func changes(ctx context.Context, e *environment) (string, error) {
	dir, err := e.project("changes", small)
	if err != nil {
		return "", err
	}
	const all = "augment.policy evaluate.test ingest.surfaces split.holdout train.net"
	four := strings.Replace(small, "default = 3", "default = 4", 1)
	preview := strings.Replace(small, "columns = 4", "columns = 6", 1)
	steps := []struct{ what, text, want string }{
		{"the first run", small, all},
		{"the same again", small, ""},
		{"epochs 3 → 4", four, "evaluate.test train.net"},
		{"epochs back to 3", small, ""},
		{"comments, formatting and order", reordered(), ""},
		{"the preview's size", preview, "augment.policy"},
		{"the preview's size back", small, ""},
	}
	for _, s := range steps {
		r, err := e.runSmall(ctx, dir, s.text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.what, err)
		}
		if err := expectStages(s.what, r, s.want); err != nil {
			return "", err
		}
		if s.text == four {
			o, err := e.call(ctx, command{dir: dir, args: []string{"why", "train.net", "--pipeline", "pipeline.hcl"}})
			if err != nil || !strings.Contains(o.stdout, "epochs: 3 → 4") {
				return "", fmt.Errorf("why prints %q (%v)", tail(o.stdout+o.stderr), err)
			}
		}
	}
	if err := touched(ctx, e); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d runs, each ran exactly what it should", len(steps)+2), nil
}

// touched checks that new times on a source run nothing.
func touched(ctx context.Context, e *environment) error {
	const text = `exec "copy" {
  command = ["cp", input.words, output.words]
  inputs  = { words = source("words.txt") }
  outputs = { words = "file" }
}
`
	dir, err := e.project("touch", text)
	if err != nil {
		return err
	}
	words := filepath.Join(dir, "words.txt")
	if err := os.WriteFile(words, []byte("scratch pit patch\n"), 0o666); err != nil {
		return err
	}
	for _, want := range []string{"exec.copy", ""} {
		r, err := e.runSmall(ctx, dir, text)
		if err != nil {
			return err
		}
		if err := expectStages("touch", r, want); err != nil {
			return err
		}
		now := time.Now()
		if err := os.Chtimes(words, now, now); err != nil {
			return err
		}
	}
	return nil
}

func sameness(ctx context.Context, e *environment) (string, error) {
	var first []string
	variants := []struct {
		what, text string
		env, args  []string
	}{
		{what: "the first run", text: small},
		{what: "another folder and cache", text: small},
		{what: "GOMAXPROCS=1", text: small, env: []string{"GOMAXPROCS=1"}},
		{what: "GOMAXPROCS=2", text: small, env: []string{"GOMAXPROCS=2"}},
		{what: "two loader workers", text: small, args: []string{"--var", "workers=2"}},
		{what: "another order in the file", text: reordered()},
	}
	for i, v := range variants {
		dir, err := e.project("same", v.text)
		if err != nil {
			return "", err
		}
		if i == len(variants)-1 {
			defer syscall.Umask(syscall.Umask(0o077)) // the last one also runs with another umask
		}
		if _, err := e.run(ctx, command{dir: dir, args: append([]string{"pipeline.hcl"}, v.args...), env: v.env}); err != nil {
			return "", fmt.Errorf("%s: %w", v.what, err)
		}
		got, err := e.digests(ctx, dir, "pipeline.hcl", v.args...)
		if err != nil {
			return "", fmt.Errorf("%s: %w", v.what, err)
		}
		if i == 0 {
			first = got
		}
		if err := equal(v.what, first, got); err != nil {
			return "", err
		}
	}
	if err := threadsInKey(ctx, e); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d runs, %d digests and values equal in all", len(variants), len(first)), twoQuickstarts(ctx, e)
}

func threadsInKey(ctx context.Context, e *environment) error {
	dir, err := e.project("threads", small)
	if err != nil {
		return err
	}
	keys := map[string]bool{}
	for _, n := range []string{"1", "2"} {
		if err := writePipeline(dir, strings.Replace(small, "seed = 7", "seed = 7\n  threads = "+n, 1)); err != nil {
			return err
		}
		r, err := e.run(ctx, command{dir: dir, args: []string{"pipeline.hcl", "--var", "epochs=1"}})
		if err != nil {
			return err
		}
		s, err := e.show(ctx, dir, "pipeline.hcl", "train.net", "--var", "epochs=1")
		if err != nil {
			return err
		}
		if keys[s.Key] = true; r.Ran == 0 {
			return fmt.Errorf("threads = %s ran nothing", n)
		}
	}
	if len(keys) != 2 {
		return errors.New("another number of threads gave the same key")
	}
	return nil
}

// twoQuickstarts runs the quickstart in a second folder and compares with the first check's.
func twoQuickstarts(ctx context.Context, e *environment) error {
	if _, err := os.Stat(e.quickstartDir()); err != nil {
		return nil // the first check was not selected
	}
	dir, err := e.folder("quickstart")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(e.root, "pipelines", "quickstart.hcl"))
	if err != nil {
		return err
	}
	if _, err := e.runSmall(ctx, dir, string(text)); err != nil {
		return err
	}
	one, err := e.digests(ctx, e.quickstartDir(), "pipelines/quickstart.hcl")
	if err != nil {
		return err
	}
	two, err := e.digests(ctx, dir, "pipeline.hcl")
	if err != nil {
		return err
	}
	return equal("two quickstarts", one, two)
}

func kills(ctx context.Context, e *environment) (string, error) {
	whole, err := e.project("undisturbed", small)
	if err != nil {
		return "", err
	}
	r, err := e.runSmall(ctx, whole, small)
	if err != nil {
		return "", err
	}
	want, err := e.digests(ctx, whole, "pipeline.hcl")
	if err != nil {
		return "", err
	}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	resumed, killed := 0, 0
	dir, err := e.project("killed", small)
	if err != nil {
		return "", err
	}
	for killed < 20 {
		hit, finishedRun, said, err := e.killOnce(ctx, dir, time.Duration(random.Int64N(int64(r.took))))
		if err != nil {
			return "", err
		}
		resumed += said
		if hit {
			killed++
		}
		if !finishedRun && killed < 20 {
			continue // the next run goes on from there, and may be killed too
		}
		again, err := e.run(ctx, command{dir: dir, args: []string{"pipeline.hcl"}})
		if err != nil {
			return "", fmt.Errorf("after %d kills: %w", killed, err)
		}
		resumed += countLines(again, "resuming")
		got, err := e.digests(ctx, dir, "pipeline.hcl")
		if err != nil {
			return "", err
		}
		if err := equal(fmt.Sprintf("after %d kills", killed), want, got); err != nil {
			return "", err
		}
		if dir, err = e.project("killed", small); err != nil {
			return "", err
		}
	}
	text := fmt.Sprintf("%d kills, the same digests, no process left; %d times the training resumed from its checkpoint", killed, resumed)
	if resumed == 0 {
		return text, errors.New("no kill came while a checkpoint was there")
	}
	return text, nil
}

// killOnce starts a run, kills it after the delay, and waits until nothing of it is left. resumed is 1 when the
// training said that it goes on from a checkpoint.
func (e *environment) killOnce(ctx context.Context, dir string, delay time.Duration) (hit, done bool, resumed int, err error) {
	cmd := e.prepare(ctx, command{dir: dir, args: []string{"run", "pipeline.hcl", "--json"}})
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		return false, false, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
		if err != nil {
			err = fmt.Errorf("a run that was not killed failed: %w", err)
		}
		return false, true, countLines(parseRun(output{stdout: stdout.String()}), "resuming"), err
	case <-time.After(delay):
		_ = syscall.Kill(cmd.Process.Pid, syscall.SIGKILL) // the run alone, not its workers
		<-ended
	}
	return true, false, countLines(parseRun(output{stdout: stdout.String()}), "resuming"), e.quiet(10 * time.Second)
}

func countLines(r ran, word string) int {
	for _, ev := range r.events {
		if ev.Event == "stage_log" && strings.Contains(ev.Line, word) {
			return 1
		}
	}
	return 0
}

func together(ctx context.Context, e *environment) (string, error) {
	dir, err := e.project("together", small)
	if err != nil {
		return "", err
	}
	var wg sync.WaitGroup
	runs := make([]ran, 2)
	errs := make([]error, 2)
	for i := range runs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runs[i], errs[i] = e.run(ctx, command{dir: dir, args: []string{"pipeline.hcl"}})
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	text := fmt.Sprintf("one ran %d stages, the other %d, of 5", runs[0].Ran, runs[1].Ran)
	if runs[0].Ran+runs[1].Ran != 5 {
		return text, errors.New("a stage ran twice or not at all")
	}
	return text, nil
}

func damage(ctx context.Context, e *environment) (string, error) {
	dir, err := e.project("damage", small)
	if err != nil {
		return "", err
	}
	if _, err := e.runSmall(ctx, dir, small); err != nil {
		return "", err
	}
	before, err := e.digests(ctx, dir, "pipeline.hcl")
	if err != nil {
		return "", err
	}
	s, err := e.show(ctx, dir, "pipeline.hcl", "train.net")
	if err != nil {
		return "", err
	}
	if err := flipByte(filepath.Join(dir, ".darkroom"), s.Outputs["model"].Digest); err != nil {
		return "", err
	}
	r, err := e.runSmall(ctx, dir, strings.Replace(small, `data  = split.holdout.test`, `data  = split.holdout.validation`, 1))
	if err != nil {
		return "", err
	}
	if !r.has("blob_damaged") {
		return "", errors.New("no event says that a blob is damaged")
	}
	if err := expectStages("after the damage", r, "evaluate.test train.net"); err != nil {
		return "", err
	}
	if _, err := e.runSmall(ctx, dir, small); err != nil {
		return "", err
	}
	after, err := e.digests(ctx, dir, "pipeline.hcl")
	if err != nil {
		return "", err
	}
	return "noticed, said, and repaired by running train.net again", equal("after the repair", before, after)
}

// flipByte changes one byte of the stored blob, whatever its mode.
func flipByte(cache, digest string) error {
	var blob string
	err := filepath.WalkDir(filepath.Join(cache, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(strings.ReplaceAll(path, "/", ""), digest) {
			blob = path
		}
		return err
	})
	if err != nil || blob == "" {
		return fmt.Errorf("finding the blob %s: %v", digest, err)
	}
	b, err := os.ReadFile(blob)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(blob, 0o644); err != nil {
		return err
	}
	f, err := os.OpenFile(blob, os.O_WRONLY, 0) // in place: the same inode, as a failing disk would do it
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chmod(blob, 0o444)
}

func matrix(ctx context.Context, e *environment) (string, error) {
	i := strings.Index(small, "train \"net\"")
	head := small[:i]
	sweep := func(rates string) string {
		return head + `train "sweep" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = each.value.model
  learning_rate = each.value.lr
  batch         = 32
  epochs        = 1
  workers       = var.workers

  matrix {
    model = ["resnet8", "resnet20"]
    lr    = ` + rates + `
  }
}

select "best" {
  from = values(train.sweep)[*].model
  by   = values(train.sweep)[*].accuracy
}
`
	}
	dir, err := e.project("matrix", small)
	if err != nil {
		return "", err
	}
	one, err := e.runSmall(ctx, dir, sweep("[0.05, 0.1]"))
	if err != nil {
		return "", err
	}
	two, err := e.runSmall(ctx, dir, sweep("[0.05, 0.1, 0.2]"))
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%d stages of which 3 prepare the data, then %d", one.Ran, two.Ran)
	// The two new trainings, and the selection, whose candidates changed.
	if one.Ran != 3+5 || two.Ran != 2+1 {
		return text, errors.New("should be 8 and 3")
	}
	return text, nil
}

func execs(ctx context.Context, e *environment) (string, error) {
	const text = `exec "rude" {
  command = ["sh", "-c", "chmod -R u+w in; echo spoilt >> in/words; setsid sleep 7654 & echo $! > out/pid; cp in/words out/words; sleep 0.3"]
  inputs  = { words = source("words.txt") }
  outputs = { words = "file", pid = "file" }
}

exec "second" {
  command = ["sh", "-c", "chmod -R u+w in; echo spoilt >> in/words; cp in/words out/words"]
  inputs  = { words = exec.rude.words }
  outputs = { words = "file" }
}
`
	dir, err := e.project("exec", text)
	if err != nil {
		return "", err
	}
	words := filepath.Join(dir, "words.txt")
	if err := os.WriteFile(words, []byte("clean\n"), 0o666); err != nil {
		return "", err
	}
	if _, err := e.runSmall(ctx, dir, text); err != nil {
		return "", err
	}
	if b, err := os.ReadFile(words); err != nil || string(b) != "clean\n" {
		return "", fmt.Errorf("the user's file holds %q (%v)", b, err)
	}
	for _, what := range []string{"rude.words", "rude.pid", "second.words"} {
		if o, err := e.call(ctx, command{dir: dir, args: []string{"get", "exec." + what, what, "--pipeline", "pipeline.hcl"}}); err != nil || o.code != 0 {
			return "", fmt.Errorf("get %s: %v %s", what, err, tail(o.stdout+o.stderr))
		}
	}
	for name, want := range map[string]string{"rude.words": "clean\nspoilt\n", "second.words": "clean\nspoilt\nspoilt\n"} {
		if b, _ := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			return "", fmt.Errorf("%s holds %q", name, b)
		}
	}
	b, _ := os.ReadFile(filepath.Join(dir, "rude.pid"))
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return "", fmt.Errorf("reading the child's number: %w", err)
	}
	if left, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline")); strings.Contains(string(left), "7654") {
		return "", fmt.Errorf("the child %d is still running", pid)
	}
	if o, err := e.call(ctx, command{dir: dir, args: []string{"cache", "verify"}}); err != nil || o.code != 0 {
		return "", fmt.Errorf("cache verify: %v %s", err, tail(o.stdout+o.stderr))
	}
	return "only the copies changed; the child was ended; the cache verifies", nil
}
