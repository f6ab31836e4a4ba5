// Package similar finds pictures that look alike: copies that were scaled, encoded again or made a little brighter.
//
// Two pictures are alike when their difference hashes are nearly equal and what is left of them at 16×16 pixels differs, but
// for the mean brightness, by much less than it varies. The second test is what keeps apart the smooth or regular
// surfaces of industry, whose hashes often agree.
package similar

import (
	"math"
	"math/bits"
)

const (
	side        = 16 // of a sketch, pixels
	maxDistance = 4  // bits of the hash that may differ
	bands       = maxDistance + 1
	// maxCompared bounds how many of the pictures that share part of a hash are compared with each further one.
	maxCompared = 512
	// maxDifference is how much sketches may differ on average, in units of their deviation.
	maxDifference = 0.12
	flat          = 1.0 // grey levels: what may differ whatever the deviation
)

// Sketch is what a comparison knows of a picture.
type Sketch struct {
	hash      uint64
	deviation float64           // standard deviation of its pixels, grey levels
	pixels    [side * side]int8 // grey levels less their mean
}

// NewSketch returns the sketch of a picture of (height, width, channels) bytes.
func NewSketch(picture []byte, height, width, channels int) Sketch {
	var s Sketch
	// The difference hash: whether each of 8×8 places is brighter than its right neighbour.
	rough := shrink(picture, height, width, channels, 8, 9)
	for y := range 8 {
		for x := range 8 {
			s.hash <<= 1
			if rough[y*9+x] > rough[y*9+x+1] {
				s.hash |= 1
			}
		}
	}
	fine := shrink(picture, height, width, channels, side, side)
	mean := 0.0
	for _, v := range fine {
		mean += v / (side * side)
	}
	for i, v := range fine {
		s.deviation += (v - mean) * (v - mean) / (side * side)
		s.pixels[i] = int8(math.Round((v - mean) / 2)) // halved, it fits
	}
	s.deviation = math.Sqrt(s.deviation)
	return s
}

// shrink returns mean grey levels (Rec. 601) over a grid of rows×columns areas.
func shrink(picture []byte, height, width, channels, rows, columns int) []float64 {
	out := make([]float64, rows*columns)
	for r := range rows {
		top := r * height / rows
		bottom := max(top+1, (r+1)*height/rows)
		for c := range columns {
			left := c * width / columns
			right := max(left+1, (c+1)*width/columns)
			sum := 0
			for y := top; y < bottom; y++ {
				row := picture[(y*width+left)*channels : (y*width+right)*channels]
				if channels == 1 {
					for _, v := range row {
						sum += 1000 * int(v)
					}
					continue
				}
				for x := 0; x < len(row); x += 3 {
					sum += 299*int(row[x]) + 587*int(row[x+1]) + 114*int(row[x+2])
				}
			}
			out[r*columns+c] = float64(sum) / 1000 / float64((bottom-top)*(right-left))
		}
	}
	return out
}

// Alike reports whether two sketches are of pictures that look alike.
func Alike(a, b *Sketch) bool {
	if bits.OnesCount64(a.hash^b.hash) > maxDistance {
		return false
	}
	difference := 0
	for i, v := range a.pixels {
		d := int(v) - int(b.pixels[i])
		difference += max(d, -d)
	}
	return 2*float64(difference)/(side*side) <= max(flat, maxDifference*min(a.deviation, b.deviation))
}

// Pairs returns pairs of indexes of pictures that look alike, the smaller first: enough to connect all that are, not
// every pair of a large set. Their number and order follow from the sketches.
func Pairs(sketches []Sketch) [][2]int {
	var out [][2]int
	seen := map[[2]int]bool{}
	for band := range bands {
		// Hashes that differ in at most maxDistance bits agree in one band of bits at least.
		low, high := 64*band/bands, 64*(band+1)/bands
		buckets := map[uint64][]int32{}
		for i := range sketches {
			key := sketches[i].hash >> low & (1<<(high-low) - 1)
			bucket := buckets[key]
			for _, j := range bucket[max(0, len(bucket)-maxCompared):] {
				pair := [2]int{int(j), i}
				if Alike(&sketches[j], &sketches[i]) && !seen[pair] {
					seen[pair] = true
					out = append(out, pair)
				}
			}
			buckets[key] = append(bucket, int32(i))
		}
	}
	return out
}
