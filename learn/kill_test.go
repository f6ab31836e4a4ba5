package learn

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// childFolder names the folder in which a test process trains instead of testing, and writes its result.
const childFolder = "DARKROOM_TEST_TRAIN_IN"

// TestKilledTrainings kills a training with SIGKILL after a few steps, again and again, at other places of an epoch each time; checkpoints
// are written after every step, so that some kills meet one that is half written. The last process ends in the bytes of a training
// that was never killed.
func TestKilledTrainings(t *testing.T) {
	if dir := os.Getenv(childFolder); dir != "" {
		trainAsChild(t, dir)
		return
	}
	c := killedConfig(t)
	straight, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kills := 0
	for _, after := range []int{2, 7, 1, 5, 3, 1000} {
		if killAfter(t, dir, after) {
			kills++
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "result"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content(t, straight)) {
		t.Error("the killed training ended in other bytes")
	}
	if kills < 4 {
		t.Errorf("only %d processes were killed while they trained", kills)
	}
}

// killedConfig is a training with everything that has a state of its own: moments, an average, gradients in parts, masks, layers that thaw.
func killedConfig(t *testing.T) Config {
	t.Helper()
	c := config(t)
	c.Optimizer, c.LearningRate = Adam{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01, Decoupled: true}, 0.005
	c.Average, c.Accumulate, c.Drop = Average{Decay: 0.9, Rising: true}, 2, Drop{Out: 0.1, Path: 0.1}
	c.Freeze = Freeze{Share: 0.3, Epochs: 2, Steps: 2, Statistics: true}
	return c
}

// killAfter starts a process that trains in dir and kills it once it has said that many steps; killed is false when it ended before.
func killAfter(t *testing.T, dir string, steps int) (killed bool) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestKilledTrainings$")
	child.Env = append(os.Environ(), childFolder+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for said := 0; lines.Scan(); {
		if lines.Text() != "step" {
			continue
		}
		if said++; said == steps {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed = true
			break
		}
	}
	err = child.Wait()
	if !killed && err != nil {
		t.Fatal(err)
	}
	return killed
}

func trainAsChild(t *testing.T, dir string) {
	c := killedConfig(t)
	c.Checkpoints, c.CheckpointEvery = filepath.Join(dir, "checkpoints"), time.Nanosecond
	c.Progress = func(p Progress) {
		if !p.Validating {
			fmt.Println("step")
		}
	}
	r, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "result"), content(t, r), 0o666); err != nil {
		t.Fatal(err)
	}
}
