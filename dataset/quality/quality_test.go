package quality

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/dataset/picture"
	"github.com/darkroom-dev/darkroom/dataset/similar"
)

// scene is a picture of 64×64 that follows from a seed.
func scene(seed int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			v := 127 + 80*math.Sin(float64(x*(1+seed%5))/11+float64(seed)) + 40*math.Cos(float64(y*(1+seed%3))/7+float64(seed*seed))
			m.Set(x, y, color.RGBA{uint8(v), uint8(255 - v), uint8(max(0, min(255, v+20))), 255})
		}
	}
	return m
}

func decoded(t *testing.T, encode func(*bytes.Buffer) error) image.Image {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	m, _, err := picture.Read(b.Bytes(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func measured(m image.Image) Image {
	t := picture.Target{Height: 32, Width: 32, Channels: 3}
	return Image{Exact: Exact(m), Sketch: similar.NewSketch(picture.Pixels(m, t, nil), 32, 32, 3)}
}

func TestExactIsOfThePixels(t *testing.T) {
	m := scene(1)
	grey := image.NewGray(image.Rect(0, 0, 3, 2))
	three := image.NewRGBA(grey.Rect)
	for i := range grey.Pix {
		grey.Pix[i] = byte(40 * i)
		three.Set(i%3, i/3, color.Gray{Y: byte(40 * i)})
	}
	if Exact(m) != Exact(decoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) })) || Exact(grey) != Exact(three) {
		t.Error("the same pixels differ")
	}
	if Exact(image.NewGray(image.Rect(0, 0, 2, 3))) == Exact(image.NewGray(image.Rect(0, 0, 3, 2))) || Exact(scene(1)) == Exact(scene(2)) {
		t.Error("other pixels are the same")
	}
	part := m.SubImage(image.Rect(10, 10, 20, 20))
	whole := image.NewRGBA(image.Rect(0, 0, 10, 10))
	for i := range 100 {
		whole.Set(i%10, i/10, m.At(10+i%10, 10+i/10))
	}
	if Exact(part) != Exact(whole) {
		t.Error("a part of a picture differs from the same pixels alone")
	}
}

func TestDuplicates(t *testing.T) {
	jpegOf := func(m image.Image) image.Image {
		return decoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, m, &jpeg.Options{Quality: 60}) })
	}
	images := []Image{measured(scene(1)), measured(scene(2)), measured(jpegOf(scene(1))), measured(scene(2)), measured(scene(3)), measured(scene(2))}
	if got := fmt.Sprint(Duplicates(images)); got != "[{0 2 false} {1 3 true} {1 5 true}]" {
		t.Errorf("pairs %s", got)
	}
}

// A hundred thousand images take seconds.
func TestManyImages(t *testing.T) {
	images := make([]Image, 100_000)
	chance := rand.NewChaCha8([32]byte{1})
	var pixels [64]byte
	for i := range images {
		chance.Read(pixels[:]) //nolint:errcheck // it never fails
		images[i].Exact = [16]byte{byte(i), byte(i >> 8), byte(i >> 16)}
		images[i].Sketch = similar.NewSketch(pixels[:], 8, 8, 1)
	}
	images[99_999] = images[17]
	begin := time.Now()
	pairs := Duplicates(images)
	found := false
	for _, p := range pairs {
		found = found || p == Pair{17, 99_999, true}
	}
	if !found {
		t.Error("a copy was not found")
	}
	if took := time.Since(begin); len(pairs) > 100 || took > time.Minute {
		t.Errorf("%d pairs after %v", len(pairs), took)
	}
}

func TestColours(t *testing.T) {
	var c Colours
	c.Add(Channels([]byte{0, 255, 51, 255, 255, 51}, 3))
	c.Add(Channels([]byte{0, 0, 51}, 3))
	if c.Pixels != 3 || math.Abs(c.Mean(0)-1./3) > 1e-12 || math.Abs(c.Mean(2)-0.2) > 1e-12 || math.Abs(c.Deviation(1)-math.Sqrt(2./9)) > 1e-12 || c.Deviation(2) > 1e-6 {
		t.Errorf("%+v: %v %v %v", c, c.Mean(0), c.Deviation(1), c.Deviation(2))
	}
}
