package evaluate

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"math"

	"github.com/darkroom-dev/darkroom/dataset"
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
	{"impulse_noise", [5]float64{0.03, 0.06, 0.09, 0.17, 0.27}, impulseNoise},   // share of values turned to black or white
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

func each(pixels []byte, f func(v float64) float64) []byte {
	out := make([]byte, len(pixels))
	for i, v := range pixels {
		out[i] = clip(f(float64(v)))
	}
	return out
}

func gaussianNoise(pixels []byte, _, _, _ int, strength float64, s dataset.Stream) []byte {
	return each(pixels, func(v float64) float64 { return v + float64(255*strength*s.Normal()) })
}

func impulseNoise(pixels []byte, _, _, _ int, strength float64, s dataset.Stream) []byte {
	return each(pixels, func(v float64) float64 {
		switch u := s.Float(); {
		case u < strength/2:
			return 0
		case u < strength:
			return 255
		}
		return v
	})
}

func shift(pixels []byte, _, _, _ int, strength float64, _ dataset.Stream) []byte {
	return each(pixels, func(v float64) float64 { return v + float64(255*strength) })
}

// contrast draws each channel nearer to its mean.
func contrast(pixels []byte, _, _, c int, strength float64, _ dataset.Stream) []byte {
	means := make([]float64, c)
	for i, v := range pixels {
		means[i%c] += float64(v)
	}
	out := make([]byte, len(pixels))
	for i, v := range pixels {
		mean := means[i%c] / float64(len(pixels)/c)
		out[i] = clip(mean + float64(strength*(float64(v)-mean)))
	}
	return out
}

// longSide is the side of the images that lengths are given for.
const longSide = 224

func gaussianBlur(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	sigma := strength * float64(max(h, w)) / longSide
	radius := int(math.Ceil(3 * sigma))
	kernel, sum := make([]float64, 2*radius+1), 0.0
	for i := range kernel {
		d := float64(i-radius) / sigma
		kernel[i] = math.Exp(-d * d / 2)
		sum += kernel[i]
	}
	for i := range kernel {
		kernel[i] /= sum
	}
	return convolve(convolve(pixels, h, w, c, kernel, false), h, w, c, kernel, true)
}

func motionBlur(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	radius := max(1, int(strength*float64(max(h, w))/longSide/2+0.5))
	kernel := make([]float64, 2*radius+1)
	for i := range kernel {
		kernel[i] = 1 / float64(len(kernel))
	}
	return convolve(pixels, h, w, c, kernel, false)
}

// convolve runs a kernel of odd length along rows, or down columns; the border's pixels go on outside.
func convolve(pixels []byte, h, w, c int, kernel []float64, down bool) []byte {
	out := make([]byte, len(pixels))
	radius := len(kernel) / 2
	for y := range h {
		for x := range w {
			for k := range c {
				sum := 0.0
				for i, weight := range kernel {
					atY, atX := y, min(max(x+i-radius, 0), w-1)
					if down {
						atY, atX = min(max(y+i-radius, 0), h-1), x
					}
					sum += float64(weight * float64(pixels[(atY*w+atX)*c+k]))
				}
				out[(y*w+x)*c+k] = clip(sum)
			}
		}
	}
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

// compress encodes as JPEG and decodes again.
func compress(pixels []byte, h, w, c int, strength float64, _ dataset.Stream) []byte {
	var img image.Image = &image.Gray{Pix: pixels, Stride: w, Rect: image.Rect(0, 0, w, h)}
	if c == 3 {
		colour := image.NewRGBA(image.Rect(0, 0, w, h))
		for i := range h * w {
			copy(colour.Pix[4*i:], pixels[3*i:3*i+3])
			colour.Pix[4*i+3] = 255
		}
		img = colour
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: int(strength)}); err != nil {
		panic(fmt.Sprintf("evaluate: encoding an image in memory: %v", err)) // the sides are within what JPEG holds
	}
	back, err := jpeg.Decode(&b)
	if err != nil {
		panic(fmt.Sprintf("evaluate: decoding what was just encoded: %v", err))
	}
	out := make([]byte, 0, len(pixels))
	for y := range h {
		for x := range w {
			r, g, b, _ := back.At(x, y).RGBA()
			if c == 1 {
				out = append(out, byte(r>>8))
				continue
			}
			out = append(out, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	return out
}
