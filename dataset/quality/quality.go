// Package quality measures images and data sets: sizes, colours, and which images are the same or look alike.
//
// Rules of the room: what it says follows from the images and their order alone. It knows no file format and no dataset.
package quality

import (
	"cmp"
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/darkroom-dev/darkroom/dataset/similar"
)

// Image is what is kept of one image.
type Image struct {
	Height, Width int32    // pixels, where it came from
	Exact         [16]byte // of the decoded pixels as they came from the file
	Sketch        similar.Sketch
	Marked        bool // its mask, if it has one, is not empty
}

// Colours are sums over the pixels of images as the dataset holds them, of values from 0 to 1, by channel.
type Colours struct {
	Sum, Square [3]float64
	Pixels      int64
}

// Add adds the sums of other pixels.
func (c *Colours) Add(o Colours) {
	for i := range c.Sum {
		c.Sum[i] += o.Sum[i]
		c.Square[i] += o.Square[i]
	}
	c.Pixels += o.Pixels
}

// Mean returns the mean of a channel.
func (c *Colours) Mean(channel int) float64 { return c.Sum[channel] / float64(c.Pixels) }

// Deviation is the standard deviation over all pixels.
func (c *Colours) Deviation(channel int) float64 {
	m := c.Mean(channel)
	return math.Sqrt(max(0, c.Square[channel]/float64(c.Pixels)-m*m))
}

// Channels sums over the pixels (H, W, C) of an image.
func Channels(pixels []byte, channels int) Colours {
	var sum, square [3]uint64
	for i := 0; i+channels <= len(pixels); i += channels {
		for c := range channels {
			v := uint64(pixels[i+c])
			sum[c] += v
			square[c] += v * v
		}
	}
	out := Colours{Pixels: int64(len(pixels) / channels)}
	for c := range channels {
		out.Sum[c], out.Square[c] = float64(sum[c])/255, float64(square[c])/(255*255)
	}
	return out
}

// Exact is a digest of the decoded pixels, equal for equal pictures whatever the file's format and its number of equal channels.
func Exact(m image.Image) (out [16]byte) {
	b := m.Bounds()
	h := blake3.New()
	var size [8]byte
	binary.LittleEndian.PutUint32(size[:], uint32(b.Dx()))
	binary.LittleEndian.PutUint32(size[4:], uint32(b.Dy()))
	h.Write(size[:]) //nolint:errcheck // a digest takes everything
	row := make([]byte, 3*b.Dx())
	for y := b.Min.Y; y < b.Max.Y; y++ {
		pixelRow(row, m, y)
		h.Write(row) //nolint:errcheck // as above
	}
	copy(out[:], h.Sum(nil))
	return out
}

// pixelRow writes a row of the picture as RGB.
func pixelRow(to []byte, m image.Image, y int) {
	b := m.Bounds()
	switch m := m.(type) {
	case *image.Gray:
		for x, v := range m.Pix[(y-b.Min.Y)*m.Stride:][:b.Dx()] {
			to[3*x], to[3*x+1], to[3*x+2] = v, v, v
		}
	case *image.RGBA:
		for x := range b.Dx() {
			copy(to[3*x:3*x+3], m.Pix[(y-b.Min.Y)*m.Stride+4*x:])
		}
	case *image.YCbCr:
		for x := range b.Dx() {
			i, j := m.YOffset(x+b.Min.X, y), m.COffset(x+b.Min.X, y)
			to[3*x], to[3*x+1], to[3*x+2] = color.YCbCrToRGB(m.Y[i], m.Cb[j], m.Cr[j])
		}
	default:
		for x := range b.Dx() {
			c := color.NRGBAModel.Convert(m.At(x+b.Min.X, y)).(color.NRGBA)
			to[3*x], to[3*x+1], to[3*x+2] = c.R, c.G, c.B
		}
	}
}

// Pair is two images, by place, that look alike; A < B.
type Pair struct {
	A, B int
	Same bool // pixel for pixel
}

// Duplicates finds the pairs of images that are identical, or look alike as package similar tells, in order. Of a group of identical images
// each but the first makes one pair, with the first; only the first of them is compared with others.
func Duplicates(images []Image) []Pair {
	var pairs []Pair
	first := map[[16]byte]int{}
	var unique []int
	for i := range images {
		if j, ok := first[images[i].Exact]; ok {
			pairs = append(pairs, Pair{j, i, true})
			continue
		}
		first[images[i].Exact] = i
		unique = append(unique, i)
	}
	sketches := make([]similar.Sketch, len(unique))
	for k, i := range unique {
		sketches[k] = images[i].Sketch
	}
	for _, p := range similar.Pairs(sketches) {
		pairs = append(pairs, Pair{unique[p[0]], unique[p[1]], false})
	}
	slices.SortFunc(pairs, func(a, b Pair) int { return cmp.Or(a.A-b.A, a.B-b.B) })
	return pairs
}
