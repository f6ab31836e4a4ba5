package infer

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
)

func TestLoadImage(t *testing.T) {
	dir := t.TempDir()
	img := image.NewRGBA(image.Rect(0, 0, 4, 2))
	for x := range 4 {
		for y := range 2 {
			img.Set(x, y, color.RGBA{255, uint8(64 * x), 0, 255})
		}
	}
	path := filepath.Join(dir, "i.png")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, img); err != nil {
		t.Fatal(err)
	}
	f.Close()
	same, err := LoadImage(path, Info{Channels: 3, Height: 2, Width: 4})
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{255, 255, 255, 255, 255, 255, 255, 255, 0, 64, 128, 192, 0, 64, 128, 192, 0, 0, 0, 0, 0, 0, 0, 0}
	for i, v := range same {
		if len(same) != len(want) || v != float32(want[i])*(1.0/255) {
			t.Fatalf("same size = %v", same)
		}
	}
	small, err := LoadImage(path, Info{Channels: 1, Height: 1, Width: 1})
	if err != nil {
		t.Fatal(err)
	}
	// Luma of the mean colour (255, 96, 0): 0.299·255 + 0.587·96 = 132.6.
	if len(small) != 1 || math.Abs(float64(small[0])*255-132.6) > 1.1 {
		t.Errorf("one grey pixel = %v", small)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"text": []byte("hello"), "truncated": whole[:len(whole)-20]} {
		bad := filepath.Join(dir, name)
		if err := os.WriteFile(bad, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadImage(bad, Info{Channels: 1, Height: 1, Width: 1}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHugeImageIsRefused(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	// A GIF that claims 65,535 pixels a side, in a few bytes.
	claim := []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00")
	if _, err := decodeImage(bytes.NewReader(claim)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("65535×65535: %v", err)
	}
	if _, err := decodeImage(bytes.NewReader(b.Bytes())); err != nil {
		t.Errorf("1×1: %v", err)
	}
}

func FuzzImage(f *testing.F) {
	img := image.NewPaletted(image.Rect(0, 0, 3, 2), []color.Color{color.Black, color.White})
	img.Pix[1] = 1
	for _, encode := range []func(*bytes.Buffer) error{
		func(b *bytes.Buffer) error { return png.Encode(b, img) },
		func(b *bytes.Buffer) error { return gif.Encode(b, img, nil) },
		func(b *bytes.Buffer) error { return jpeg.Encode(b, img, nil) },
		func(b *bytes.Buffer) error { return bmp.Encode(b, img) },
	} {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		config, _, err := image.DecodeConfig(bytes.NewReader(b))
		if err == nil && config.Width*config.Height > 1<<20 {
			t.Skip("large")
		}
		img, err := decodeImage(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, v := range tensorOf(img, 3, 2, 2) {
			if v < 0 || v > 1 {
				t.Fatalf("a pixel of %v", v)
			}
		}
	})
}
