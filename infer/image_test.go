package infer

import (
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	for name, b := range map[string][]byte{"text": []byte("hello"), "truncated": whole[:len(whole)-20], "empty": nil,
		"huge": []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00")} {
		bad := filepath.Join(dir, name)
		if err := os.WriteFile(bad, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadImage(bad, Info{Channels: 1, Height: 1, Width: 1}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
