package cache_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

// The test binary is its own child: roleVariable says what a child does, folderVariable in which cache.
const (
	roleVariable   = "DARKROOM_CACHE_TEST_ROLE"
	folderVariable = "DARKROOM_CACHE_TEST_FOLDER"
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	name, argument, _ := strings.Cut(role, " ")
	if err := map[string]func(dir, argument string) error{"write": writeForEver, "share": shareKeys, "overfill": overfill}[name](os.Getenv(folderVariable), argument); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t *testing.T, dir, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, folderVariable+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func keyOf(text string) artifact.Digest { return artifact.DigestBytes([]byte(text)) }

func open(t testing.TB, dir string) *cache.Cache {
	t.Helper()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// outputs puts what key number i stands for: bytes, a file, a tree. Numbers share some of their content.
func outputs(c *cache.Cache, dir string, i int) (map[string]artifact.Ref, error) {
	work, err := os.MkdirTemp(dir, "work-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	text := strings.Repeat(fmt.Sprintf("line %d\n", i), 3000)
	if err := os.MkdirAll(filepath.Join(work, "tree", "sub"), 0o777); err != nil {
		return nil, err
	}
	for name, body := range map[string]string{"file": text, "tree/a": text[:100], "tree/sub/b": "shared " + strconv.Itoa(i%3)} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(body), 0o666); err != nil {
			return nil, err
		}
	}
	out := map[string]artifact.Ref{}
	if out["bytes"], err = c.PutBytes([]byte(text[:50]), artifact.Metrics); err != nil {
		return nil, err
	}
	if out["file"], err = c.PutFile(filepath.Join(work, "file"), artifact.Model); err != nil {
		return nil, err
	}
	out["tree"], err = c.PutTree(filepath.Join(work, "tree"), artifact.Folder)
	return out, err
}

func put(c *cache.Cache, dir string, i int) (artifact.Digest, error) {
	key := keyOf(fmt.Sprint("key ", i))
	refs, err := outputs(c, dir, i)
	if err != nil {
		return key, err
	}
	return key, c.PutRecord(&cache.Record{Key: key, Pipeline: "p", Address: fmt.Sprint("s.n", i), Outputs: refs, Started: time.Now()})
}

// writeForEver is a child that puts records from number start on and names each once it is committed.
func writeForEver(dir, start string) error {
	c, err := cache.Open(dir)
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(start)
	if err != nil {
		return err
	}
	for i := first; ; i++ {
		key, err := put(c, filepath.Dir(dir), i)
		if err != nil {
			return err
		}
		fmt.Println(key)
	}
}

// A process is killed while it writes, 24 times, after a number of commits and a random number of microseconds. Every
// record that it said was committed is there, and everything that is there is whole.
func TestAKilledWriterLeavesNoLie(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	random := rand.New(rand.NewPCG(1, 2))
	var committed []artifact.Digest
	for round := range 24 {
		cmd := child(t, dir, fmt.Sprintf("write %d", len(committed)))
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(pipe)
		for range random.IntN(4) {
			if !lines.Scan() {
				t.Fatalf("round %d: the writer ended by itself", round)
			}
			committed = append(committed, artifact.Digest(lines.Text()))
		}
		spin(time.Duration(random.IntN(12000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			if d := artifact.Digest(lines.Text()); d.Valid() {
				committed = append(committed, d)
			}
		}
		_ = cmd.Wait() // killed
		checkAll(t, dir, committed)
	}
	if len(committed) == 0 {
		t.Fatal("nothing was ever committed: the test shows nothing")
	}
}

// spin lets a random time pass before a kill. Nothing depends on how long it is.
func spin(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
	}
}

func checkAll(t *testing.T, dir string, committed []artifact.Digest) {
	t.Helper()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, key := range committed {
		if r, err := c.Record(key); r == nil || err != nil {
			t.Fatalf("committed record %s: %v, %v", key.Short(), r, err)
		}
	}
	keys, err := c.Keys()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		r, err := c.Record(key)
		if err != nil {
			t.Fatalf("record %s: %v", key.Short(), err)
		}
		for name, ref := range r.Outputs {
			if err := c.Verify(ref); err != nil {
				t.Fatalf("record %s, output %s: %v", key.Short(), name, err)
			}
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "quarantine")); err != nil || len(left) > 0 {
		t.Fatalf("a kill damaged something: %v, %v", left, err)
	}
}

const sharedKeys = 25

// shareKeys is a child that wants every key, under its lease, and says which it had to make itself.
func shareKeys(dir, _ string) error {
	c, err := cache.Open(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range sharedKeys {
		key := keyOf(fmt.Sprint("key ", i))
		lease, err := c.Lease(context.Background(), key, nil)
		if err != nil {
			return err
		}
		r, err := c.Record(key)
		if err == nil && r == nil {
			_, err = put(c, filepath.Dir(dir), i)
			fmt.Println(i)
		}
		lease.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func TestProcessesTogetherMakeEachKeyOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards made
		made = map[string]int{}
	)
	for range 4 {
		cmd := child(t, dir, "share")
		wg.Go(func() {
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("a process failed: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, line := range strings.Fields(string(out)) {
				made[line]++
			}
		})
	}
	wg.Wait()
	for i := range sharedKeys {
		if made[strconv.Itoa(i)] != 1 {
			t.Errorf("key %d was made %d times", i, made[strconv.Itoa(i)])
		}
	}
}

// The holder of a lease dies by SIGKILL; the next one gets it.
func TestALeaseDiesWithItsProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, dir)
	cmd := child(t, dir, "write 0")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(pipe, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	lease, err := c.Lease(t.Context(), keyOf("key 0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits := 0
	_, err = c.Lease(ctx, keyOf("key 0"), func() { waits++; cancel() })
	if !errors.Is(err, context.Canceled) || waits != 1 {
		t.Fatalf("waiting for a held lease: %v after %d calls", err, waits)
	}
	lease.Release()
	if lease, err = c.Lease(t.Context(), keyOf("key 0"), func() { t.Error("waited for a free lease") }); err != nil {
		t.Fatal(err)
	}
	lease.Release()
}

// flip changes one byte of a stored blob, as a disk or a program run by root might. With back, the modification time
// is set back afterwards.
func flip(t *testing.T, dir string, d artifact.Digest, back bool) {
	t.Helper()
	path := filepath.Join(dir, "blobs", string(d[:2]), string(d))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if back {
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

// Every way of using a damaged blob notices, in the process that stored it and in a later one, and afterwards the
// stage's second run repairs it.
func TestAFlippedByteIsNoticed(t *testing.T) {
	uses := map[string]func(c *cache.Cache, key artifact.Digest, r *cache.Record, output, dst string) error{
		"Record": func(c *cache.Cache, key artifact.Digest, _ *cache.Record, _, _ string) error {
			r, err := c.Record(key)
			if r != nil {
				return nil
			}
			return err
		},
		"Verify": func(c *cache.Cache, _ artifact.Digest, r *cache.Record, output, _ string) error {
			return c.Verify(r.Outputs[output])
		},
		"Link": func(c *cache.Cache, _ artifact.Digest, r *cache.Record, output, dst string) error {
			return c.Materialize(r.Outputs[output], dst, cache.Link)
		},
		"Copy": func(c *cache.Cache, _ artifact.Digest, r *cache.Record, output, dst string) error {
			return c.Materialize(r.Outputs[output], dst, cache.Copy)
		},
	}
	for use, try := range uses {
		for _, output := range []string{"file", "tree"} {
			for _, later := range []bool{false, true} {
				for _, back := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/later=%v/back=%v", use, output, later, back), func(t *testing.T) {
						base := t.TempDir()
						dir, dst := filepath.Join(base, "cache"), filepath.Join(base, "dst")
						c := open(t, dir)
						key, err := put(c, base, 7)
						if err != nil {
							t.Fatal(err)
						}
						r, err := c.Record(key)
						if err != nil || r == nil {
							t.Fatal(r, err)
						}
						d := r.Outputs[output].Digest
						if output == "tree" {
							tree, err := c.Tree(r.Outputs[output])
							if err != nil {
								t.Fatal(err)
							}
							d = tree.Entries()[1].Digest
						}
						if later {
							_ = c.Close()
							c = open(t, dir)
						}
						flip(t, dir, d, back)
						if err := try(c, key, r, output, dst); !errors.Is(err, cache.ErrCorrupt) {
							t.Fatalf("got %v", err)
						}
						if _, err := os.Lstat(dst); err == nil {
							t.Error("something was left at the place")
						}
						if left, err := os.ReadDir(filepath.Join(dir, "quarantine")); err != nil || len(left) != 1 {
							t.Errorf("quarantine holds %v, %v", left, err)
						}
						if r, err := c.Record(key); r != nil || !errors.Is(err, cache.ErrMissing) {
							t.Errorf("the record is believed: %v, %v", r, err)
						}
						if _, err := put(c, base, 7); err != nil {
							t.Fatal(err)
						}
						if err := try(c, key, r, output, dst); err != nil {
							t.Errorf("after the repair: %v", err)
						}
					})
				}
			}
		}
	}
}

// Files with two names cannot be adopted by renaming; equal ones stored at the same time do not disturb each other.
func TestEqualFilesStoredTogether(t *testing.T) {
	base := t.TempDir()
	c := open(t, filepath.Join(base, "cache"))
	body := []byte(strings.Repeat("equal", 200000))
	want := artifact.DigestBytes(body)
	var wg sync.WaitGroup
	for i := range 16 {
		path := filepath.Join(base, strconv.Itoa(i))
		if err := os.WriteFile(path, body, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(path, path+".second"); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if ref, err := c.PutFile(path, artifact.File); err != nil || ref.Digest != want {
				t.Errorf("file %d: %v, %v", i, ref, err)
			}
		})
	}
	wg.Wait()
	// The second name still belongs to the user: writing there must not reach the store.
	if err := os.WriteFile(filepath.Join(base, "0.second"), []byte("other"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(artifact.Ref{Type: artifact.File, Digest: want, Size: int64(len(body))}); err != nil {
		t.Error(err)
	}
}

// A record file that is not what was written is never believed.
func FuzzRecordFile(f *testing.F) {
	base := f.TempDir()
	dir := filepath.Join(base, "cache")
	c := open(f, dir)
	key, err := put(c, base, 1)
	if err != nil {
		f.Fatal(err)
	}
	path := recordFile(f, dir, key)
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	want, err := c.Claim(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add(append(append([]byte(nil), good...), "{}"...))
	f.Add([]byte(strings.Replace(string(good), "s.n1", "s.n2", 1)))
	f.Add([]byte("null"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		r, err := c.Claim(key)
		if r != nil && (err != nil || !reflect.DeepEqual(r, want)) || r == nil && (err == nil || string(text) == string(good)) {
			t.Fatalf("record %v, error %v", r, err)
		}
	})
}

// recordFile finds where the record of key lies.
func recordFile(t testing.TB, dir string, key artifact.Digest) string {
	t.Helper()
	found := ""
	_ = filepath.WalkDir(filepath.Join(dir, "records"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(filepath.Base(path), string(key)) {
			found = path
		}
		return err
	})
	if found == "" {
		t.Fatalf("no file for record %s", key.Short())
	}
	return found
}

// tooLarge is what overfill tries to store.
var tooLarge = make([]byte, 256<<10)

// overfill is a child that may write files of 64 KiB at most, and tries more. A process of its own, because the limit holds
// for all that a process writes, the log of the test run included.
func overfill(dir, _ string) error {
	c, err := cache.Open(dir)
	if err != nil {
		return err
	}
	limited := syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		return err
	}
	if _, err := c.PutBytes(tooLarge, artifact.File); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("storing more than there is room for: %v", err)
	}
	return nil
}

// A store that cannot be written to fails clearly and keeps what it had. A limit on the size of files stands for the
// full disk, which a test cannot have.
func TestAFullDiskLeavesNothingHalf(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "cache")
	c := open(t, dir)
	key, err := put(c, base, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := child(t, dir, "overfill").Run(); err != nil {
		t.Fatal(err)
	}
	if c.Has(artifact.Ref{Type: artifact.File, Digest: artifact.DigestBytes(tooLarge), Size: int64(len(tooLarge))}) {
		t.Error("the store believes in half a blob")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("tmp holds %v", left)
	}
	if r, err := c.Record(key); r == nil || err != nil {
		t.Errorf("what was there before: %v, %v", r, err)
	}
}
