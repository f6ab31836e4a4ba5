package pixel

import "math"

func plainMirror(src, dst []byte, h, w, c int) {
	for y := range h {
		for x := range w {
			copy(dst[(y*w+x)*c:][:c], src[(y*w+w-1-x)*c:][:c])
		}
	}
}

func plainResize(src []byte, sw, c int, dst []byte, dh, dw, first, last int, x axis, rows []int32, weights, row []int16) {
	n := (last - first) * c
	for y := range dh {
		a, b := src[(int(rows[2*y])*sw+first)*c:], src[(int(rows[2*y+1])*sw+first)*c:]
		for i := range n {
			row[i] = int16(a[i])*weights[2*y] + int16(b[i])*weights[2*y+1]
		}
		for i, at := range x.at {
			for k := range c {
				sum := int32(row[int(at)+k])*int32(x.weight[2*i]) + int32(row[int(at)+c+k])*int32(x.weight[2*i+1])
				dst[(y*dw+i)*c+k] = byte((sum + 1<<20) >> 21)
			}
		}
	}
}

func plainScale(src []byte, sw, c int, dst []byte, dh, dw int, x, y spread, row []int16) {
	n := sw * c
	for r := range dh {
		for i := range n {
			sum := int32(64)
			for k := range y.count {
				sum += int32(src[(int(y.at[r])+k)*n+i]) * int32(y.weight[r*y.count+k])
			}
			row[i] = int16(sum >> 7)
		}
		for i := range dw {
			for ch := range c {
				sum := int32(1 << 20)
				for k := range x.count {
					sum += int32(row[(int(x.at[i])+k)*c+ch]) * int32(x.weight[i*x.count+k])
				}
				dst[(r*dw+i)*c+ch] = byte(sum >> 21)
			}
		}
	}
}

const (
	fine = 7 // bits of a position below a pixel
	one  = 1 << fine
)

func fixed(v float64) int {
	return int(int32(min(max(v, -40000), 40000)*one+(65536*one+0.5))) - 65536*one
}

// sample takes one pixel from a position.
func sample(src []byte, h, w, c, sx, sy int, dst []byte, border Border, fill [3]byte) {
	x, y, fx, fy := sx>>fine, sy>>fine, sx&(one-1), sy&(one-1)
	weights := [4]int{(one - fx) * (one - fy), fx * (one - fy), (one - fx) * fy, fx * fy}
	for k := range c {
		sum := 1 << (2*fine - 1)
		for t, weight := range weights {
			px, py := Outside(x+t&1, w, border), Outside(y+t>>1, h, border)
			if px < 0 || py < 0 {
				sum += weight * int(fill[k])
			} else {
				sum += weight * int(src[(py*w+px)*c+k])
			}
		}
		dst[k] = byte(sum >> (2 * fine))
	}
}

func plainWarp(src []byte, h, w, c int, dst []byte, dh, dw int, m *[9]float64, border Border, fill [3]byte) {
	flat := m[6] == 0 && m[7] == 0 && m[8] == 1
	for y := range dh {
		fy := float64(y)
		for x := range dw {
			fx := float64(x)
			// The conversions keep products from being fused with sums on machines that can.
			sx := float64(m[0]*fx) + (float64(m[1]*fy) + m[2])
			sy := float64(m[3]*fx) + (float64(m[4]*fy) + m[5])
			if !flat {
				z := math.Max(float64(m[6]*fx)+(float64(m[7]*fy)+m[8]), 1e-9)
				sx, sy = sx/z, sy/z
			}
			sample(src, h, w, c, fixed(sx), fixed(sy), dst[(y*dw+x)*c:], border, fill)
		}
	}
}

func plainRemap(src []byte, h, w, c int, dst []byte, dx, dy []float32, border Border, fill [3]byte) {
	for y := range h {
		for x := range w {
			i := y*w + x
			sample(src, h, w, c, fixed(float64(dx[i])+float64(x)), fixed(float64(dy[i])+float64(y)), dst[i*c:], border, fill)
		}
	}
}

func plainSmooth(src, dst []float32, h, w int, k []float32) {
	columns := make([]float32, h*w)
	for y := range h {
		for x := range w {
			v := src[y*w+x] * k[0]
			for j := 1; j < len(k); j++ {
				v += float32((src[max(y-j, 0)*w+x] + src[min(y+j, h-1)*w+x]) * k[j])
			}
			columns[y*w+x] = v
		}
	}
	for y := range h {
		row := columns[y*w:][:w]
		for x := range w {
			v := row[x] * k[0]
			for j := 1; j < len(k); j++ {
				v += float32((row[max(x-j, 0)] + row[min(x+j, w-1)]) * k[j])
			}
			dst[y*w+x] = v
		}
	}
}

func plainPlanes(src []byte, dst []float32, pixels, c int, scale, shift []float32) {
	for p := range pixels {
		for k := range c {
			dst[k*pixels+p] = float32(float32(src[p*c+k])*scale[k]) + shift[k]
		}
	}
}

func plainBatch(src []byte, count int, dst []float32, n, first, pixels, c int, scale, shift []float32) {
	for j := range count {
		for p := range pixels {
			for k := range c {
				dst[(k*pixels+p)*n+first+j] = float32(float32(src[(j*pixels+p)*c+k])*scale[k]) + shift[k]
			}
		}
	}
}
