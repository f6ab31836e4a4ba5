package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// benchCase is something that both sides do.
type benchCase struct {
	name  string
	group string   // of the table
	peers []string // what the peer is asked; the fastest counts
	asked float64  // least ratio
	long  bool
	unit  string
	ours  func() (*ourSide, error)
	// reference, when set, is what is compared with in the place of a peer.
	reference func(seconds float64) float64
}

// ourSide does work for a while and returns how much of it in a second.
type ourSide struct {
	run   func(ctx context.Context, seconds float64) (float64, error)
	close func()
}

const (
	side        = 224
	storedSide  = 256
	operations  = 16  // images for single operations
	storedCount = 512 // for whole policies
)

// photograph makes an image with soft and hard edges, and some noise, as photographs have them.
func photograph(seed uint64, h, w int) []byte {
	s := dataset.NewStream(seed, "picture")
	out := make([]byte, 0, h*w*3)
	ax, ay, phase := s.In(5, 40), s.In(5, 40), s.In(0, 6)
	cx, cy, r := s.In(0, float64(w)), s.In(0, float64(h)), s.In(20, float64(w)/3)
	for y := range h {
		for x := range w {
			v := 128 + 70*math.Sin(float64(x)/ax+phase) + 40*math.Cos(float64(y)/ay)
			if math.Hypot(float64(x)-cx, float64(y)-cy) < r {
				v = 255 - v
			}
			noise := s.Uint64()
			for c := range 3 {
				n := float64(noise>>(8*c)&15) - 8
				out = append(out, byte(min(max(v*(0.6+0.2*float64(c))+n, 0), 255)))
			}
		}
	}
	return out
}

