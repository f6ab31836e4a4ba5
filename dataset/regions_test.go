package dataset

import (
	"bytes"
	"math"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

var grounds = Info{Task: Detection, Classes: []string{"a", "b"}, MaskClasses: []string{"none", "a", "b"}, Height: 60, Width: 80, Channels: 1}

// marked has a box, a polygon of the same corners, and a mask and an image that show them: 2 in the mask, 200 in the image.
func marked() (Sample, []byte) {
	s := Sample{Boxes: []Box{{20, 15, 50, 40, 1}}, Polygons: []Polygon{{Class: 1, Rings: [][]float32{{20, 15, 50, 15, 50, 40, 20, 40}}}}, Mask: make([]byte, 60*80)}
	image := bytes.Repeat([]byte{50}, 60*80)
	for y := 15; y < 40; y++ {
		for x := 20; x < 50; x++ {
			s.Mask[y*80+x], image[y*80+x] = 2, 200
		}
	}
	return s, image
}

// moved applies by hand what an operation would draw.
func moved(t *testing.T, visibility float64, f func(g *Augmenter)) (*regions, *Augmenter) {
	t.Helper()
	s, image := marked()
	g, err := NewAugmenter(&Policy{}, grounds, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.regions = &regions{boxes: s.Boxes, polygons: s.Polygons, mask: s.Mask, visibility: visibility}
	f(g.at(image))
	g.flush()
	return g.regions, g
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

// The box of every operation is that around where the object's pixels went, the polygon's area is that of its pixels, and the mask is where the
// image shows the object.
func TestRegionsMoveWithThePixels(t *testing.T) {
	black := [3]byte{}
	for name, f := range map[string]func(g *Augmenter){
		"horizontal_flip": func(g *Augmenter) { g.flip(true) },
		"vertical_flip":   func(g *Augmenter) { g.flip(false) },
		"rotate":          func(g *Augmenter) { g.rotate(20, pixel.Constant, black) },
		"scale":           func(g *Augmenter) { g.enlarge(1.2, pixel.Constant, black) },
		"shift":           func(g *Augmenter) { g.translate(-7.5, 4, pixel.Constant, black) },
		"shear":           func(g *Augmenter) { g.shear(10, -8, pixel.Constant, black) },
		"perspective": func(g *Augmenter) {
			g.perspective([8]float64{0.1, 0.02, 0.05, 0.1, 0.03, 0.08, 0.1, 0.05}, pixel.Constant, black)
		},
		"crop":   func(g *Augmenter) { g.crop(30, 20, 30, 40, pixel.Constant, black) },
		"pad":    func(g *Augmenter) { g.crop(-5, -6, 70, 95, pixel.Constant, black) },
		"resize": func(g *Augmenter) { g.resize(pixel.Window{Width: 80, Height: 60}, 91, 51) },
		"window and flip": func(g *Augmenter) {
			g.resize(pixel.Window{Left: 10, Top: 10, Width: 50, Height: 40}, 60, 80)
			g.flip(true)
		},
		"turn then crop": func(g *Augmenter) { g.rotate(-15, pixel.Constant, black); g.crop(10, 5, 45, 60, pixel.Constant, black) },
		"elastic": func(g *Augmenter) {
			dx, dy := waves(60, 80)
			g.remap(dx, dy, pixel.Constant, black)
		},
		"grid": func(g *Augmenter) {
			g.grid([]float64{0.8, 1.2, 1.1}, []float64{1.25, 0.75, 1.0}, pixel.Constant, black)
		},
	} {
		r, g := moved(t, 0, f)
		if len(r.boxes) != 1 || len(r.polygons) != 1 || len(r.mask) != g.h*g.w {
			t.Errorf("%s: %d boxes, %d polygons, a mask of %d", name, len(r.boxes), len(r.polygons), len(r.mask))
			continue
		}
		x0, y0, x1, y1, object, wrong := g.w, g.h, 0, 0, 0, 0
		for y := range g.h {
			for x := range g.w {
				in, inMask := g.pix[y*g.w+x] > 125, r.mask[y*g.w+x] == 2
				if in {
					x0, y0, x1, y1, object = min(x0, x), min(y0, y), max(x1, x+1), max(y1, y+1), object+1
				}
				if v := int(g.pix[y*g.w+x]); in != inMask && (v < 120 || v > 130) { // in the middle it is neither
					wrong++
				}
			}
		}
		b := r.boxes[0]
		if !near(float64(b.X0), float64(x0), 1.6) || !near(float64(b.Y0), float64(y0), 1.6) || !near(float64(b.X1), float64(x1), 1.6) || !near(float64(b.Y1), float64(y1), 1.6) || b.Class != 1 {
			t.Errorf("%s: the box is %v, the pixels lie in %d, %d, %d, %d", name, b, x0, y0, x1, y1)
		}
		if area := r.polygons[0].area(); !near(area, float64(object), 0.06*float64(object)+4) {
			t.Errorf("%s: the polygon has the area %.1f, the object %d pixels", name, area, object)
		}
		if wrong > (x1-x0+y1-y0)/2 {
			t.Errorf("%s: the mask and the image differ at %d pixels", name, wrong)
		}
		if err := (&Sample{ID: "x", Image: make([]byte, g.h*g.w), Boxes: r.boxes, Polygons: r.polygons, Mask: r.mask, Label: NoLabel}).check(
			Info{Task: Detection, Classes: grounds.Classes, MaskClasses: grounds.MaskClasses, Height: g.h, Width: g.w, Channels: 1}); err != nil {
			t.Errorf("%s: the result cannot be stored: %v", name, err)
		}
	}
}

// What comes into sight from outside belongs to no class.
func TestMaskOutsideIsIgnored(t *testing.T) {
	r, _ := moved(t, 0, func(g *Augmenter) { g.translate(10, 0, pixel.Constant, [3]byte{}) })
	if r.mask[5] != Ignore || r.mask[15] != 0 {
		t.Errorf("the mask begins %v", r.mask[:16])
	}
	r, _ = moved(t, 0, func(g *Augmenter) { g.translate(10, 0, pixel.Reflect, [3]byte{}) })
	if r.mask[5] == Ignore {
		t.Error("what a mirrored border shows is ignored")
	}
}

// A region is dropped when less of it remains than is asked for, and kept otherwise.
func TestVisibility(t *testing.T) {
	for _, c := range []struct {
		visibility float64
		x          int // where the crop begins: the object lies from 20 to 50
		kept       bool
	}{{0, 45, true}, {0, 50, false}, {0.5, 34, true}, {0.5, 36, false}, {1, 20, true}, {1, 21, false}} {
		r, _ := moved(t, c.visibility, func(g *Augmenter) { g.crop(c.x, 0, 60, 30, pixel.Constant, [3]byte{}) })
		if (len(r.boxes) == 1) != c.kept || (len(r.polygons) == 1) != c.kept {
			t.Errorf("visibility %v, crop from %d: %d boxes, %d polygons", c.visibility, c.x, len(r.boxes), len(r.polygons))
		}
	}
}

// fourSamples are plain grey images of 10, 60, 110 and 160, each with one box and its own value in the mask.
type fourSamples struct{}

func (fourSamples) Len() int { return 4 }
func (fourSamples) Pixels(row int, _ []byte) ([]byte, error) {
	return bytes.Repeat([]byte{byte(10 + 50*row)}, 60*80), nil
}
func (fourSamples) Boxes(row int) []Box    { return []Box{{8, 6, 40, 30, int32(row % 2)}} }
func (fourSamples) Polygons(int) []Polygon { return nil }
func (fourSamples) Mask(row int) []byte    { return bytes.Repeat([]byte{byte(row % 3)}, 60*80) }
func (f fourSamples) sample(row int) (Sample, []byte) {
	image, _ := f.Pixels(row, nil) // never fails
	return Sample{Boxes: f.Boxes(row), Mask: f.Mask(row)}, image
}

// The shares that an operation reports are those of the pixels, and they add up to one; boxes and masks of the others come along.
func TestMixing(t *testing.T) {
	for _, name := range []string{"mixup", "cutmix", "mosaic"} {
		p := policy(t, op(name, "p", 1))
		if name == "mixup" {
			p = policy(t, op(name, "p", 1, "alpha", 1))
		}
		g, err := NewAugmenter(p, grounds, fourSamples{})
		if err != nil {
			t.Fatal(err)
		}
		mixed := 0
		for sample := range uint64(40) {
			row := int(sample % 4)
			_, image := fourSamples{}.sample(row)
			out, shares, err := g.Apply(image, sample, 0, uint64(row))
			if err != nil {
				t.Fatal(err)
			}
			sum, mean, want := 0.0, 0.0, 0.0
			for _, sh := range shares {
				sum += float64(sh.Weight)
				want += float64(sh.Weight) * float64(10+50*sh.Row)
			}
			for _, v := range out {
				mean += float64(v) / float64(len(out))
			}
			if !near(sum, 1, 1e-5) || !near(mean, want, 0.6) {
				t.Errorf("%s: the shares %v add up to %v; the image's mean is %.2f, theirs %.2f", name, shares, sum, mean, want)
			}
			if len(shares) > 1 {
				mixed++
			}
		}
		if mixed < 30 {
			t.Errorf("%s: %d of 40 images are mixed", name, mixed)
		}
	}
}

func TestMixingMovesRegions(t *testing.T) {
	for name, most := range map[string]int{"mixup": 2, "cutmix": 2, "mosaic": 4} {
		g, err := NewAugmenter(policy(t, op(name, "p", 1)), grounds, fourSamples{})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for sample := range uint64(30) {
			s, image := fourSamples{}.sample(1)
			out, err := g.ApplySample(s, image, sample, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			if seen = max(seen, len(out.Boxes)); len(out.Boxes) > most {
				t.Fatalf("%s: %d boxes", name, len(out.Boxes))
			}
			for i, v := range out.Mask {
				// A pixel's mask is that of the row that it shows; mixup keeps the image's own.
				if row := (int(out.Image[i]) - 10) / 50; name != "mixup" && int(v) != row%3 {
					t.Fatalf("%s: pixel %d shows row %d, its mask is %d", name, i, row, v)
				}
			}
		}
		if seen != most {
			t.Errorf("%s: at most %d boxes of %d", name, seen, most)
		}
	}
}

// A loader gives soft targets when the policy mixes, of any number of workers the same, and other samples have been through the operations before.
func TestLoaderTargets(t *testing.T) {
	info := small
	info.Policy = policy(t, op("solarize", "threshold_range", []float64{0, 0}, "p", 1), Operation{Name: "one_of", Args: map[string]any{"p": 1.0}, Of: []Operation{op("mixup", "alpha", 1), op("cutmix")}})
	d := open(t, write(t, 12, info))
	var first []float32
	for _, workers := range []int{1, 3} {
		l := loader(t, d, LoaderOptions{Batch: 5, Seed: 1, Augment: true, Workers: workers, Layout: CHWN})
		var targets []float32
		for b, err := range l.Epoch(t.Context(), 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range b.N {
				sum := float32(0)
				for _, v := range b.Targets[3*i : 3*i+3] {
					sum += v
				}
				if math.Abs(float64(sum)-1) > 1e-5 || b.Labels[i] != d.Label(b.Indexes[i]) {
					t.Errorf("the targets of image %d are %v", i, b.Targets[3*i:3*i+3])
				}
			}
			targets = append(targets, b.Targets...)
		}
		if first == nil {
			first = targets
		} else if !bytes.Equal(floatBits(first), floatBits(targets)) {
			t.Error("the targets depend on the number of workers")
		}
	}
	info.Policy = policy(t, op("to_gray"))
	plain := open(t, write(t, 12, info))
	for b, err := range loader(t, plain, LoaderOptions{Batch: 5, Augment: true}).Epoch(t.Context(), 0, 0) {
		if err != nil || b.Targets != nil {
			t.Errorf("without mixing there are targets %v (%v)", b.Targets, err)
		}
	}
}

func floatBits(f []float32) []byte {
	var out []byte
	for _, v := range f {
		u := math.Float32bits(v)
		out = append(out, byte(u), byte(u>>8), byte(u>>16), byte(u>>24))
	}
	return out
}

// Read fills the caller's memory with what Epoch yields.
func TestLoaderRead(t *testing.T) {
	info := small
	info.Policy = policy(t, op("rotate"), op("normalize"))
	l := loader(t, open(t, write(t, 12, info)), LoaderOptions{Batch: 5, Seed: 1, Shuffle: true, Augment: true, Layout: CHWN})
	memory := make([]float32, 5*info.ImageSize())
	number := 0
	for want, err := range l.Epoch(t.Context(), 3, 0) {
		b := Batch{Images: memory}
		if err != nil || l.Read(t.Context(), &b, 3, number) != nil {
			t.Fatal(err)
		}
		if &b.Images[0] != &memory[0] || b.N != want.N || !bytes.Equal(floatBits(b.Images), floatBits(want.Images)) {
			t.Errorf("batch %d of %d images is another, or lies elsewhere", number, b.N)
		}
		number++
	}
	if err := l.Read(t.Context(), &Batch{}, 0, 3); err == nil {
		t.Error("a batch behind the last was read")
	}
}
