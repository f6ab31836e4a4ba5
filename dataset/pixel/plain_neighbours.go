package pixel

import "slices"

func plainBlur(padded, dst []byte, h, w, c int, k []uint16) {
	radius := len(k) - 1
	line := (w + 2*radius) * c
	row := make([]int, line)
	for y := range h {
		for i := range line {
			row[i] = int(padded[(y+radius)*line+i]) * int(k[0])
			for j := 1; j <= radius; j++ {
				row[i] += (int(padded[(y+radius-j)*line+i]) + int(padded[(y+radius+j)*line+i])) * int(k[j])
			}
		}
		for i := range w * c {
			at := i + radius*c
			sum := row[at]*int(k[0]) + 32768
			for j := 1; j <= radius; j++ {
				sum += (row[at-j*c] + row[at+j*c]) * int(k[j])
			}
			dst[y*w*c+i] = byte(sum >> 16)
		}
	}
}

func plainFilter(padded, dst []byte, h, w, c, radius int, taps []Tap) {
	line := (w + 2*radius) * c
	for y := range h {
		for i := range w * c {
			sum := 8192
			for _, t := range taps {
				sum += int(padded[(y+radius+int(t.DY))*line+(radius+int(t.DX))*c+i]) * int(t.Weight)
			}
			dst[y*w*c+i] = clip(sum >> 14)
		}
	}
}

func plainMedian(padded, dst []byte, h, w, c, radius int) {
	line, side := (w+2*radius)*c, 2*radius+1
	var values []byte
	for y := range h {
		for i := range w * c {
			values = values[:0]
			for dy := range side {
				for dx := range side {
					values = append(values, padded[(y+dy)*line+dx*c+i])
				}
			}
			slices.Sort(values)
			dst[y*w*c+i] = values[len(values)/2]
		}
	}
}
