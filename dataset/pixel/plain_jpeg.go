package pixel

// cosines[u][x] = c(u)/2·cos((2x+1)uπ/16)
var cosines = [8][8]float32{
	{0.35355339, 0.35355339, 0.35355339, 0.35355339, 0.35355339, 0.35355339, 0.35355339, 0.35355339},
	{0.49039264, 0.41573481, 0.27778512, 0.09754516, -0.09754516, -0.27778512, -0.41573481, -0.49039264},
	{0.46193977, 0.19134172, -0.19134172, -0.46193977, -0.46193977, -0.19134172, 0.19134172, 0.46193977},
	{0.41573481, -0.09754516, -0.49039264, -0.27778512, 0.27778512, 0.49039264, 0.09754516, -0.41573481},
	{0.35355339, -0.35355339, -0.35355339, 0.35355339, 0.35355339, -0.35355339, -0.35355339, 0.35355339},
	{0.27778512, -0.49039264, 0.09754516, 0.41573481, -0.41573481, -0.09754516, 0.49039264, -0.27778512},
	{0.19134172, -0.46193977, 0.46193977, -0.19134172, -0.19134172, 0.46193977, -0.46193977, 0.19134172},
	{0.09754516, -0.27778512, 0.41573481, -0.49039264, 0.49039264, -0.41573481, 0.27778512, -0.09754516},
}

type block [8][8]float32

// turn gives (M·in)ᵀ, or (Mᵀ·in)ᵀ.
func (in *block) turn(transposed bool) *block {
	var out block
	for u := range 8 {
		for x := range 8 {
			sum := float32(0)
			for k := range 8 {
				m := cosines[u][k]
				if transposed {
					m = cosines[k][u]
				}
				sum += float32(in[k][x] * m)
			}
			out[x][u] = sum
		}
	}
	return &out
}

func plainQuantise(plane, out []int16, h, w int, table []uint16) {
	for y := 0; y < h; y += 8 {
		for x := 0; x < w; x += 8 {
			var a block
			for r := range 8 {
				for k := range 8 {
					a[r][k] = float32(plane[(y+r)*w+x+k])
				}
			}
			b := a.turn(false).turn(false)
			for v := range 8 {
				for u := range 8 {
					step := float32(table[8*v+u])
					q, half := b[v][u]*(1/step), float32(0.5)
					if q < 0 {
						half = -0.5
					}
					b[v][u] = float32(int(q+half)) * step
				}
			}
			b = b.turn(true).turn(true)
			for r := range 8 {
				for k := range 8 {
					out[(y+r)*w+x+k] = int16(int(min(max(b[r][k], -128), 127)+128.5) - 128)
				}
			}
		}
	}
}

func plainToYCC(src []byte, y, cb, cr []int16, h, w, stride int) {
	rows := (h + 15) / 16 * 16
	at := func(row, x int) (r, g, b int) {
		p := src[(min(row, h-1)*w+min(x, w-1))*3:]
		return int(p[0]), int(p[1]), int(p[2])
	}
	for row := range rows {
		for x := range stride {
			r, g, b := at(row, x)
			y[row*stride+x] = int16((19595*r+38470*g+7471*b+32768)>>16 - 128)
		}
	}
	for row := range rows / 2 {
		for x := range stride / 2 {
			bias := 1 + x&1
			sumB, sumR := bias, bias
			for k := range 4 {
				r, g, b := at(2*row+k/2, 2*x+k%2)
				sumB += (-11059*r - 21709*g + 32768*b + 32767) >> 16
				sumR += (32768*r - 27439*g - 5329*b + 32767) >> 16
			}
			cb[row*stride/2+x], cr[row*stride/2+x] = int16(sumB>>2), int16(sumR>>2)
		}
	}
}

func plainFromYCC(y, cb, cr []int16, dst []byte, h, w, stride int) {
	n, rows, half := (w+1)/2, (h+1)/2, stride/2
	// Three quarters of the nearer sample and one of the farther, along both axes.
	widen := func(plane []int16, row, x int) int {
		near, far := row/2, row/2-1
		if row&1 == 1 {
			far = row/2 + 1
		}
		far = min(max(far, 0), rows-1)
		sum := func(x int) int { return 3*int(plane[near*half+x]) + int(plane[far*half+x]) }
		switch {
		case x == 0:
			return (4*sum(0) + 8) >> 4
		case x == 2*n-1:
			return (4*sum(n-1) + 7) >> 4
		case x&1 == 0:
			return (3*sum(x/2) + sum(x/2-1) + 8) >> 4
		}
		return (3*sum(x/2) + sum(x/2+1) + 7) >> 4
	}
	for row := range h {
		for x := range w {
			luma, b, r := int(y[row*stride+x])+128, widen(cb, row, x), widen(cr, row, x)
			to := dst[(row*w+x)*3:]
			to[0] = clip(luma + (91881*r+32768)>>16)
			to[1] = clip(luma + (-22554*b-46802*r+32768)>>16)
			to[2] = clip(luma + (116130*b+32768)>>16)
		}
	}
}
