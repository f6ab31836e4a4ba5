package dataset

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// answer reads a picture that testdata/agreement.py wrote.
func answer(t *testing.T, name string) (pixels []byte, info Info) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "agreement", name+".png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	info = Info{Classes: []string{"a"}, Height: m.Bounds().Dy(), Width: m.Bounds().Dx(), Channels: 3}
	for y := range info.Height {
		for x := range info.Width {
			r, g, b, _ := m.At(x, y).RGBA()
			pixels = append(pixels, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	return pixels, info
}

// fixedAt is an operation with what it would draw.
type fixedAt struct {
	name  string
	limit float64 // of the mean absolute difference, in grey levels
	apply func(g *Augmenter)
}

func fixedCases() []fixedAt {
	const geometry, point = 2, 1
	black := [3]byte{}
	list := []fixedAt{
		{"horizontal_flip", 0, func(g *Augmenter) { g.flip(true) }},
		{"vertical_flip", 0, func(g *Augmenter) { g.flip(false) }},
		{"rotate", geometry, func(g *Augmenter) { g.rotate(25, pixel.Constant, black) }},
		{"rotate_reflect_101", geometry, func(g *Augmenter) { g.rotate(25, pixel.Reflect101, black) }},
		{"scale", geometry, func(g *Augmenter) { g.enlarge(1.15, pixel.Constant, black) }},
		{"shift", geometry, func(g *Augmenter) { g.translate(5, -3, pixel.Constant, black) }},
		{"shear", geometry, func(g *Augmenter) { g.shear(12, 0, pixel.Constant, black) }},
		{"perspective", geometry, func(g *Augmenter) {
			g.perspective([8]float64{0.05, 0.1, 0.08, 0.02, 0.12, 0.06, 0.03, 0.09}, pixel.Constant, black)
		}},
		{"center_crop", 0, func(g *Augmenter) { g.crop(8, 8, 40, 48, pixel.Constant, black) }},
		{"random_resized_crop", point, func(g *Augmenter) { g.resize(pixel.Window{Left: 11, Top: 7, Width: 45, Height: 31}, 44, 50) }},
		{"resize_up", point, func(g *Augmenter) { g.resize(pixel.Window{Width: 64, Height: 56}, 80, 100) }},
		{"resize_down", point, func(g *Augmenter) { g.resize(pixel.Window{Width: 64, Height: 56}, 30, 25) }},
		{"pad", 0, func(g *Augmenter) { g.crop(-5, -5, 66, 74, pixel.Constant, [3]byte{7, 7, 7}) }},
		{"pad_reflect_101", 0, func(g *Augmenter) { g.crop(-5, -5, 66, 74, pixel.Reflect101, black) }},
		{"elastic_transform", geometry, func(g *Augmenter) {
			dx, dy := waves(g.h, g.w)
			g.remap(dx, dy, pixel.Reflect101, black)
		}},
		{"grid_distortion", geometry, func(g *Augmenter) {
			g.grid([]float64{0.8, 1.2, 1.1, 0.7, 1.3}, []float64{1.25, 0.75, 1.0, 1.3, 0.9}, pixel.Reflect101, black)
		}},
		{"random_brightness_contrast", point, func(g *Augmenter) { g.linear(1.15, 25.5) }},
		{"random_gamma", point, func(g *Augmenter) { g.power(1.3) }},
		{"hue_saturation_value", point, func(g *Augmenter) { g.hsv(15, -20, 10) }},
		{"to_gray", point, func(g *Augmenter) { g.grey() }},
		{"channel_shuffle", 0, func(g *Augmenter) { g.shuffle([3]int{2, 0, 1}) }},
		{"posterize", 0, func(g *Augmenter) { g.posterise(3) }},
		{"solarize", 0, func(g *Augmenter) { g.solarise(0.6 * 255) }},
		{"equalize", point, func(g *Augmenter) { g.equalise() }},
		{"clahe", point, func(g *Augmenter) { g.clahe(3, 4, 4) }},
		{"clahe_odd", point, func(g *Augmenter) { g.clahe(2, 6, 5) }}, // OpenCV counts columns first
		{"gaussian_blur", point, func(g *Augmenter) { g.gaussianBlur(1.5) }},
		{"motion_blur", point, func(g *Augmenter) { g.motionBlur(7, 35*math.Pi/180, 0.5, 0, 0) }},
		{"sharpen", point, func(g *Augmenter) { g.sharpen(0.4, 0.8) }},
		{"image_compression_30", point, func(g *Augmenter) { g.compress(30) }},
		{"image_compression_90", point, func(g *Augmenter) { g.compress(90) }},
		{"auto_sharpness", point, func(g *Augmenter) { g.sharpness(1.6) }},
		{"auto_contrast", point, func(g *Augmenter) { g.autoContrast() }},
		{"auto_invert", 0, func(g *Augmenter) { g.linear(-1, 255) }},
	}
	for i, amount := range []float64{1.3, 0.7, 1.4, 0.1} {
		name := [4]string{"jitter_brightness", "jitter_contrast", "jitter_saturation", "jitter_hue"}[i]
		list = append(list, fixedAt{name, point, func(g *Augmenter) { g.jitter(i, amount) }})
	}
	for r, name := range []string{"median_blur_3", "median_blur_5", "median_blur_7"} {
		list = append(list, fixedAt{name, 0.5, func(g *Augmenter) { g.medianBlur(r + 1) }}) // the edge differs: OpenCV repeats it
	}
	return list
}

// waves is a displacement that testdata/agreement.py makes too.
func waves(h, w int) (dx, dy []float32) {
	for y := range h {
		for x := range w {
			dx, dy = append(dx, float32(3*math.Sin(float64(y)/7))), append(dy, float32(2*math.Cos(float64(x)/5)))
		}
	}
	return dx, dy
}

// at begins an image that operations are applied to by hand.
func (g *Augmenter) at(image []byte) *Augmenter {
	g.pix, g.h, g.w, g.pending = image, g.info.Height, g.info.Width, pending{}
	return g
}

// Each operation at fixed arguments gives what Albumentations, OpenCV or Pillow gives.
func TestAgreement(t *testing.T) {
	source, info := answer(t, "source")
	p, err := NewPolicy(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range fixedCases() {
		want, size := answer(t, c.name)
		g, err := NewAugmenter(p, info, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.apply(g.at(source))
		g.flush()
		if g.h != size.Height || g.w != size.Width || len(g.pix) != len(want) {
			t.Errorf("%s: %d×%d pixels, not %d×%d", c.name, g.w, g.h, size.Width, size.Height)
			continue
		}
		sum, most := 0, 0
		for i := range want {
			d := int(want[i]) - int(g.pix[i])
			sum, most = sum+max(d, -d), max(most, d, -d)
		}
		mean := float64(sum) / float64(len(want))
		t.Logf("%-28s mean %.3f, most %d", c.name, mean, most)
		if mean > c.limit {
			t.Errorf("%s: the mean absolute difference is %.3f, above %v (largest %d)", c.name, mean, c.limit, most)
		}
	}
}
