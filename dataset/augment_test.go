package dataset

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// The side of the test images, odd so that a pixel lies in the centre.
const side = 33

var square = Info{Classes: []string{"a"}, Height: side, Width: side, Channels: 1}

func augmenter(t testing.TB, info Info, operations ...Operation) *Augmenter {
	t.Helper()
	g, err := NewAugmenter(policy(t, operations...), info, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func apply(t testing.TB, g *Augmenter, image []byte, sample uint64) []byte {
	t.Helper()
	out, _, err := g.Apply(image, 1, 0, sample)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ramp is brighter by 5 from each pixel to the next on the right, and 128 in the centre.
func ramp() []byte {
	b := make([]byte, side*side)
	for i := range b {
		b[i] = byte(128 + 5*(i%side-side/2))
	}
	return b
}

// plane fits v = at + x·(pixels right of the centre) + y·(pixels below it) within a radius, by least squares, and checks that all pixels lie on it
// but for rounding and the steps of 1/128 of a pixel.
func plane(t *testing.T, image []byte, radius int) (at, x, y float64) {
	t.Helper()
	c, n, square := side/2, 0.0, 0.0
	within := func(f func(dx, dy int, v float64)) {
		for dy := -radius; dy <= radius; dy++ {
			for dx := -radius; dx <= radius; dx++ {
				if dx*dx+dy*dy <= radius*radius {
					f(dx, dy, float64(image[(c+dy)*side+c+dx]))
				}
			}
		}
	}
	within(func(dx, dy int, v float64) {
		n, square = n+1, square+float64(dx*dx)
		at, x, y = at+v, x+v*float64(dx), y+v*float64(dy)
	})
	at, x, y = at/n, x/square, y/square
	within(func(dx, dy int, v float64) {
		if want := at + x*float64(dx) + y*float64(dy); math.Abs(v-want) > 1 {
			t.Fatalf("the pixel %d, %d from the centre is %v, not %.3f (%v %v %v)", dx, dy, v, want, at, x, y)
		}
	})
	return at, x, y
}

// A rotation turns the ramp's gradient and keeps its length; the angles fill ±limit. A factor, a shift or a slant shows in the same way.
func TestGeometryOfARamp(t *testing.T) {
	const samples = 200
	for _, c := range []struct {
		op   Operation
		got  func(at, x, y float64) float64 // what was drawn, from the plane
		low  float64
		high float64
		keep func(at, x, y float64) float64 // what must be 0
	}{
		{op("rotate", "limit", 30, "p", 1), func(_, x, y float64) float64 { return math.Atan2(-y, x) * 180 / math.Pi }, -30, 30,
			func(at, x, y float64) float64 { return math.Abs(math.Hypot(x, y)-5) + math.Abs(at-128)/10 }},
		{op("scale", "limit", 0.25, "p", 1), func(_, x, _ float64) float64 { return 5 / x }, 0.75, 1.25,
			func(at, _, y float64) float64 { return math.Abs(y) + math.Abs(at-128)/10 }},
		{op("shift", "limit", 0.1, "p", 1), func(at, _, _ float64) float64 { return (128 - at) / 5 / side }, -0.1, 0.1,
			func(_, x, y float64) float64 { return math.Abs(x-5) + math.Abs(y) }},
		{op("random_brightness_contrast", "brightness_limit", 0.0, "contrast_limit", 0.2, "p", 1), func(_, x, _ float64) float64 { return x / 5 }, 0.8, 1.2,
			func(at, x, y float64) float64 { return math.Abs(y) + math.Abs(at-128*x/5)/100 }},
	} {
		g := augmenter(t, square, c.op)
		smallest, largest := math.Inf(1), math.Inf(-1)
		for i := range uint64(samples) {
			at, x, y := plane(t, apply(t, g, ramp(), i), 7)
			if off := c.keep(at, x, y); off > 0.06 {
				t.Fatalf("%s: sample %d is off by %v (%v, %v, %v)", c.op.Name, i, off, at, x, y)
			}
			smallest, largest = min(smallest, c.got(at, x, y)), max(largest, c.got(at, x, y))
		}
		span, slack := c.high-c.low, 0.01*(c.high-c.low)
		if smallest < c.low-slack || largest > c.high+slack || smallest > c.low+0.05*span || largest < c.high-0.05*span {
			t.Errorf("%s: %d draws lie within %v to %v, they should fill %v to %v", c.op.Name, samples, smallest, largest, c.low, c.high)
		}
	}
}

func TestFlips(t *testing.T) {
	image := pixels(1, square)
	for name, from := range map[string]func(x, y int) int{
		"horizontal_flip": func(x, y int) int { return y*side + side - 1 - x },
		"vertical_flip":   func(x, y int) int { return (side-1-y)*side + x },
	} {
		g, flips := augmenter(t, square, op(name)), 0
		mirrored := bytes.Clone(image)
		for y := range side {
			for x := range side {
				mirrored[y*side+x] = image[from(x, y)]
			}
		}
		for i := range uint64(400) {
			got := apply(t, g, image, i)
			switch {
			case bytes.Equal(got, mirrored):
				flips++
			case !bytes.Equal(got, image):
				t.Fatalf("%s: sample %d is neither the image nor its mirror image", name, i)
			}
		}
		if flips < 160 || flips > 240 { // four standard deviations
			t.Errorf("%s: %d of 400 are flipped, with probability 0.5", name, flips)
		}
	}
}

// A crop is a window of the padded image at a whole pixel, each as likely as another; a smaller one as well.
func TestRandomCrop(t *testing.T) {
	image := pixels(1, square)
	for _, c := range []struct{ pad, size, places int }{{2, side, 25}, {0, side - 3, 16}, {1, side - 1, 16}} {
		g := augmenter(t, square, op("random_crop", "padding", c.pad, "height", c.size, "width", c.size))
		seen := map[[2]int]bool{}
		for i := range uint64(400) {
			got, found := apply(t, g, image, i), 0
			for dy := -c.pad; dy <= side+c.pad-c.size; dy++ {
				for dx := -c.pad; dx <= side+c.pad-c.size; dx++ {
					if bytes.Equal(got, cutOut(image, dx, dy, c.size)) {
						seen[[2]int{dx, dy}] = true
						found++
					}
				}
			}
			if found != 1 {
				t.Fatalf("sample %d is %d windows of the padded image", i, found)
			}
		}
		if len(seen) != c.places {
			t.Errorf("%d of %d windows occur in 400 samples", len(seen), c.places)
		}
	}
}

// cutOut is a window of the image from (x, y) on, black where nothing is.
func cutOut(image []byte, dx, dy, size int) []byte {
	out := make([]byte, size*size)
	for y := range size {
		for x := range size {
			if sx, sy := x+dx, y+dy; sx >= 0 && sy >= 0 && sx < side && sy < side {
				out[y*size+x] = image[sy*side+sx]
			}
		}
	}
	return out
}

// Whole moves with every border are those of the definition.
func TestWholeMoves(t *testing.T) {
	image := pixels(2, square)
	for border := pixel.Constant; border <= pixel.Reflect101; border++ {
		for _, flip := range []bool{false, true} {
			g := augmenter(t, square).at(image)
			g.translate(-4, 7, border, [3]byte{9, 9, 9})
			if flip {
				g.flip(true)
			}
			g.flush()
			for y := range side {
				for x := range side {
					sx, sy, want := x, pixel.Outside(y-7, side, border), byte(9)
					if flip {
						sx = side - 1 - x
					}
					if sx = pixel.Outside(sx+4, side, border); sx >= 0 && sy >= 0 {
						want = image[sy*side+sx]
					}
					if g.pix[y*side+x] != want {
						t.Fatalf("border %d, flip %v: (%d, %d) is %d, not %d", border, flip, x, y, g.pix[y*side+x], want)
					}
				}
			}
		}
	}
}

// Neighbours are one resampling: turning there and back changes nothing, where two resamplings blur; a crop in between keeps them apart.
func TestNeighboursAreComposed(t *testing.T) {
	image := pixels(3, square)
	g := augmenter(t, square).at(image)
	g.rotate(20, pixel.Constant, [3]byte{})
	g.rotate(-20, pixel.Constant, [3]byte{})
	if g.flush(); !bytes.Equal(g.pix, image) {
		t.Error("turned there and back, the image differs")
	}
	g.at(image).crop(5, 5, 20, 20, pixel.Constant, [3]byte{})
	g.translate(3, 0, pixel.Constant, [3]byte{})
	if g.flush(); g.pix[0] != 0 || g.pix[3] != image[5*side+5] {
		t.Error("what a crop cut off came back")
	}
}

// A window and a flip of it are one resize.
func TestRandomResizedCrop(t *testing.T) {
	g := augmenter(t, square, op("random_resized_crop", "height", 16, "width", 20, "scale", []float64{0.2, 0.6}), op("horizontal_flip"))
	if g.Info().Height != 16 || g.Info().Width != 20 {
		t.Fatalf("images of %d×%d", g.Info().Width, g.Info().Height)
	}
	grey := bytes.Repeat([]byte{77}, side*side)
	for i := range uint64(50) {
		out := apply(t, g, grey, i)
		if len(out) != 320 || slices.ContainsFunc(out, func(b byte) bool { return b != 77 }) {
			t.Fatalf("sample %d of a grey image is not grey: it reached outside", i)
		}
	}
	s := NewStream(1, "window")
	for range 300 {
		w := window(100, 60, []float64{0.08, 1}, []float64{0.75, 4.0 / 3}, &s)
		share, shape := w.Width*w.Height/6000, w.Width/w.Height
		if share < 0.075 || share > 1 || shape < 0.7 || shape > 1.4 || w.Left < 0 || w.Top < 0 || w.Left+w.Width > 60 || w.Top+w.Height > 100 {
			t.Fatalf("window %+v", w)
		}
	}
	if w := window(300, 10, []float64{0.9, 1}, []float64{0.75, 4.0 / 3}, &s); w.Width != 10 || w.Height != 13 {
		t.Errorf("the window that always fits is %+v", w)
	}
}

func TestGaussianNoise(t *testing.T) {
	const sigma = 0.05
	grey := bytes.Repeat([]byte{128}, side*side)
	g := augmenter(t, square, op("gaussian_noise", "sigma", sigma, "p", 1))
	var n, sum, squares, within float64
	last := make([]byte, len(grey))
	for i := range uint64(50) {
		out := apply(t, g, grey, i)
		if bytes.Equal(out, last) {
			t.Fatal("two samples have the same noise")
		}
		copy(last, out)
		for _, v := range out {
			d := (float64(v) - 128) / 255 / sigma
			n, sum, squares = n+1, sum+d, squares+d*d
			if math.Abs(d) < 1 {
				within++
			}
		}
	}
	mean, deviation := sum/n, math.Sqrt(squares/n)
	// Of a normal distribution 68.27 % lie within one deviation (12.75 levels, so 12 and below). The bounds are above five standard errors.
	if math.Abs(mean) > 0.025 || math.Abs(deviation-1) > 0.02 || math.Abs(within/n-0.673) > 0.012 {
		t.Errorf("mean %.4f, deviation %.4f, within one deviation %.4f", mean, deviation, within/n)
	}
}

func TestSaltAndPepper(t *testing.T) {
	grey := bytes.Repeat([]byte{128}, side*side)
	g := augmenter(t, square, op("salt_and_pepper", "amount", []float64{0.1, 0.1}, "salt_vs_pepper", []float64{0.7, 0.7}, "p", 1))
	white, black, n := 0.0, 0.0, 0.0
	for i := range uint64(50) {
		for _, v := range apply(t, g, grey, i) {
			n++
			switch v {
			case 255:
				white++
			case 0:
				black++
			case 128:
			default:
				t.Fatalf("a value became %d", v)
			}
		}
	}
	if math.Abs(white/n-0.07) > 0.006 || math.Abs(black/n-0.03) > 0.004 {
		t.Errorf("%.4f white, %.4f black", white/n, black/n)
	}
}

// ISO noise leaves the mean lightness a little higher, as Poisson noise does, and turns hues.
func TestISONoise(t *testing.T) {
	source, info := answer(t, "source")
	g, err := NewAugmenter(policy(t, op("iso_noise", "intensity", []float64{0.5, 0.5}, "color_shift", []float64{0.05, 0.05}, "p", 1)), info, nil)
	if err != nil {
		t.Fatal(err)
	}
	differ, sum := 0, 0
	for i, v := range apply(t, g, source, 1) {
		d := int(v) - int(source[i])
		sum += d
		if d != 0 {
			differ++
		}
	}
	if differ < len(source)/3 || sum < 0 || sum > 20*len(source) {
		t.Errorf("%d of %d values differ, by %d together", differ, len(source), sum)
	}
}

// Hidden rectangles have the sizes that are asked for.
func TestDropout(t *testing.T) {
	white := bytes.Repeat([]byte{255}, side*side)
	g := augmenter(t, square, op("coarse_dropout", "num_holes_range", []float64{1, 1}, "hole_height_range", []float64{0.2, 0.2}, "hole_width_range", []float64{0.5, 0.5}, "p", 1))
	places := map[int]bool{}
	for i := range uint64(100) {
		out := apply(t, g, white, i)
		hidden := bytes.Count(out, []byte{0})
		if first := bytes.IndexByte(out, 0); hidden != 6*16 {
			t.Fatalf("sample %d hides %d pixels", i, hidden)
		} else {
			places[first] = true
		}
	}
	if len(places) < 60 || white[0] != 255 {
		t.Errorf("holes at %d places", len(places))
	}
	g = augmenter(t, square, op("random_erasing", "scale", []float64{0.1, 0.2}, "fill_mode", "noise", "p", 1))
	for i := range uint64(100) {
		changed := 0
		for _, v := range apply(t, g, white, i) {
			if v != 255 {
				changed++
			}
		}
		if share := float64(changed) / (side * side); share < 0.09 || share > 0.21 {
			t.Fatalf("sample %d: %.3f of the image is erased", i, share)
		}
	}
}

// one_of applies one operation by its odds, some_of as many as it says in their order.
func TestChoices(t *testing.T) {
	image := bytes.Repeat([]byte{100}, side*side)
	count := func(o Operation) map[byte]int {
		g, out := augmenter(t, square, o), map[byte]int{}
		for i := range uint64(900) {
			out[apply(t, g, image, i)[0]]++
		}
		return out
	}
	invert := func(p float64) Operation { return op("solarize", "threshold_range", []float64{0, 0}, "p", p) } // 155
	dim := op("posterize", "num_bits", 1, "p", 1)                                                             // 0, and 128 of 155
	got := count(Operation{Name: "one_of", Args: map[string]any{"p": 1.0}, Of: []Operation{invert(0.5), dim}})
	if got[155] < 240 || got[155] > 360 || got[0] != 900-got[155] {
		t.Errorf("one_of: %v", got)
	}
	got = count(Operation{Name: "some_of", Args: map[string]any{"n": 2.0}, Of: []Operation{invert(1), dim}})
	if fmt.Sprint(got) != "map[128:900]" {
		t.Errorf("some_of both: %v", got)
	}
	got = count(Operation{Name: "some_of", Args: map[string]any{"n": 1.0, "p": 0.5}, Of: []Operation{invert(1), dim}})
	if got[100] < 390 || got[100] > 510 || got[155] < 170 || got[0] < 170 {
		t.Errorf("some_of: %v", got)
	}
}

// The policies that choose by themselves give many different images, and none but of the size.
func TestAutoPolicies(t *testing.T) {
	source, info := answer(t, "source")
	for _, o := range []Operation{op("auto_augment"), op("auto_augment", "policy", "cifar10"), op("auto_augment", "policy", "svhn"), op("rand_augment"), op("trivial_augment")} {
		g, seen := augmenter(t, info, o), map[string]bool{}
		for i := range uint64(100) {
			out := apply(t, g, source, i)
			if len(out) != len(source) {
				t.Fatalf("%s: %d bytes", o.Name, len(out))
			}
			seen[string(out)] = true
		}
		if len(seen) < 30 {
			t.Errorf("%s: %d different images of 100", o.Name, len(seen))
		}
	}
	for name, list := range autoPolicies {
		if len(list) != 25 {
			t.Errorf("the policy for %s has %d pairs", name, len(list))
		}
	}
}

// What an augmenter did before does not matter, and the stored image is never written to.
func TestApplyIsAFunction(t *testing.T) {
	source, info := answer(t, "source")
	kept := bytes.Clone(source)
	p := everyOperation(t, info)
	g, err := NewAugmenter(p, info, same{info})
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := g.Apply(source, 5, 1, 9)
	if err != nil {
		t.Fatal(err)
	}
	first = bytes.Clone(first)
	for i := range uint64(5) {
		if _, _, err := g.Apply(source, 5, 2, i); err != nil {
			t.Fatal(err)
		}
	}
	again, _, err := g.Apply(source, 5, 1, 9)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the same draws give another image (%v)", err)
	}
	if other, _, _ := g.Apply(source, 6, 1, 9); bytes.Equal(first, other) {
		t.Error("another seed gives the same image")
	}
	if !bytes.Equal(source, kept) {
		t.Error("the stored image was changed")
	}
}

// BenchmarkAugment is the cost of one image of 28×28 pixels with a full policy, on one core.
func BenchmarkAugment(b *testing.B) {
	info := Info{Classes: []string{"a"}, Height: 28, Width: 28, Channels: 1}
	g := augmenter(b, info, op("horizontal_flip"), op("rotate", "limit", 15, "p", 1), op("random_crop", "padding", 2),
		op("random_brightness_contrast", "p", 1), op("gaussian_noise", "sigma", 0.05, "p", 1))
	image, n := make([]byte, 28*28), uint64(0)
	for b.Loop() {
		apply(b, g, image, n)
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "images/s")
}
