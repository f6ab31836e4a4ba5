package jpeg

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"
)

// both decodes in Go and with the library.
func both(t *testing.T, b []byte, half bool) (inGo, library Picture, ok bool) {
	t.Helper()
	before := turbo
	defer func() { turbo = before }()
	turbo = false
	inGo, ok = Decode(b, 1<<26, half, nil)
	if !before {
		return inGo, inGo, ok
	}
	turbo = true
	library, okLibrary := Decode(b, 1<<26, half, nil)
	if ok != okLibrary {
		t.Errorf("Go takes the file: %v, the library: %v", ok, okLibrary)
	}
	return inGo, library, ok && okLibrary
}

func first(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// Files that Pillow's libjpeg wrote, of every layout, give the pixels that it reads from them, in Go and with the library here.
func TestFiles(t *testing.T) {
	if !turbo {
		t.Log("libjpeg-turbo is not here: only the decoder in Go is compared")
	}
	files, err := filepath.Glob("testdata/*.jpg")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name[:len(name)-4] + ".raw")
		if os.IsNotExist(err) { // not of our kind
			if _, _, ok := both(t, b, false); ok {
				t.Errorf("%s was taken", name)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		inGo, library, ok := both(t, b, false)
		if !ok {
			t.Errorf("%s was refused", name)
			continue
		}
		if a, b, ok := both(t, b, true); !ok || !bytes.Equal(a.Pixels, b.Pixels) {
			t.Errorf("%s at half its size: taken %v, Go and the library differ first at %d", name, ok, first(a.Pixels, b.Pixels))
		}
		if !bytes.Equal(inGo.Pixels, want) || !bytes.Equal(library.Pixels, want) {
			t.Errorf("%s (%d×%d×%d): Go differs first at %d, the library at %d", name, inGo.Width, inGo.Height, inGo.Channels, first(inGo.Pixels, want), first(library.Pixels, want))
		}
	}
}

func encoded(t testing.TB, h, w, quality int, grey bool) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetRGBA(x, y, color.RGBA{byte(7*x + y), byte(x * y), byte(200 - 3*y + 90*(x/5%2)), 255})
		}
	}
	var from image.Image = m
	if grey {
		g := image.NewGray(m.Rect)
		for y := range h {
			for x := range w {
				g.Set(x, y, m.At(x, y))
			}
		}
		from = g
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, from, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Go and the library agree on every size and quality.
func TestAgreement(t *testing.T) {
	if !turbo {
		t.Skip("libjpeg-turbo is not here, or the program was built without its header")
	}
	for _, size := range [][2]int{{1, 5}, {8, 8}, {16, 16}, {17, 33}, {31, 64}, {5, 7}, {100, 75}, {2, 90}} {
		for _, quality := range []int{5, 50, 90, 100} {
			for _, grey := range []bool{false, true} {
				for _, half := range []bool{false, true} {
					inGo, library, ok := both(t, encoded(t, size[0], size[1], quality, grey), half)
					if !ok || !bytes.Equal(inGo.Pixels, library.Pixels) {
						t.Errorf("%v at quality %d, grey %v, half %v: taken %v, they differ first at %d", size, quality, grey, half, ok, first(inGo.Pixels, library.Pixels))
					}
				}
			}
		}
	}
}

// Damage is refused by both, or seen by neither; no file panics.
func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, 20, 30, 80, false))
	f.Add(encoded(f, 9, 9, 30, true))
	files, _ := filepath.Glob("testdata/*.jpg")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := turbo
		defer func() { turbo = before }()
		turbo = false
		half := len(b)%2 == 0
		p, ok := Decode(b, 1<<16, half, nil)
		if ok && len(p.Pixels) != p.Height*p.Width*p.Channels {
			t.Fatalf("%d pixels of %d×%d×%d", len(p.Pixels), p.Height, p.Width, p.Channels)
		}
		if turbo = before; turbo {
			Decode(b, 1<<16, half, nil) // a damaged file may be judged otherwise; it must not crash
		}
	})
}

func TestTruncated(t *testing.T) {
	b := encoded(t, 64, 64, 90, false)
	for _, n := range []int{0, 1, 2, 100, 300, len(b) / 2, len(b) - 40} {
		if _, _, ok := both(t, b[:n], n%2 == 0); ok {
			t.Errorf("the first %d bytes of %d are taken as a picture", n, len(b))
		}
	}
	if _, ok := Decode(b, 64*64-1, false, nil); ok {
		t.Error("a picture larger than the limit was taken")
	}
	if _, _, ok := both(t, append(bytes.Clone(b[:len(b)-2]), 1, 2, 3), false); ok {
		t.Error("a file without an end was taken")
	}
}
