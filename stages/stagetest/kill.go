package stagetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
)

// killedFolder names the folder in which a test process executes a fixture instead of testing it.
const killedFolder = "DARKROOM_STAGETEST_KILLED_IN"

// Killed executes the fixture in processes that are killed with SIGKILL at random moments, and then in one that is not. It must end in the bytes of a run that
// was never killed, leave the same files in its scratch folder, and keep none of its parts twice. The calling test must do nothing else: it is what the processes run,
// by its name. It returns how many parts were kept after each of the processes.
func Killed(t *testing.T, f Fixture, kills int) (kept []int) {
	if dir := os.Getenv(killedFolder); dir != "" {
		f.executeAsChild(t, dir)
		return nil
	}
	straight := t.TempDir()
	reports := endAfter(t, straight, -1)
	want := readChild(t, straight)
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(f.Seed, 1))
	for n := range kills {
		// Spread over the whole run, and never so late that no work is left for the last process.
		after := 1 + random.IntN(max(1, reports*(n+1)/(kills+1)))
		if endAfter(t, dir, after) == after {
			kept = append(kept, len(keptParts(t, dir)))
		}
	}
	if len(kept) < (kills+1)/2 {
		t.Errorf("only %d of %d processes were killed while they worked", len(kept), kills)
	}
	endAfter(t, dir, -1)
	parts := keptParts(t, dir)
	kept = append(kept, len(parts))
	got := readChild(t, dir)
	for _, name := range union(want.Digests, got.Digests) {
		if want.Digests[name] != got.Digests[name] {
			t.Errorf("after %d kills the output %s has digest %s, without them %s", kills, name, short(got.Digests[name]), short(want.Digests[name]))
		}
	}
	if !slices.Equal(want.Scratch, got.Scratch) {
		t.Errorf("after %d kills the scratch folder holds\n%s\nwithout them\n%s", kills, strings.Join(got.Scratch, "\n"), strings.Join(want.Scratch, "\n"))
	}
	if unkilled := keptParts(t, straight); !slices.Equal(parts, unkilled) {
		t.Errorf("after %d kills the parts %v are kept, without them %v", kills, parts, unkilled)
	}
	return kept
}

// child is what a process of Killed says at its end.
type child struct {
	Digests map[string]artifact.Digest
	Scratch []string // the files
}

func readChild(t *testing.T, dir string) child {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "result"))
	if err != nil {
		t.Fatal(err)
	}
	var c child
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// keptParts lists the parts that were kept, by key.
func keptParts(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, "parts"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var keys []string
	for _, e := range list {
		keys = append(keys, e.Name())
	}
	return keys
}

// saidLine is what a child prints at every report.
const saidLine = "reported"

// endAfter starts a process that executes the fixture in dir and kills it after so many reports; -1: not. It returns how many there were.
func endAfter(t *testing.T, dir string, reports int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), killedFolder+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := 0
	var others []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() != saidLine {
			others = append(others, lines.Text())
			continue
		}
		if said++; said == reports {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if err := cmd.Wait(); err != nil && said != reports {
		t.Fatalf("%v\n%s", err, strings.Join(others, "\n"))
	}
	return said
}

// executeAsChild executes the fixture with the scratch folder and the parts that lie in dir.
func (f Fixture) executeAsChild(t *testing.T, dir string) {
	scratch := filepath.Join(dir, "scratch")
	mkdir(t, scratch)
	job := f.job(t, scratch)
	st, _ := f.decode(t, job)
	rec := newRecorder()
	rec.notify = func(int) { fmt.Println(saidLine) }
	if err := st.Run(context.Background(), job.WithReporter(&keeping{rec, dir})); err != nil {
		t.Fatal(err)
	}
	c := child{Digests: map[string]artifact.Digest{}}
	names, err := os.ReadDir(job.OutDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		c.Digests[e.Name()] = f.digest(t, filepath.Join(job.OutDir, e.Name()))
	}
	err = artifact.Walk(scratch, func(rel string, _ os.FileInfo) error {
		c.Scratch = append(c.Scratch, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "result"), b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// keeping is a recorder that keeps parts in a folder, as a run's cache would.
type keeping struct {
	*recorder
	dir string
}

func (k *keeping) part(key artifact.Digest) string { return filepath.Join(k.dir, "parts", string(key)) }

// Recall implements stages.Memory.
func (k *keeping) Recall(_ context.Context, key artifact.Digest, dst string) (bool, error) {
	if _, err := os.Stat(k.part(key)); err != nil {
		return false, nil
	}
	return true, os.CopyFS(dst, os.DirFS(k.part(key)))
}

// Remember implements stages.Memory. A part is there as a whole or not at all, and it is an error to make one again.
func (k *keeping) Remember(_ context.Context, key artifact.Digest, _, src string) error {
	tmp, err := os.MkdirTemp(k.dir, "part-")
	if err != nil {
		return err
	}
	if err := os.CopyFS(tmp, os.DirFS(src)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(k.dir, "parts"), 0o777); err != nil {
		return err
	}
	return os.Rename(tmp, k.part(key)) // fails where there is such a folder that is not empty
}
