package cache_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

func BenchmarkOpenNew(b *testing.B) {
	base := b.TempDir()
	for i := range b.N {
		c, err := cache.Open(filepath.Join(base, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "cache")
	for b.Loop() {
		c, err := cache.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
}

// One small blob a turn, made durable together at the end of a hundred.
func BenchmarkPutBytes(b *testing.B) {
	c := open(b, filepath.Join(b.TempDir(), "cache"))
	for i := range b.N {
		if _, err := c.PutBytes(fmt.Appendf(nil, "blob %d", i), artifact.File); err != nil {
			b.Fatal(err)
		}
		if i%100 == 99 {
			if err := c.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkMaterialize(b *testing.B) {
	base := b.TempDir()
	c := open(b, filepath.Join(base, "cache"))
	ref, err := c.PutBytes(make([]byte, 30<<20), artifact.Dataset)
	if err != nil {
		b.Fatal(err)
	}
	for name, mode := range map[string]cache.Mode{"link": cache.Link, "copy": cache.Copy} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(ref.Size)
			for i := range b.N {
				dst := filepath.Join(base, fmt.Sprint(name, b.N, "-", i))
				if err := c.Materialize(ref, dst, mode); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := os.Remove(dst); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// A folder of 10,000 files that the stat cache knows, in a process that has just started.
func BenchmarkHashSourceWarm(b *testing.B) {
	base := b.TempDir()
	source, dir := filepath.Join(base, "source"), filepath.Join(base, "cache")
	old := time.Now().Add(-time.Hour)
	for i := range 10000 {
		path := filepath.Join(source, fmt.Sprint(i%20), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "file %d", i), 0o666); err != nil {
			b.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			b.Fatal(err)
		}
	}
	once := func() {
		c, err := cache.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.HashSource(source); err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
	once()
	for b.Loop() {
		once()
	}
}
