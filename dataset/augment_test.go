package dataset

import (
	"bytes"
	"math"
	"testing"
)

// The side of the test images, odd so that a pixel lies in the centre.
const side = 33

var square = Info{Classes: []string{"a"}, Height: side, Width: side, Channels: 1}

func augmenter(t *testing.T, name string, args map[string]float64) *Augmenter {
	t.Helper()
	p, err := NewPolicy([]Operation{{name, args}})
	if err != nil {
		t.Fatal(err)
	}
	return NewAugmenter(p, square)
}

// ramp is brighter by 5 from each pixel to the next on the right, and 128 in the centre.
func ramp() []byte {
	b := make([]byte, side*side)
	for i := range b {
		b[i] = byte(128 + 5*(i%side-side/2))
	}
	return b
}

// plane fits v = at + x·(pixels right of the centre) + y·(pixels below it) at the centre, in units of a byte, and checks that
// all pixels within radius lie on it: interpolation between pixels is exact for a plane.
func plane(t *testing.T, image []float32, radius int) (at, x, y float64) {
	t.Helper()
	c := side / 2
	get := func(dx, dy int) float64 { return 255 * float64(image[(c+dy)*side+c+dx]) }
	at, x, y = get(0, 0), (get(3, 0)-get(-3, 0))/6, (get(0, 3)-get(0, -3))/6
	for dy := -radius; dy <= radius; dy++ {
		for dx := -radius; dx <= radius; dx++ {
			if want := at + x*float64(dx) + y*float64(dy); dx*dx+dy*dy <= radius*radius && math.Abs(get(dx, dy)-want) > 0.01 {
				t.Fatalf("the pixel %d, %d from the centre is %.3f, not %.3f", dx, dy, get(dx, dy), want)
			}
		}
	}
	return at, x, y
}

// A rotation turns the ramp's gradient and keeps its length; the angles fill ±limit. A factor or a shift shows in the same way.
func TestGeometryOfARamp(t *testing.T) {
	const samples = 200
	for _, c := range []struct {
		name string
		args map[string]float64
		got  func(at, x, y float64) float64 // what was drawn, from the plane
		low  float64
		high float64
		keep func(at, x, y float64) float64 // what must be 0
	}{
		{"rotate", map[string]float64{"limit": 30, "p": 1}, func(_, x, y float64) float64 { return math.Atan2(y, x) * 180 / math.Pi }, -30, 30,
			func(at, x, y float64) float64 { return math.Abs(math.Hypot(x, y)-5) + math.Abs(at-128) }},
		{"scale", map[string]float64{"limit": 0.25, "p": 1}, func(_, x, _ float64) float64 { return 5 / x }, 0.75, 1.25,
			func(at, _, y float64) float64 { return math.Abs(y) + math.Abs(at-128) }},
		{"shift", map[string]float64{"limit": 0.1, "p": 1}, func(at, _, _ float64) float64 { return (at - 128) / 5 / side }, -0.1, 0.1,
			func(_, x, y float64) float64 { return math.Abs(x-5) + math.Abs(y) }},
	} {
		g, image := augmenter(t, c.name, c.args), ramp()
		smallest, largest := math.Inf(1), math.Inf(-1)
		for i := range uint64(samples) {
			at, x, y := plane(t, g.Apply(image, 1, 0, i), 8)
			if off := c.keep(at, x, y); off > 0.01 {
				t.Fatalf("%s: sample %d is off by %v (%v, %v, %v)", c.name, i, off, at, x, y)
			}
			smallest, largest = min(smallest, c.got(at, x, y)), max(largest, c.got(at, x, y))
		}
		span, slack := c.high-c.low, 1e-3*(c.high-c.low)
		if smallest < c.low-slack || largest > c.high+slack || smallest > c.low+0.05*span || largest < c.high-0.05*span {
			t.Errorf("%s: %d draws lie within %v to %v, they should fill %v to %v", c.name, samples, smallest, largest, c.low, c.high)
		}
	}
}

