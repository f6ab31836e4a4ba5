// Package surfaces makes images of brushed metal with a scratch, a pit, a patch, an inclusion, or no defect: data for a
// machine that has none.
//
// Rules of the room: an image is a function of (seed, index, options) alone. No function is used whose bits differ between
// processors (math.Exp has an assembly form that fuses where the processor can). A defect is local, its place,
// direction and sign are random, and the light varies by as much as a defect does: so no sum over weighted pixels tells the
// classes apart, while a small convolutional network sees them.
package surfaces

import (
	"fmt"
	"math"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Classes returns the class names in order of their labels.
func Classes() []string { return []string{"none", "scratch", "pit", "patch", "inclusion"} }

// The smallest and largest side of an image in pixels.
const (
	MinSize = 16
	MaxSize = 1024
)

// Generator makes grey images of Size × Size pixels. It is immutable and safe for concurrent use.
type Generator struct {
	seed     uint64
	size     int
	contrast float64 // of a defect
	grain    float64 // deviation of the noise of single pixels
	brush    float64 // amplitude of the brushed texture
}

// New returns a generator of images of size pixels a side. Difficulty, 0 to 1, lowers the contrast of the defects and
// raises the noise.
func New(seed uint64, size int, difficulty float64) (*Generator, error) {
	if size < MinSize || size > MaxSize {
		return nil, fmt.Errorf("a size of %d pixels is not within %d to %d", size, MinSize, MaxSize)
	}
	if math.IsNaN(difficulty) || difficulty < 0 || difficulty > 1 {
		return nil, fmt.Errorf("the difficulty %v is not within 0 to 1", difficulty)
	}
	return &Generator{
		seed: seed, size: size,
		contrast: 0.42 - 0.24*difficulty,
		grain:    0.01 + 0.03*difficulty,
		brush:    0.05 + 0.06*difficulty,
	}, nil
}

// Image draws the image of that index and label into dst, (size, size) bytes.
func (g *Generator) Image(dst []byte, index int, label int32) {
	s := dataset.NewStream(g.seed, "surfaces", uint64(index))
	c := &canvas{side: g.size, values: make([]float64, g.size*g.size)}
	c.metal(&s, g.brush)
	sign := 1.0
	if s.Chance(0.5) {
		sign = -1
	}
	depth := sign * g.contrast * s.In(0.8, 1.2)
	switch label {
	case 1:
		c.scratch(&s, depth)
	case 2:
		c.pit(&s, depth)
	case 3:
		c.patch(&s, depth)
	case 4:
		c.inclusion(&s, depth)
	}
	for i, v := range c.values {
		v += g.grain * s.Normal()
		dst[i] = byte(math.Min(math.Max(v, 0), 1)*255 + 0.5)
	}
}

// canvas is an image in the making; lengths are in shares of its side.
type canvas struct {
	side   int
	values []float64 // (side, side), 0 black to 1 white, beyond both while in the making
}

// each calls f with the coordinates of every pixel, from -0.5 to 0.5, and adds what it returns.
func (c *canvas) each(f func(x, y float64) float64) {
	for i := range c.side {
		y := (float64(i)+0.5)/float64(c.side) - 0.5
		for j := range c.side {
			x := (float64(j)+0.5)/float64(c.side) - 0.5
			c.values[i*c.side+j] += f(x, y)
		}
	}
}

// lattice is noise: random values on a grid that repeats, interpolated between.
type lattice [32 * 32]float64

func newLattice(s *dataset.Stream) *lattice {
	var l lattice
	for i := range l {
		l[i] = s.In(-1, 1)
	}
	return &l
}

func (l *lattice) at(x, y float64) float64 {
	fx, fy := math.Floor(x), math.Floor(y)
	wx, wy := x-fx, y-fy
	get := func(i, j int) float64 { return l[(j&31)*32+i&31] }
	i, j := int(fx), int(fy)
	top := get(i, j) + wx*(get(i+1, j)-get(i, j))
	low := get(i, j+1) + wx*(get(i+1, j+1)-get(i, j+1))
	return top + wy*(low-top)
}

// metal draws the surface: a level, a gradient of light, broad stains, and fine lines along the direction of brushing.
func (c *canvas) metal(s *dataset.Stream, brush float64) {
	level := s.In(0.4, 0.6)
	sin, cos := math.Sincos(s.In(0, 2*math.Pi))
	light := s.In(0, 0.3)
	bs, bc := math.Sincos(s.In(-0.3, 0.3))
	fine, broad := newLattice(s), newLattice(s)
	lines := s.In(20, 28)
	c.each(func(x, y float64) float64 {
		along, across := x*bc+y*bs, y*bc-x*bs
		return level + light*(x*cos+y*sin) + brush*fine.at(2.5*along+16, lines*across+16) + 0.6*brush*broad.at(4*x+8, 4*y+8)
	})
}

// bump falls from 1 at 0 to 0 at 1 and beyond, smoothly.
func bump(r2 float64) float64 {
	if r2 >= 1 {
		return 0
	}
	return (1 - r2) * (1 - r2)
}

// place returns a random point at least margin away from the border.
func place(s *dataset.Stream, margin float64) (x, y float64) {
	return s.In(-0.5+margin, 0.5-margin), s.In(-0.5+margin, 0.5-margin)
}

// scratch draws a long thin line, slightly bent.
func (c *canvas) scratch(s *dataset.Stream, depth float64) {
	x0, y0 := place(s, 0.25)
	sin, cos := math.Sincos(s.In(0, math.Pi))
	half, bend := s.In(0.25, 0.4), s.In(-0.4, 0.4)
	width := math.Max(s.In(0.016, 0.03), 1.0/float64(c.side))
	c.each(func(x, y float64) float64 {
		dx, dy := x-x0, y-y0
		along, across := dx*cos+dy*sin, dy*cos-dx*sin
		if along < -half || along > half {
			return 0
		}
		d := (across - bend*along*along) / width
		return 1.3 * depth * bump(d*d/2.2)
	})
}

// pit draws one round hole: a dark or bright floor, with a rim lit from one side.
func (c *canvas) pit(s *dataset.Stream, depth float64) {
	x0, y0 := place(s, 0.2)
	radius := s.In(0.07, 0.11)
	sin, cos := math.Sincos(s.In(0, 2*math.Pi))
	c.each(func(x, y float64) float64 {
		dx, dy := (x-x0)/radius, (y-y0)/radius
		r2 := dx*dx + dy*dy
		ring := r2 - 1
		return 1.4*depth*bump(r2) - 0.6*depth*(dx*cos+dy*sin)*bump(ring*ring)
	})
}

// patch draws a broad area with a ragged border, evenly darker or brighter.
func (c *canvas) patch(s *dataset.Stream, depth float64) {
	x0, y0 := place(s, 0.28)
	a, b := s.In(0.17, 0.27), s.In(0.17, 0.27)
	edge := newLattice(s)
	c.each(func(x, y float64) float64 {
		dx, dy := (x-x0)/a, (y-y0)/b
		d := 1 + 0.35*edge.at(9*x+8, 9*y+8) - math.Sqrt(dx*dx+dy*dy)
		return 0.75 * depth * math.Min(math.Max(6*d, 0), 1)
	})
}

// inclusion draws a handful of small grains strewn about one point.
func (c *canvas) inclusion(s *dataset.Stream, depth float64) {
	x0, y0 := place(s, 0.28)
	grains := 6 + s.Intn(4)
	for range grains {
		gx, gy := x0+s.In(-0.2, 0.2), y0+s.In(-0.2, 0.2)
		radius := math.Max(s.In(0.025, 0.042), 1.3/float64(c.side))
		strength := 1.5 * depth * s.In(0.8, 1.2)
		c.each(func(x, y float64) float64 {
			dx, dy := (x-gx)/radius, (y-gy)/radius
			return strength * bump((dx*dx+dy*dy)/2)
		})
	}
}
