package evaluate

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Ahead or in turns, with any number of workers, a feed gives the same values.
func TestFeedIsTheSameInTurnsAndAhead(t *testing.T) {
	const rows, side = 21, 3
	path := filepath.Join(t.TempDir(), "data")
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"a"}, Height: side, Width: side, Channels: 3})
	if err != nil {
		t.Fatal(err)
	}
	image := make([]byte, side*side*3)
	for i := range rows {
		for p := range image {
			image[p] = byte(i*31 + p)
		}
		if err := w.Add(strconv.Itoa(i), 0, image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := dataset.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	invert := func(_ int, pixels []byte) []byte {
		out := slices.Clone(pixels)
		for i := range out {
			out[i] = 255 - out[i]
		}
		return out
	}
	for _, spoil := range []func(int, []byte) []byte{nil, invert} {
		var want []float32
		for _, f := range []feed{{workers: 1}, {workers: 3}, {workers: 30}, {workers: 1, ahead: true}, {workers: 3, ahead: true}} {
			f.data, f.batch, f.spoil = data, 8, spoil
			var got []float32
			for b, err := range f.batches(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if len(b.images) != b.n*side*side*3 {
					t.Fatalf("%d values for %d images", len(b.images), b.n)
				}
				got = append(got, b.images...)
			}
			if want == nil {
				want = got
				if pixels := image[:]; spoil == nil && got[len(got)-side*side*3] != float32(pixels[0])*(1.0/255) {
					t.Errorf("the first value of the last image is %g for a byte of %d", got[len(got)-side*side*3], pixels[0])
				}
			}
			if len(got) != rows*side*side*3 || !slices.Equal(got, want) {
				t.Errorf("%d workers, ahead %v: %d values, which differ", f.workers, f.ahead, len(got))
			}
		}
	}
}

func TestFeedEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"a"}, Height: 1, Width: 1, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := w.Add(strconv.Itoa(i), 0, []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := dataset.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	for _, ahead := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := feed{data: data, batch: 2, workers: 2, ahead: ahead}
		batches := 0
		var last error
		for _, err := range f.batches(ctx) {
			if last = err; err == nil {
				batches++
			}
			cancel()
		}
		if batches != 1 || !errors.Is(last, context.Canceled) {
			t.Errorf("ahead %v: %d batches, then %v", ahead, batches, last)
		}
	}
}