func TestFlip(t *testing.T) {
	image := pixels(1, square)
	g, flips := augmenter(t, "flip", map[string]float64{"horizontal": 1, "vertical": 0, "p": 0.5}), 0
	mirrored := bytes.Clone(image)
	for y := range side {
		for x := range side {
			mirrored[y*side+x] = image[y*side+side-1-x]
		}
	}
	for i := range uint64(400) {
		got := toTest(g.Apply(image, 1, 0, i))
		switch {
		case bytes.Equal(got, mirrored):
			flips++
		case !bytes.Equal(got, image):
			t.Fatalf("sample %d is neither the image nor its mirror image", i)
		}
	}
	if flips < 160 || flips > 240 { // four standard deviations
		t.Errorf("%d of 400 are flipped, with probability 0.5", flips)
	}
}

// A crop is a window of the padded image at a whole pixel, each as likely as another.
func TestCrop(t *testing.T) {
	const pad = 2
	image := pixels(1, square)
	g, seen := augmenter(t, "crop", map[string]float64{"padding": pad}), map[[2]int]bool{}
	for i := range uint64(400) {
		got, found := toTest(g.Apply(image, 1, 0, i)), 0
		for dy := -pad; dy <= pad; dy++ {
			for dx := -pad; dx <= pad; dx++ {
				if bytes.Equal(got, window(image, dx, dy)) {
					seen[[2]int{dx, dy}] = true
					found++
				}
			}
		}
		if found != 1 {
			t.Fatalf("sample %d is %d windows of the padded image", i, found)
		}
	}
	if len(seen) != (2*pad+1)*(2*pad+1) {
		t.Errorf("%d of 25 windows occur in 400 samples", len(seen))
	}
}

// window is the image moved by whole pixels, black where nothing is.
func window(image []byte, dx, dy int) []byte {
	out := make([]byte, len(image))
	for y := range side {
		for x := range side {
			if sx, sy := x+dx, y+dy; sx >= 0 && sy >= 0 && sx < side && sy < side {
				out[y*side+x] = image[sy*side+sx]
			}
		}
	}
	return out
}

func toTest(image []float32) []byte {
	out := make([]byte, len(image))
	for i, v := range image {
		out[i] = byte(math.Round(float64(v) * 255))
	}
	return out
}

func TestBrightnessContrast(t *testing.T) {
	g := augmenter(t, "brightness_contrast", map[string]float64{"brightness": 0.1, "contrast": 0.2, "p": 1})
	for i := range uint64(200) {
		at, x, y := plane(t, g.Apply(ramp(), 1, 0, i), 8)
		if factor := x / 5; factor < 0.799 || factor > 1.201 || math.Abs(y) > 1e-3 {
			t.Fatalf("sample %d: the contrast changes by %v", i, factor)
		}
		if add := (at - 127.5 - 0.5*x/5) / 255; math.Abs(add) > 0.1001 {
			t.Fatalf("sample %d: the brightness changes by %v", i, add)
		}
	}
}

func TestGaussianNoise(t *testing.T) {
	const sigma = 0.05
	grey := bytes.Repeat([]byte{128}, side*side)
	g := augmenter(t, "gaussian_noise", map[string]float64{"sigma": sigma, "p": 1})
	var n, sum, squares, within float64
	for i := range uint64(50) {
		for _, v := range g.Apply(grey, 1, 0, i) {
			d := (float64(v) - 128.0/255) / sigma
			n, sum, squares = n+1, sum+d, squares+d*d
			if math.Abs(d) < 1 {
				within++
			}
		}
	}
	mean, deviation := sum/n, math.Sqrt(squares/n)
	// Of a normal distribution 68.27 % lie within one deviation. The bounds are above five standard errors of 54,450 draws.
	if math.Abs(mean) > 0.025 || math.Abs(deviation-1) > 0.02 || math.Abs(within/n-0.6827) > 0.011 {
		t.Errorf("mean %.4f, deviation %.4f, within one deviation %.4f", mean, deviation, within/n)
	}
}
