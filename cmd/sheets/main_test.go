package main

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"
)

// The pictures in the documentation are what the operations do. What is compared are pixels: encoders may differ between versions of Go.
func TestDocsAreUpToDate(t *testing.T) {
	folder := filepath.Join("..", "..", "docs", "operations")
	files, err := sheets()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Errorf("%v: run make docs", err)
			continue
		}
		total += len(got)
		if filepath.Ext(name) == ".md" && !bytes.Equal(got, want) || filepath.Ext(name) == ".jpg" && !similar(t, got, want) {
			t.Errorf("docs/operations/%s is not what the operations do: run make docs", name)
		}
	}
	if total > 1<<20 {
		t.Errorf("the pictures have %d bytes, more than 1 MiB", total)
	}
	there, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(there) != len(files) {
		t.Errorf("docs/operations has %d files, not %d (%v): run make docs", len(there), len(files), err)
	}
}

// similar reports whether two JPEG files show the same picture.
func similar(t *testing.T, a, b []byte) bool {
	t.Helper()
	var m [2]image.Image
	for i, file := range [][]byte{a, b} {
		var err error
		if m[i], err = jpeg.Decode(bytes.NewReader(file)); err != nil {
			t.Error(err)
			return false
		}
	}
	if m[0].Bounds() != m[1].Bounds() {
		return false
	}
	sum, n := 0, 0
	for y := range m[0].Bounds().Dy() {
		for x := range m[0].Bounds().Dx() {
			r, g, b, _ := m[0].At(x, y).RGBA()
			r2, g2, b2, _ := m[1].At(x, y).RGBA()
			for _, d := range [3]int{int(r>>8) - int(r2>>8), int(g>>8) - int(g2>>8), int(b>>8) - int(b2>>8)} {
				sum, n = sum+max(d, -d), n+1
			}
		}
	}
	return float64(sum) < 0.5*float64(n)
}
