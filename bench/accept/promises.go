package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func checks() []check {
	return []check{
		{"quickstart", "`make run` on a fresh clone with empty caches: under 240 s, test accuracy ≥ 95 %", freshQuickstart},
		{"quickstart-again", "the same run again: nothing runs, under 0.5 s as a whole process", warmQuickstart},
		{"fashion-mnist", "test accuracy ≥ 92.5 % on 10,000 images within 1200 s", fashion},
		{"zerocost", "30 small networks on Fashion-MNIST: Spearman's rank correlation of the best score without training with the trained accuracy ≥ 0.5", zeroCost},
		{"search", "pipelines/search.hcl: the winner, with no more FLOPs than resnet8, has a better test accuracy, 3 seeds each", search},
		{"distillation", "pipelines/distill.hcl: ≥ 0.5 points more test accuracy than the same student without a teacher, 3 seeds each", distillation},
		{"overhead", "distill, pretrain and nas take ≤ 10 % more processor time than the plain trainer on a graph of the same size", overhead},
		{"changes", "only what a change touches runs; why says `epochs: 3 → 4`; cosmetic changes and touch run nothing; going back runs nothing", changes},
		{"sameness", "equal digests in two caches and folders; GOMAXPROCS 1 and 2; 1 and 2 loader workers; another umask; another order in the file; another `threads` is another key", sameness},
		{"reproduce", "every output of a finished quickstart is identical", reproduce},
		{"kill", "SIGKILL at 20 random moments, run again: the same digests, nothing left behind, training resumed", kills},
		{"together", "two runs of one pipeline started together: both succeed, each stage runs once", together},
		{"damage", "one byte of a stored blob flipped: noticed, said, repaired", damage},
		{"matrix", "two models × two rates and a select: five stages; a third rate runs only the new ones", matrix},
		{"exec", "a program that writes into its input damages only its copy; a child left running is ended", execs},
		{"models", "every network of the zoo and those that PyTorch exported, 30 or more, folded, pruned, quantized for both targets and in float16: the answers in ONNX Runtime agree, and files load again", models},
		{"numerics", "the trained ONNX file's logits equal the trainer's within 1e-4; ONNX Runtime loads it with full checking", numerics},
	}
}

// quickstartDir is the clone that the first check made; the others use its cache.
func (e *environment) quickstartDir() string { return filepath.Join(e.dir, "clone") }

func freshQuickstart(ctx context.Context, e *environment) (string, error) {
	clone := e.quickstartDir()
	if b, err := exec.CommandContext(ctx, "git", "clone", "-q", e.root, clone).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cloning: %w: %s", err, b)
	}
	cmd := exec.CommandContext(ctx, "make", "run")
	cmd.Dir = clone
	// Empty caches of the user: the ONNX Runtime library is fetched and every package is compiled.
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(e.dir, "user-cache"), "GOCACHE="+filepath.Join(e.dir, "go-build"))
	start := time.Now()
	b, err := cmd.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		return seconds(took), fmt.Errorf("make run: %w: %s", err, tail(string(b)))
	}
	accuracy, count, err := e.accuracy(ctx, clone, "pipelines/quickstart.hcl")
	text := fmt.Sprintf("%s, accuracy %.2f %% of %d images", seconds(took), 100*accuracy, count)
	switch {
	case err != nil:
		return text, err
	case took > 240*time.Second || accuracy < 0.95:
		return text, fmt.Errorf("misses the number")
	case !strings.Contains(string(b), ".html"):
		return text, fmt.Errorf("the run does not end by naming the report")
	}
	return text, nil
}

// accuracy reads the accuracy of the pipeline's only evaluate stage, and the number of images it saw.
func (e *environment) accuracy(ctx context.Context, dir, pipeline string, args ...string) (float64, int, error) {
	var plan struct {
		Stages []struct {
			Address string `json:"address"`
			Kind    string `json:"kind"`
		} `json:"stages"`
	}
	if err := e.json(ctx, &plan, command{dir: dir, args: append([]string{"plan", pipeline, "--json"}, args...)}); err != nil {
		return 0, 0, err
	}
	for _, st := range plan.Stages {
		if st.Kind != "evaluate" {
			continue
		}
		s, err := e.show(ctx, dir, pipeline, st.Address, args...)
		if err != nil {
			return 0, 0, err
		}
		accuracy, _ := s.Values["accuracy"].(float64)
		count, _ := s.Values["count"].(float64)
		return accuracy, int(count), nil
	}
	return 0, 0, fmt.Errorf("%s has no evaluate stage", pipeline)
}

func warmQuickstart(ctx context.Context, e *environment) (string, error) {
	dir := e.quickstartDir()
	var took []time.Duration
	for range 20 {
		r, err := e.run(ctx, command{dir: dir, args: []string{"pipelines/quickstart.hcl"}})
		if err != nil {
			return "", err
		}
		if r.Ran != 0 {
			return "", fmt.Errorf("%d stages ran: %s", r.Ran, r.started())
		}
		took = append(took, r.took)
	}
	m := median(took)
	text := fmt.Sprintf("nothing ran; median of 20: %d ms", m.Milliseconds())
	if m > 500*time.Millisecond {
		return text, fmt.Errorf("misses the number")
	}
	return text, nil
}

func fashion(ctx context.Context, e *environment) (string, error) {
	data, err := e.dataFolder("fashion-mnist")
	if err != nil {
		return "", err
	}
	dir, err := e.folder("fashion")
	if err != nil {
		return "", err
	}
	pipeline := filepath.Join(e.root, "pipelines", "fashion-mnist.hcl")
	args := []string{pipeline, "--cache", filepath.Join(dir, "cache"), "--var", "data=" + data}
	r, err := e.run(ctx, command{dir: dir, args: args})
	if err != nil {
		return seconds(r.took), err
	}
	accuracy, count, err := e.accuracy(ctx, dir, pipeline, args[1:]...)
	text := fmt.Sprintf("%s, accuracy %.2f %% of %d images", seconds(r.took), 100*accuracy, count)
	if err == nil && (accuracy < 0.925 || r.took > 1200*time.Second || count != 10000) {
		err = fmt.Errorf("misses the number")
	}
	return text, err
}

func reproduce(ctx context.Context, e *environment) (string, error) {
	dir := e.quickstartDir()
	r, err := e.run(ctx, command{dir: dir, args: []string{"pipelines/quickstart.hcl"}})
	if err != nil {
		return "", err
	}
	var report struct {
		Outputs []struct{ Address, Output, Verdict string }
	}
	if err := e.json(ctx, &report, command{dir: dir, args: []string{"reproduce", r.Experiment, "--json", "--pipeline", "pipelines/quickstart.hcl"}}); err != nil {
		return "", err
	}
	if len(report.Outputs) == 0 {
		return "", fmt.Errorf("no output was compared")
	}
	for _, o := range report.Outputs {
		if o.Verdict != "identical" {
			return "", fmt.Errorf("%s.%s is %s", o.Address, o.Output, o.Verdict)
		}
	}
	return fmt.Sprintf("%d outputs, all identical", len(report.Outputs)), nil
}

func numerics(ctx context.Context, e *environment) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-run", "TrainedFileAgreesWithTheTrainer|GradientsAreFiniteDifferences", "-v", "./learn")
	cmd.Dir = e.root
	b, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, tail(string(b)))
	}
	n := strings.Count(string(b), "--- PASS")
	if n == 0 {
		return "", fmt.Errorf("no test of that name ran")
	}
	return fmt.Sprintf("%d tests pass", n), nil
}
