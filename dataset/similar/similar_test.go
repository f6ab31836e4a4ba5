package similar

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// scene is a smooth random picture; equal seeds are one scene.
func scene(seed uint64, height, width, channels int) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	type wave struct{ fx, fy, phase, size float64 }
	waves := make([]wave, 12)
	for i := range waves {
		waves[i] = wave{6 * r.NormFloat64(), 6 * r.NormFloat64(), 6 * r.Float64(), 8 + 12*r.Float64()}
	}
	out := make([]byte, 0, height*width*channels)
	for y := range height {
		for x := range width {
			v := 128.0
			for _, w := range waves {
				v += w.size * math.Sin(w.fx*float64(x)/float64(width)+w.fy*float64(y)/float64(height)+w.phase)
			}
			for range channels {
				out = append(out, byte(min(255, max(0, v))))
			}
		}
	}
	return out
}

func changed(picture []byte, f func(v float64) float64) []byte {
	out := slices.Clone(picture)
	for i, v := range out {
		out[i] = byte(min(255, max(0, f(float64(v)))))
	}
	return out
}

// Copies that were scaled, brightened, given noise or a colour are found; other scenes are not.
func TestPairs(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	var sketches []Sketch
	const scenes = 400
	for i := range uint64(scenes) {
		sketches = append(sketches, NewSketch(scene(i, 64, 80, 1), 64, 80, 1))
	}
	first := scene(3, 64, 80, 1)
	copies := []Sketch{
		NewSketch(scene(3, 64, 80, 1), 64, 80, 1),
		NewSketch(scene(3, 128, 160, 3), 128, 160, 3),
		NewSketch(changed(first, func(v float64) float64 { return v + 12 }), 64, 80, 1),
		NewSketch(changed(first, func(v float64) float64 { return v + 4*noise.NormFloat64() }), 64, 80, 1),
	}
	sketches = append(sketches, copies...)
	joined := map[int]bool{}
	for _, p := range Pairs(sketches) {
		if p[0] != 3 && p[0] < scenes {
			t.Errorf("%v are different scenes", p)
		}
		joined[p[1]] = true
	}
	for i := range copies {
		if !joined[scenes+i] {
			t.Errorf("copy %d was not found", i)
		}
	}
}

// Pictures smaller than a sketch, and flat ones, which are alike whatever their brightness.
func TestOddPictures(t *testing.T) {
	tiny := NewSketch([]byte{7}, 1, 1, 1)
	flat := NewSketch(make([]byte, 300), 10, 10, 3)
	if !Alike(&tiny, &flat) {
		t.Error("flat pictures are alike")
	}
	if got := len(Pairs([]Sketch{tiny, flat, tiny})); got != 3 {
		t.Errorf("%d pairs", got)
	}
}
