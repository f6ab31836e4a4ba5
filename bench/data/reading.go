package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// decoding turns JPEG files of 640×480 into images of 224×224, on two threads.
func decoding(dir string) (*ourSide, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	if err != nil {
		return nil, err
	}
	var files [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, b)
	}
	target := picture.Target{Height: side, Width: side, Channels: 3}
	return &ourSide{close: func() {}, run: func(ctx context.Context, seconds float64) (float64, error) {
		return timed(ctx, seconds, 2, func() (int, error) {
			var group sync.WaitGroup
			var failures [2]error
			for t := range 2 {
				group.Go(func() {
					buffer := make([]byte, side*side*3)
					for i := t; i < len(files) && failures[t] == nil; i += 2 {
						_, failures[t] = picture.Decode(files[i], target, buffer)
					}
				})
			}
			group.Wait()
			return len(files), errors.Join(failures[:]...)
		})
	}}, nil
}

// reading copies the images of a stored dataset, in order and shuffled, beside a plain copy of as many bytes from memory to memory.
func reading(dir string) []benchCase {
	var list []benchCase
	for _, shuffled := range []bool{false, true} {
		name := "sequential"
		if shuffled {
			name = "shuffled"
		}
		list = append(list, benchCase{name: "read " + name, group: "reading", long: true, asked: 0.8, unit: "GB/s", reference: plainCopy,
			ours: func() (*ourSide, error) {
				d, err := storedDataset(dir, nil)
				if err != nil {
					return nil, err
				}
				order := make([]int, d.Len())
				for i := range order {
					order[i] = i
				}
				if s := dataset.NewStream(1, "order"); shuffled {
					order = s.Permutation(d.Len())
				}
				procs := runtime.GOMAXPROCS(1)
				done := func() { runtime.GOMAXPROCS(procs); d.Close() }
				to := make([]byte, batchBytes)
				return &ourSide{close: done, run: func(ctx context.Context, seconds float64) (float64, error) {
					return timed(ctx, seconds, 1, func() (int, error) {
						at, bytes := 0, 0
						for _, row := range order {
							image, err := d.Pixels(row, nil)
							if err != nil {
								return 0, err
							}
							if at+len(image) > len(to) {
								at = 0
							}
							bytes += copy(to[at:], image)
							at += len(image)
						}
						return bytes, nil
					})
				}}, nil
			}})
	}
	return list
}

// batchBytes is where images are copied to: a batch of 64.
const batchBytes = 64 * storedSide * storedSide * 3

// plainCopy copies memory of the size of the stored dataset into a batch, again and again, and returns bytes a second.
func plainCopy(seconds float64) float64 {
	from, to := make([]byte, storedCount*storedSide*storedSide*3), make([]byte, batchBytes)
	for i := range from {
		from[i] = byte(i)
	}
	n, began := 0, processor()
	for processor()-began < seconds {
		for at := 0; at+len(to) <= len(from); at += len(to) {
			n += copy(to, from[at:])
		}
	}
	if to[1] == 77 && to[2] == 77 {
		fmt.Println() // the copy must not be left out
	}
	return float64(n) / (processor() - began)
}
