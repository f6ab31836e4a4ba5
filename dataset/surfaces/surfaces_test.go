package surfaces

import (
	"bytes"
	"math"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

const side = 48

func images(t *testing.T, seed uint64, first, n int, difficulty float64) [][]float32 {
	t.Helper()
	g, err := New(seed, side, difficulty)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]float32, n)
	b := make([]byte, side*side)
	for i := range out {
		g.Image(b, first+i, int32((first+i)%5))
		out[i] = make([]float32, len(b))
		for k, v := range b {
			out[i][k] = float32(v)/255 - 0.5
		}
	}
	return out
}

// A linear model (softmax regression on the pixels, stochastic gradient descent) stays below 80 % on images that it has not seen:
// a task that it could solve would show nothing about a network.
func TestLinearModelFails(t *testing.T) {
	train, test := images(t, 1, 0, 1500, 0.5), images(t, 1, 1500, 500, 0.5)
	weights := make([][]float32, 5)
	for c := range weights {
		weights[c] = make([]float32, side*side+1)
	}
	order := dataset.NewStream(1, "order")
	for epoch := range 12 {
		rate := 0.01 / float32(1+epoch/4)
		for _, i := range order.Permutation(len(train)) {
			p := scores(weights, train[i])
			for c, w := range weights {
				d := p[c]
				if c == i%5 {
					d--
				}
				for k, v := range train[i] {
					w[k] -= rate * d * v
				}
				w[len(w)-1] -= rate * d
			}
		}
	}
	if a := accuracy(weights, train, 0); a < 0.35 {
		t.Fatalf("the linear model learns nothing at all of its own training images: %.2f", a)
	}
	if a := accuracy(weights, test, 1500); a >= 0.8 {
		t.Errorf("a linear model reaches %.1f %%", 100*a)
	} else {
		t.Logf("a linear model reaches %.1f %%", 100*a)
	}
}

func scores(weights [][]float32, x []float32) []float32 {
	out := make([]float32, len(weights))
	var sum float32
	for c, w := range weights {
		s := w[len(w)-1]
		for k, v := range x {
			s += w[k] * v
		}
		out[c] = float32(math.Exp(float64(min(s, 50))))
		sum += out[c]
	}
	for c := range out {
		out[c] /= sum
	}
	return out
}

func accuracy(weights [][]float32, x [][]float32, first int) float64 {
	right := 0
	for i := range x {
		best := 0
		p := scores(weights, x[i])
		for c := range p {
			if p[c] > p[best] {
				best = c
			}
		}
		if best == (first+i)%5 {
			right++
		}
	}
	return float64(right) / float64(len(x))
}

func TestImageDependsOnItsIndexAlone(t *testing.T) {
	g, _ := New(7, 32, 0.5)
	a, b := make([]byte, 32*32), make([]byte, 32*32)
	g.Image(a, 12, 2)
	g.Image(b, 3, 1)
	g.Image(b, 12, 2)
	if !bytes.Equal(a, b) {
		t.Error("an image depends on what was made before it")
	}
	g.Image(b, 13, 2)
	if bytes.Equal(a, b) {
		t.Error("two indexes give the same image")
	}
	other, _ := New(8, 32, 0.5)
	other.Image(b, 12, 2)
	if bytes.Equal(a, b) {
		t.Error("two seeds give the same image")
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		size       int
		difficulty float64
	}{{15, 0.5}, {1025, 0.5}, {32, -0.1}, {32, 1.1}, {32, math.NaN()}} {
		if _, err := New(1, c.size, c.difficulty); err == nil {
			t.Errorf("accepted %+v", c)
		}
	}
}
