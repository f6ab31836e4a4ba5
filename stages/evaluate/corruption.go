package evaluate

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// spoiler spoils one image, (h, w, c) bytes that it must not write to, at a strength. s is the image's own random stream.
type spoiler func(pixels []byte, h, w, c int, strength float64, s dataset.Stream) []byte

// corruption is a way to spoil images. Its strengths are those that Hendrycks and Dietterich (2019) give ImageNet-C where they have it;
// lengths are for images of 224 pixels and follow the size.
type corruption struct {
	name      string
	strengths [5]float64 // by severity
	spoil     spoiler
}

var corruptions = []corruption{
	{"gaussian_noise", [5]float64{0.08, 0.12, 0.18, 0.26, 0.38}, gaussianNoise}, // deviation, of the range
	{"impulse_noise", [5]float64{0.03, 0.06, 0.09, 0.17, 0.27}, impulseNoise},   // share of pixels turned black or white
	{"gaussian_blur", [5]float64{1, 2, 3, 4, 6}, gaussianBlur},                  // deviation, pixels
	{"motion_blur", [5]float64{5, 9, 13, 19, 27}, motionBlur},                   // length, pixels
	{"brightness", [5]float64{0.1, 0.2, 0.3, 0.4, 0.5}, shift},                  // added, of the range
	{"darkness", [5]float64{-0.1, -0.2, -0.3, -0.4, -0.5}, shift},               // added, of the range
	{"contrast", [5]float64{0.4, 0.3, 0.2, 0.1, 0.05}, contrast},                // of the distance from the mean
	{"pixelate", [5]float64{0.6, 0.5, 0.4, 0.3, 0.25}, pixelate},                // of the sides
	{"jpeg", [5]float64{25, 18, 15, 10, 7}, compress},                           // quality
}

func corruptionNames() []string {
	var out []string
	for _, c := range corruptions {
		out = append(out, c.name)
	}
	return out
}

// robustness is what a corruption does to the answers.
type robustness struct {
	name            string
	model, baseline []float64 // accuracies, in the order of the severities; baseline is nil without one
}

// spoil lets a model answer the images under every corruption.
func (r *result) spoil(ctx context.Context, a *asking) error {
	info := r.data.Info()
	for k, name := range r.corruptions {
		var found corruption
		for _, c := range corruptions {
			if c.name == name {
				found = c
			}
		}
		var accuracies []float64
		for _, severity := range r.severities {
			strength := found.strengths[severity-1]
			logits, err := a.ask(ctx, fmt.Sprintf("%s, %s %d", a.port, name, severity), func(row int, pixels []byte) []byte {
				return found.spoil(pixels, info.Height, info.Width, info.Channels, strength, dataset.NewStream(0, "corruption "+name, uint64(row)))
			})
			if err != nil {
				return err
			}
			j, err := r.score(a.port, logits)
			if err != nil {
				return err
			}
			accuracies = append(accuracies, j.accuracy())
		}
		if a.port == "model" {
			r.robust = append(r.robust, robustness{name: name, model: accuracies})
		} else {
			r.robust[k].baseline = accuracies
		}
	}
	return nil
}

// robustnessValue is what the stage reports by corruption.
func (r *result) robustnessValue() map[string]any {
	out := map[string]any{}
	for _, c := range r.robust {
		out[c.name] = c.model
	}
	return out
}

// robustAccuracy is the mean over all corruptions and severities; nil without corruptions.
func (r *result) robustAccuracy() any {
	sum, n := 0.0, 0
	for _, c := range r.robust {
		for _, a := range c.model {
			sum += a
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return sum / float64(n)
}

// clip rounds to a byte.
func clip(v float64) byte { return byte(min(max(math.Floor(v+0.5), 0), 255)) }

// normals are the quantiles of the standard normal distribution at the middles of equal shares.
var normals = sync.OnceValue(func() []float64 {
	out := make([]float64, 8192)
	for i := range out {
		out[i] = math.Sqrt2 * math.Erfinv(2*(float64(i)+0.5)/float64(len(out))-1)
	}
	return out
})

func gaussianNoise(pixels []byte, _, _, _ int, strength float64, s dataset.Stream) []byte {
	table := make([]int16, 8192)
	for i, z := range normals() {
		table[i] = int16(math.Round(255 * strength * z))
	}
	out := make([]byte, len(pixels))
	pixel.AddNoise(pixels, out, s.Uint64(), table)
	return out
}

func impulseNoise(pixels []byte, h, w, c int, strength float64, s dataset.Stream) []byte {
	const all = 1<<32 - 1
	out := make([]byte, len(pixels))
	pixel.Salt(pixels, out, h*w, c, s.Uint64(), uint32(strength/2*all), uint32(strength*all))
	return out
}

func shift(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	table := make([]byte, 256)
	for v := range table {
		table[v] = clip(float64(v) + float64(255*strength))
	}
	out := make([]byte, len(pixels))
	pixel.Lookup(pixels, out, h*w, c, table)
	return out
}

// contrast draws each channel nearer to its mean.
func contrast(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	means := make([]float64, c)
	for i, v := range pixels {
		means[i%c] += float64(v)
	}
	table := make([]byte, 256*c)
	for i := range table {
		mean := means[i/256] / float64(h*w)
		table[i] = clip(mean + float64(strength*(float64(i%256)-mean)))
	}
	out := make([]byte, len(pixels))
	pixel.Lookup(pixels, out, h*w, c, table)
	return out
}

// longSide is the side of the images that lengths are given for.
const longSide = 224

func gaussianBlur(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	sigma := strength * float64(max(h, w)) / longSide
	out := make([]byte, len(pixels))
	pixel.Blur(pixels, out, h, w, c, pixel.Gaussian(sigma, int(math.Ceil(3*sigma))))
	return out
}

// motionBlur takes the mean along a stretch of the rows, whose ends may be parts of pixels.
func motionBlur(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	const one = 16384
	half := max(0, strength*float64(max(h, w))/longSide-1) / 2 // of the stretch, beyond the pixel itself
	radius := int(math.Ceil(half))
	taps := []pixel.Tap{}
	left := one
	for x := 1; x <= radius; x++ {
		weight := int32(min(1, half-float64(x-1)) / (1 + 2*half) * one)
		taps = append(taps, pixel.Tap{DX: int32(-x), Weight: weight}, pixel.Tap{DX: int32(x), Weight: weight})
		left -= 2 * int(weight)
	}
	taps = append(taps, pixel.Tap{Weight: int32(left)}) // and what rounding left
	out := make([]byte, len(pixels))
	pixel.Filter(pixels, out, h, w, c, radius, taps)
	return out
}

// pixelate scales down by taking the mean of areas, and up by repeating.
func pixelate(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	rows, columns := max(1, int(float64(h)*strength)), max(1, int(float64(w)*strength))
	out := make([]byte, len(pixels))
	for row := range rows {
		top, bottom := row*h/rows, (row+1)*h/rows
		for column := range columns {
			left, right := column*w/columns, (column+1)*w/columns
			for k := range c {
				sum := 0
				for y := top; y < bottom; y++ {
					for x := left; x < right; x++ {
						sum += int(pixels[(y*w+x)*c+k])
					}
				}
				mean := clip(float64(sum) / float64((bottom-top)*(right-left)))
				for y := top; y < bottom; y++ {
					for x := left; x < right; x++ {
						out[(y*w+x)*c+k] = mean
					}
				}
			}
		}
	}
	return out
}

// compress does what writing as JPEG and reading again does.
func compress(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	out := make([]byte, len(pixels))
	pixel.Compress(pixels, out, h, w, c, int(strength))
	return out
}
