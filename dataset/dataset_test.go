package dataset

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// write makes a dataset of n images, in which every byte of image i is a function of i.
func write(t testing.TB, n int, info Info) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.arrow")
	w, err := Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.Add(fmt.Sprintf("image-%d", i), int32(i%len(info.Classes)), pixels(i, info)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func pixels(i int, info Info) []byte {
	s := NewStream(1, "test", uint64(i))
	b := make([]byte, info.ImageSize())
	for k := range b {
		b[k] = byte(s.Uint64())
	}
	return b
}

func open(t testing.TB, path string) *Dataset {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

var small = Info{Classes: []string{"a", "b", "c"}, Height: 6, Width: 5, Channels: 3}

func TestRoundTrip(t *testing.T) {
	policy, err := NewPolicy([]Operation{{Name: "rotate", Args: map[string]any{"limit": 30.0}}, {Name: "random_crop", Args: map[string]any{"padding": 2.0}}}, 0.25)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		n    int
		info Info
	}{
		{1, small}, {10, small},
		{70, Info{Classes: []string{"x"}, Height: 300, Width: 300, Channels: 1, Policy: policy}}, // several record batches
	} {
		d := open(t, write(t, c.n, c.info))
		if d.Len() != c.n || fmt.Sprint(d.Info().Classes) != fmt.Sprint(c.info.Classes) {
			t.Fatalf("read %d images of %v", d.Len(), d.Info())
		}
		for i := range c.n {
			if d.ID(i) != fmt.Sprintf("image-%d", i) || d.Label(i) != int32(i%len(c.info.Classes)) || !bytes.Equal(d.Image(i), pixels(i, c.info)) {
				t.Fatalf("record %d differs", i)
			}
		}
		if p := c.info.Policy; p != nil && !bytes.Equal(p.JSON(), d.Info().Policy.JSON()) {
			t.Errorf("policy is %s", d.Info().Policy.JSON())
		}
	}
}

func TestEqualImagesGiveEqualFiles(t *testing.T) {
	a, _ := os.ReadFile(write(t, 10, small))
	b, _ := os.ReadFile(write(t, 10, small))
	if !bytes.Equal(a, b) {
		t.Error("the files differ")
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	whole, err := os.ReadFile(write(t, 10, small))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "damaged.arrow")
	for _, n := range []int{0, 1, 8, 100, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("of %d bytes: error is %v", n, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was opened")
	}
}

func TestWriterRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for _, info := range []Info{
		{Classes: []string{"a"}, Height: 0, Width: 1, Channels: 1},
		{Classes: []string{"a"}, Height: 1, Width: 1, Channels: 2},
		{Classes: nil, Height: 1, Width: 1, Channels: 1},
		{Classes: []string{"a", "a"}, Height: 1, Width: 1, Channels: 1},
	} {
		if _, err := Create(path, info); err == nil {
			t.Errorf("%+v was accepted", info)
		}
	}
	w, err := Create(path, small)
	if err != nil {
		t.Fatal(err)
	}
	if w.Add("x", 3, make([]byte, small.ImageSize())) == nil || w.Add("x", -1, make([]byte, small.ImageSize())) == nil || w.Add("x", 0, make([]byte, 3)) == nil {
		t.Error("a wrong label or image was accepted")
	}
	if w.Close() == nil {
		t.Error("an empty dataset was accepted")
	}
}

func FuzzOpen(f *testing.F) {
	info := Info{Classes: []string{"a"}, Height: 1, Width: 2, Channels: 1}
	b, err := os.ReadFile(write(f, 3, info))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	encoded := annotated
	encoded.Encoded = true
	for _, path := range []string{writeSamples(f, annotated, annotatedSamples(4, annotated)), writeSamples(f, encoded, annotatedSamples(4, encoded)), "testdata/format1.arrow"} {
		if b, err = os.ReadFile(path); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(readAll)
}

// readAll reads everything of a file that parse takes.
func readAll(t *testing.T, b []byte) {
	d, err := parse(b, func() {})
	if err != nil {
		return
	}
	for i := range d.Len() {
		s := d.Sample(i)
		if err := s.check(d.Info()); err != nil && s.ID != "" {
			t.Errorf("record %d is not whole: %v", i, err)
		}
		for _, p := range s.Meta {
			_, _ = len(p.Name), len(p.Value)
		}
		_ = len(s.Split)
	}
	d.Counts()
}

// No damaged byte costs more than an error, in memory least of all: some of these are lengths of lists.
func TestDamagedBytes(t *testing.T) {
	whole, err := os.ReadFile(writeSamples(t, annotated, annotatedSamples(3, annotated)))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	for i := range whole {
		for _, flip := range []byte{0x80, 0x01, 0x7f} {
			b := bytes.Clone(whole)
			b[i] ^= flip
			runtime.ReadMemStats(&before)
			readAll(t, b)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Fatalf("byte %d with %#x costs %d bytes of memory", i, flip, n)
			}
		}
	}
}

func epoch(t *testing.T, l *Loader, epoch, first int) (images []float32, indexes []int, sizes []int) {
	t.Helper()
	for b, err := range l.Epoch(context.Background(), epoch, first) {
		if err != nil {
			t.Fatal(err)
		}
		images, indexes, sizes = append(images, b.Images...), append(indexes, b.Indexes...), append(sizes, b.N)
	}
	return
}

func loader(t *testing.T, d *Dataset, o LoaderOptions) *Loader {
	t.Helper()
	l, err := NewLoader(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLoaderIsTheSameForAnyWorkers(t *testing.T) {
	info := small
	info.Policy = everyOperation(t, info)
	d := open(t, write(t, 23, info))
	o := LoaderOptions{Batch: 4, Seed: 3, Shuffle: true, Augment: true, Workers: 1}
	l := loader(t, d, o)
	images, indexes, sizes := epoch(t, l, 2, 0)
	if fmt.Sprint(sizes) != "[4 4 4 4 4 3]" {
		t.Errorf("batches of %v", sizes)
	}
	for _, workers := range []int{2, 7} {
		o.Workers = workers
		again, idx, _ := epoch(t, loader(t, d, o), 2, 0)
		if !slices.Equal(images, again) || !slices.Equal(indexes, idx) {
			t.Errorf("%d workers give other batches", workers)
		}
	}
	from2, _, _ := epoch(t, loader(t, d, o), 2, 2)
	if !slices.Equal(images[8*l.Info().ImageSize():], from2) {
		t.Error("starting at batch 2 gives other batches")
	}
	other, otherIdx, _ := epoch(t, loader(t, d, o), 3, 0)
	if slices.Equal(images, other) || slices.Equal(indexes, otherIdx) {
		t.Error("another epoch gives the same batches")
	}
	sorted := slices.Clone(indexes)
	slices.Sort(sorted)
	for i, v := range sorted {
		if i != v {
			t.Fatalf("not every image occurs once: %v", sorted)
		}
	}
}

func TestLoaderLayouts(t *testing.T) {
	d := open(t, write(t, 5, small))
	nchw, _, _ := epoch(t, loader(t, d, LoaderOptions{Batch: 5}), 0, 0)
	chwn, _, _ := epoch(t, loader(t, d, LoaderOptions{Batch: 5, Layout: CHWN}), 0, 0)
	for n := range 5 {
		for c := range 3 {
			for p := range 30 {
				want := float32(d.Image(n)[p*3+c]) * (1.0 / 255)
				if nchw[(n*3+c)*30+p] != want || chwn[(c*30+p)*5+n] != want {
					t.Fatalf("image %d channel %d pixel %d is misplaced", n, c, p)
				}
			}
		}
	}
	if l := loader(t, d, LoaderOptions{Batch: 3, DropLast: true}); l.Batches() != 1 {
		t.Errorf("dropping the last batch leaves %d", l.Batches())
	}
}

func TestLoaderStopsWhenCancelled(t *testing.T) {
	d := open(t, write(t, 50, small))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got error
	n := 0
	for _, err := range loader(t, d, LoaderOptions{Batch: 1, Workers: 3}).Epoch(ctx, 0, 0) {
		if got = err; err == nil {
			n++
			cancel()
		}
	}
	if got != context.Canceled || n > 2 {
		t.Errorf("after the cancellation %d batches came, then %v", n, got)
	}
	for range loader(t, d, LoaderOptions{Batch: 1, Workers: 3}).Epoch(context.Background(), 0, 0) {
		break // leaving early must not leave goroutines that hang
	}
	if _, err := NewLoader(d, LoaderOptions{Batch: 51, DropLast: true}); err == nil {
		t.Error("a batch larger than the dataset was accepted")
	}
}

func BenchmarkLoader(b *testing.B) {
	info := Info{Classes: []string{"a"}, Height: 28, Width: 28, Channels: 1}
	info.Policy, _ = NewPolicy([]Operation{{Name: "horizontal_flip"}, {Name: "random_crop", Args: map[string]any{"padding": 2.0}}}, 0)
	d := open(b, write(b, 2560, info))
	l, err := NewLoader(d, LoaderOptions{Batch: 128, Shuffle: true, Augment: true, Workers: 1, Layout: CHWN})
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		for range l.Epoch(context.Background(), i, 0) {
		}
	}
	b.ReportMetric(float64(b.N*2560)/b.Elapsed().Seconds(), "images/s")
}

// Two views of each row stand in two halves of the batch; the first is what one view alone would not be, and no two draws are alike.
func TestLoaderViews(t *testing.T) {
	d := open(t, write(t, 12, small))
	policy, err := NewPolicy([]Operation{{Name: "random_crop", Args: map[string]any{"height": 4.0, "width": 4.0}}, {Name: "gaussian_noise", Args: map[string]any{"p": 1.0}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	o := LoaderOptions{Batch: 4, Seed: 3, Shuffle: true, DropLast: true, Policy: policy, Views: 2}
	images, indexes, sizes := epoch(t, loader(t, d, o), 1, 0)
	if fmt.Sprint(sizes) != "[8 8 8]" {
		t.Fatalf("batches of %v", sizes)
	}
	size := loader(t, d, o).Info().ImageSize()
	seen := map[string]bool{}
	for b := range 3 {
		for i := range 4 {
			at := 8*b + i
			if indexes[at] != indexes[at+4] {
				t.Errorf("batch %d: views %d and %d are of rows %d and %d", b, i, i+4, indexes[at], indexes[at+4])
			}
			for _, k := range []int{at, at + 4} {
				seen[fmt.Sprint(images[k*size:(k+1)*size])] = true
			}
		}
	}
	next, _, _ := epoch(t, loader(t, d, o), 2, 0)
	for k := range len(next) / size {
		seen[fmt.Sprint(next[k*size:(k+1)*size])] = true
	}
	if len(seen) != 48 {
		t.Errorf("%d different images among 48 views of two epochs", len(seen))
	}
	o.Workers = 5
	if again, _, _ := epoch(t, loader(t, d, o), 1, 0); !slices.Equal(images, again) {
		t.Error("more workers give other views")
	}
}
