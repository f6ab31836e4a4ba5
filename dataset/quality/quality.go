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
	"math/bits"
	"slices"

	"github.com/zeebo/blake3"
)

// thumb is the side of the thumbnail that candidates are compared by.
const thumb = 12

// Image is what is kept of one image.
type Image struct {
	Height, Width int32    // pixels, where it came from
	Exact         [16]byte // of the decoded pixels as they came from the file
	// Gradient is the difference hash: whether each cell of a grid of 9×8, and of 8×9, is darker than its neighbour to the right, and below.
	// (N. Krawetz, "Kind of Like That", 2013)
	Gradient [2]uint64
	Thumb    [thumb * thumb]byte // grey
	Marked   bool                // its mask, if it has one, is not empty
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

// Measure hashes a decoded picture.
func Measure(m image.Image) Image {
	out := Image{Height: int32(m.Bounds().Dy()), Width: int32(m.Bounds().Dx())}
	out.Exact = exact(m)
	grey := shrink(m, 36, 36)
	cells := func(w, h int) []float64 { return average(grey, 36, 36, w, h) }
	for i, v := range cells(thumb, thumb) {
		out.Thumb[i] = byte(v + 0.5)
	}
	across, down := cells(9, 8), cells(8, 9)
	for y := range 8 {
		for x := range 8 {
			if across[9*y+x] < across[9*y+x+1] {
				out.Gradient[0] |= 1 << (8*y + x)
			}
			if down[8*y+x] < down[8*(y+1)+x] {
				out.Gradient[1] |= 1 << (8*y + x)
			}
		}
	}
	return out
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

// exact is a digest of the pixels, equal for equal pictures whatever the file's format and its number of equal channels.
func exact(m image.Image) (out [16]byte) {
	b := m.Bounds()
	h := blake3.New()
	var size [8]byte
	binary.LittleEndian.PutUint32(size[:], uint32(b.Dx()))
	binary.LittleEndian.PutUint32(size[4:], uint32(b.Dy()))
	h.Write(size[:])
	row := make([]byte, 3*b.Dx())
	for y := b.Min.Y; y < b.Max.Y; y++ {
		pixelRow(row, m, y)
		h.Write(row)
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

// shrink returns grey levels (h, w), each of the mean over its part of the picture, or of the nearest pixel where that is smaller.
func shrink(m image.Image, w, h int) []float64 {
	b := m.Bounds()
	values := make([]float64, w*h)
	row, sums := make([]byte, b.Dx()), make([]int, w)
	edges := make([]int, w+1)
	for x := range edges {
		edges[x] = x * b.Dx() / w
	}
	for y := range h {
		y0, y1 := y*b.Dy()/h, max((y+1)*b.Dy()/h, y*b.Dy()/h+1)
		clear(sums)
		for i := y0; i < y1; i++ {
			grey := greyRow(row, m, b.Min.Y+i)
			for x := range w {
				for _, v := range grey[edges[x]:max(edges[x+1], edges[x]+1)] {
					sums[x] += int(v)
				}
			}
		}
		for x := range w {
			values[y*w+x] = float64(sums[x]) / float64((y1-y0)*max(edges[x+1]-edges[x], 1))
		}
	}
	return values
}

// greyRow returns the grey levels of a row, which may be written to row.
func greyRow(row []byte, m image.Image, y int) []byte {
	b := m.Bounds()
	switch m := m.(type) {
	case *image.Gray:
		return m.Pix[(y-b.Min.Y)*m.Stride:][:b.Dx()]
	case *image.YCbCr:
		return m.Y[(y-b.Min.Y)*m.YStride:][:b.Dx()]
	case *image.RGBA:
		for x := range row {
			p := m.Pix[(y-b.Min.Y)*m.Stride+4*x:]
			row[x] = byte((19595*uint32(p[0]) + 38470*uint32(p[1]) + 7471*uint32(p[2]) + 1<<15) >> 16)
		}
	default:
		for x := range row {
			row[x] = color.GrayModel.Convert(m.At(b.Min.X+x, y)).(color.Gray).Y
		}
	}
	return row
}

// average divides a grid into w×h parts, whose number of rows and columns may be broken, and returns their means.
func average(grid []float64, gw, gh, w, h int) []float64 {
	out := make([]float64, w*h)
	for y := range h {
		for x := range w {
			x0, x1 := float64(x*gw)/float64(w), float64((x+1)*gw)/float64(w)
			y0, y1 := float64(y*gh)/float64(h), float64((y+1)*gh)/float64(h)
			sum, weight := 0.0, 0.0
			for i := int(y0); i < gh && float64(i) < y1; i++ {
				wy := min(float64(i+1), y1) - max(float64(i), y0)
				for k := int(x0); k < gw && float64(k) < x1; k++ {
					wx := min(float64(k+1), x1) - max(float64(k), x0)
					sum += wx * wy * grid[i*gw+k]
					weight += wx * wy
				}
			}
			out[y*w+x] = sum / weight
		}
	}
	return out
}

// Pair is two images, by place, that look alike; A < B.
type Pair struct {
	A, B int
	Same bool // pixel for pixel
}

// Bounds of what is taken for alike.
const (
	maxBits       = 7 // of the 128 of Gradient; below the number of bands, so that one of them is equal
	bands         = 8
	maxDifference = 2.5 // mean over the thumbnail, grey levels
	// maxCompared bounds the comparisons for each image on average, where many look alike at a glance.
	maxCompared = 500
)

// Duplicates finds the pairs of images that are identical or look alike, in order. Of a group of identical images each but the first
// makes one pair, with the first; only the first of them is compared with others. skipped counts comparisons that were left out because
// too many images fall together.
func Duplicates(images []Image) (pairs []Pair, skipped int64) {
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
	left := int64(maxCompared) * int64(len(unique))
	seen := map[[2]int]bool{}
	for band := range bands {
		buckets := map[uint16][]int{}
		for _, i := range unique {
			key := uint16(images[i].Gradient[band/4] >> (16 * (band % 4)))
			buckets[key] = append(buckets[key], i)
		}
		for _, i := range unique { // in the order of the images, whatever that of the map
			key := uint16(images[i].Gradient[band/4] >> (16 * (band % 4)))
			bucket := buckets[key]
			if bucket[0] != i {
				continue
			}
			for n, a := range bucket {
				if rest := int64(len(bucket) - n - 1); rest > left {
					skipped += rest
					continue
				}
				left -= int64(len(bucket) - n - 1)
				for _, b := range bucket[n+1:] {
					if alike(&images[a], &images[b]) && !seen[[2]int{a, b}] {
						seen[[2]int{a, b}] = true
						pairs = append(pairs, Pair{a, b, false})
					}
				}
			}
		}
	}
	slices.SortFunc(pairs, func(a, b Pair) int { return cmp.Or(a.A-b.A, a.B-b.B) })
	return pairs, skipped
}

func alike(a, b *Image) bool {
	if bits.OnesCount64(a.Gradient[0]^b.Gradient[0])+bits.OnesCount64(a.Gradient[1]^b.Gradient[1]) > maxBits {
		return false
	}
	ratio := math.Abs(math.Log(float64(a.Width) * float64(b.Height) / (float64(a.Height) * float64(b.Width))))
	if ratio > 0.05 {
		return false
	}
	sum, lo, hi := 0, byte(255), byte(0)
	for i := range a.Thumb {
		d := int(a.Thumb[i]) - int(b.Thumb[i])
		sum += max(d, -d)
		lo, hi = min(lo, a.Thumb[i]), max(hi, a.Thumb[i])
	}
	// A flat picture looks like every other flat one.
	return float64(sum) <= maxDifference*thumb*thumb && int(hi)-int(lo) > 8*maxDifference
}