// store writes what the peer reads: images for operations, stored ones for policies, and JPEG files.
func store(dir string) error {
	var images, stored []byte
	for i := range uint64(operations) {
		images = append(images, photograph(i, side, side)...)
	}
	for i := range uint64(storedCount) {
		stored = append(stored, photograph(i%64, storedSide, storedSide)...)
	}
	for i := range uint64(24) {
		m := image.NewRGBA(image.Rect(0, 0, 640, 480))
		for p, pix := 0, photograph(i, 480, 640); p < 640*480; p++ {
			copy(m.Pix[4*p:], pix[3*p:3*p+3])
			m.Pix[4*p+3] = 255
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.jpg", i)), b.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "images.u8"), images, 0o600), os.WriteFile(filepath.Join(dir, "stored.u8"), stored, 0o600))
}

// single are the operations that Albumentations has as well, with arguments where the defaults are not the same.
var single = []dataset.Operation{
	{Name: "horizontal_flip"}, {Name: "vertical_flip"}, {Name: "rotate"}, {Name: "scale"}, {Name: "shift"}, {Name: "shear"}, {Name: "perspective"},
	{Name: "random_crop", Args: map[string]any{"height": 160.0, "width": 160.0}}, {Name: "random_resized_crop"},
	{Name: "center_crop", Args: map[string]any{"height": 160.0, "width": 160.0}}, {Name: "pad", Args: map[string]any{"padding": []float64{16}}},
	{Name: "resize", Args: map[string]any{"height": 160.0, "width": 160.0}}, {Name: "elastic_transform"}, {Name: "grid_distortion"},
	{Name: "random_brightness_contrast"}, {Name: "random_gamma"}, {Name: "hue_saturation_value"}, {Name: "color_jitter"}, {Name: "to_gray"},
	{Name: "channel_shuffle"}, {Name: "posterize"}, {Name: "solarize"}, {Name: "equalize"}, {Name: "clahe"}, {Name: "gaussian_noise"}, {Name: "iso_noise"},
	{Name: "salt_and_pepper"}, {Name: "gaussian_blur"}, {Name: "motion_blur"}, {Name: "median_blur"}, {Name: "sharpen"},
	{Name: "image_compression", Args: map[string]any{"quality_range": []float64{50, 95}}}, {Name: "coarse_dropout"}, {Name: "random_erasing"}, {Name: "normalize"},
}

func cases(dir string) []benchCase {
	var list []benchCase
	for _, op := range single {
		list = append(list, benchCase{name: op.Name, group: "operations", peers: []string{"operation " + op.Name}, asked: 0.5, unit: "images/s",
			ours: func() (*ourSide, error) { return operation(dir, op) }})
	}
	for _, policy := range []string{"imagenet", "simclr"} {
		list = append(list, benchCase{name: "policy " + policy, group: "policies", long: true, asked: 1.5, unit: "images/s",
			peers: []string{"loader " + policy + " torchvision", "loader " + policy + " albumentations"},
			ours:  func() (*ourSide, error) { return loading(dir, policies[policy], true, 2) }})
	}
	list = append(list, benchCase{name: "decode and resize", group: "decoding", long: true, asked: 1, unit: "images/s", peers: []string{"decode"},
		ours: func() (*ourSide, error) { return decoding(dir) }})
	return append(list, reading(dir)...)
}

// timed calls work, which says how much it did, until so many seconds of processor time went into each thread, and returns how much that is in such
// a second of all threads together. Other processes make the wall's clock run on, this one less.
func timed(ctx context.Context, seconds float64, threads int, work func() (int, error)) (float64, error) {
	n, began := 0, processor()
	for {
		k, err := work()
		if err != nil {
			return 0, err
		}
		n += k
		if took := (processor() - began) / float64(threads); took >= seconds || ctx.Err() != nil {
			return float64(n) / took, ctx.Err()
		}
	}
}

// processor returns the seconds that all threads of this process have run.
func processor() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // it cannot fail for this process
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// operation applies one operation to images in memory, on one thread.
func operation(dir string, op dataset.Operation) (*ourSide, error) {
	images, err := os.ReadFile(filepath.Join(dir, "images.u8"))
	if err != nil {
		return nil, err
	}
	if op.Args == nil {
		op.Args = map[string]any{}
	}
	for _, k := range dataset.OperationKinds() {
		for _, p := range k.Parameters {
			if k.Name == op.Name && p.Name == "p" {
				op.Args["p"] = 1.0
			}
		}
	}
	policy, err := dataset.NewPolicy([]dataset.Operation{op}, 0)
	if err != nil {
		return nil, err
	}
	info := dataset.Info{Classes: []string{"a"}, Height: side, Width: side, Channels: 3}
	g, err := dataset.NewAugmenter(policy, info, nil)
	if err != nil {
		return nil, err
	}
	size, sample := info.ImageSize(), uint64(0)
	scale, shift := g.Normalisation()
	floats := make([]float32, size)
	procs := runtime.GOMAXPROCS(1)
	return &ourSide{close: func() { runtime.GOMAXPROCS(procs) }, run: func(ctx context.Context, seconds float64) (float64, error) {
		return timed(ctx, seconds, 1, func() (int, error) {
			for at := 0; at < len(images); at += size {
				out, _, err := g.Apply(images[at:at+size], 1, 0, sample)
				if err != nil {
					return 0, err
				}
				if sample++; op.Name == "normalize" {
					pixel.Planes(out, floats, side*side, 3, scale, shift)
				}
			}
			return operations, nil
		})
	}}, nil
}

var policies = map[string][]dataset.Operation{
	"imagenet": {crop224, {Name: "horizontal_flip"}, {Name: "normalize"}},
	"simclr": {crop224, {Name: "horizontal_flip"},
		{Name: "color_jitter", Args: map[string]any{"brightness": []float64{0.2, 1.8}, "contrast": []float64{0.2, 1.8}, "saturation": []float64{0.2, 1.8}, "hue": []float64{-0.2, 0.2}, "p": 0.8}},
		{Name: "to_gray", Args: map[string]any{"p": 0.2}}, {Name: "gaussian_blur", Args: map[string]any{"sigma_limit": []float64{0.1, 2}}}, {Name: "normalize"}},
	"none": nil,
}

var crop224 = dataset.Operation{Name: "random_resized_crop", Args: map[string]any{"height": 224.0, "width": 224.0}}

// loading makes batches of 64 out of a stored dataset.
func loading(dir string, operations []dataset.Operation, shuffle bool, workers int) (*ourSide, error) {
	d, err := storedDataset(dir, operations)
	if err != nil {
		return nil, err
	}
	l, err := dataset.NewLoader(d, dataset.LoaderOptions{Batch: 64, Seed: 1, Shuffle: shuffle, Augment: true, DropLast: true, Workers: workers, Layout: dataset.CHWN})
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	epoch := 0
	return &ourSide{close: func() { d.Close() }, run: func(ctx context.Context, seconds float64) (float64, error) {
		return timed(ctx, seconds, workers, func() (int, error) {
			n := 0
			for b, err := range l.Epoch(ctx, epoch, 0) {
				if err != nil {
					return n, err
				}
				n += b.N
			}
			epoch++
			return n, nil
		})
	}}, nil
}

func storedDataset(dir string, operations []dataset.Operation) (*dataset.Dataset, error) {
	pixels, err := os.ReadFile(filepath.Join(dir, "stored.u8"))
	if err != nil {
		return nil, err
	}
	policy, err := dataset.NewPolicy(operations, 0)
	if err != nil {
		return nil, err
	}
	info := dataset.Info{Classes: []string{"a"}, Height: storedSide, Width: storedSide, Channels: 3, Policy: policy}
	path := filepath.Join(dir, "stored.arrow")
	w, err := dataset.Create(path, info)
	if err != nil {
		return nil, err
	}
	for i := range storedCount {
		if err := w.Add(strconv.Itoa(i), 0, pixels[i*info.ImageSize():][:info.ImageSize()]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return dataset.Open(path)
}
