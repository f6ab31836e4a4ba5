package infer

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

// corners is a dataset of grey 2×2 images, each bright at the pixel that its number gives, of the class that label gives.
func corners(t *testing.T, n int, label func(i int) int32) *dataset.Dataset {
	t.Helper()
	path := filepath.Join(t.TempDir(), "corners.arrow")
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"a", "b", "c", "d"}, Height: 2, Width: 2, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		image := make([]byte, 4)
		image[i%4] = 255
		if err := w.Add(fmt.Sprint(i), label(i), image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestAnswer(t *testing.T) {
	s := open(t, brightest(), Options{Batch: 3})
	d := corners(t, 10, func(i int) int32 { return int32(i % 4 / 2 * 2) }) // half of them have the wrong label
	for _, limit := range []int{0, 4, 8, 100} {
		told := 0
		a, err := Answer(t.Context(), s, d, limit, func(done int) { told = done })
		if err != nil {
			t.Fatal(err)
		}
		want := min(10, limit)
		if limit == 0 {
			want = 10
		}
		if len(a.Labels) != want || len(a.Logits) != 4*want || told != want || math.Abs(a.Accuracy()-0.5) > 1e-9 {
			t.Errorf("limit %d: %d labels, %d logits, %d told, accuracy %g", limit, len(a.Labels), len(a.Logits), told, a.Accuracy())
		}
		// The logit of a bright pixel is 1, the others' 0.
		right, wrong := math.Log(math.E+3)-1, math.Log(math.E+3)
		if loss := a.Loss(); math.Abs(loss-(right+wrong)/2) > 1e-6 {
			t.Errorf("limit %d: loss %g, want %g", limit, loss, (right+wrong)/2)
		}
	}
	few := brightest()
	few.Classes, few.Weights = []string{"a", "b"}, few.Weights[:2]
	var misfit *ModelError
	if _, err := Answer(t.Context(), open(t, few, Options{}), d, 0, nil); !errors.As(err, &misfit) {
		t.Errorf("two logits for four classes: %v", err)
	}
}
