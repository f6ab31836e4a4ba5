package pixel

func clip(v int) byte { return byte(min(max(v, 0), 255)) }

func plainLookup(src, dst []byte, pixels, c int, table []byte) {
	for i := range pixels * c {
		if len(table) > 256 {
			dst[i] = table[256*(i%c)+int(src[i])]
		} else {
			dst[i] = table[src[i]]
		}
	}
}

func plainHistogram(src []byte, pixels, c int, counts []uint32) {
	for i := range pixels * c {
		counts[256*(i%c)+int(src[i])]++
	}
}

func luma(r, g, b byte) int { return (int(r)*4899 + int(g)*9617 + int(b)*1868 + 8192) >> 14 }

func plainGrey(src, dst []byte, pixels, channels int) {
	for p := range pixels {
		for k := range channels {
			dst[p*channels+k] = byte(luma(src[3*p], src[3*p+1], src[3*p+2]))
		}
	}
}

func plainSaturate(src, dst []byte, pixels, factor int) {
	for p := range pixels {
		base := luma(src[3*p], src[3*p+1], src[3*p+2])*(256-factor) + 128
		for k := range 3 {
			dst[3*p+k] = clip((int(src[3*p+k])*factor + base) >> 8)
		}
	}
}

func plainShuffle(src, dst []byte, pixels int, order [3]int) {
	for p := range pixels {
		for k := range 3 {
			dst[3*p+k] = src[3*p+order[k]]
		}
	}
}

// hueOf returns the hue times the chroma, in sixths of the circle, -d to 5·d; and the largest and smallest channel.
func hueOf(r, g, b int) (raw, high, low int) {
	high, low = max(r, g, b), min(r, g, b)
	d := high - low
	switch high {
	case r:
		return g - b, high, low
	case g:
		return b - r + 2*d, high, low
	}
	return r - g + 4*d, high, low
}

func plainHSV(src, dst []byte, pixels, hue, saturation, value int) {
	for p := range pixels {
		raw, v, low := hueOf(int(src[3*p]), int(src[3*p+1]), int(src[3*p+2]))
		d := v - low
		h := int(float32(raw*30)/float32(max(d, 1))+180.5) - 180
		s := int(float32(d*255)/float32(max(v, 1)) + 0.5)
		h = (h + hue + 360) % 180
		s2 := clip(s + saturation)
		if s == 0 {
			s2 = 0
		}
		fv, fs, fh := float32(clip(v+value)), float32(s2)/255, float32(h)/30
		for k, n := range [3]float32{5, 3, 1} {
			at := n + fh
			if at >= 6 {
				at -= 6
			}
			ramp := max(min(at, 4-at, 1), 0)
			dst[3*p+k] = clip(int(fv - float32(float32(fv*fs)*ramp) + 0.5))
		}
	}
}

func plainToLab(src, lab []byte, pixels int) {
	for p := range pixels {
		r, g, b := int(linear[src[3*p]]), int(linear[src[3*p+1]]), int(linear[src[3*p+2]])
		x := int(root[(r*1777+g*1541+b*778+2048)>>12])
		y := int(root[(r*871+g*2929+b*296+2048)>>12])
		z := int(root[(r*73+g*448+b*3575+2048)>>12])
		lab[p] = clip((y*296 - 1336934 + 16384) >> 15)
		lab[pixels+p] = clip(((x-y)*500 + 128<<15 + 16384) >> 15)
		lab[2*pixels+p] = clip(((y-z)*200 + 128<<15 + 16384) >> 15)
	}
}

func plainFromLab(lab, dst []byte, pixels int) {
	cube := func(f float32) float32 {
		if f > 6.0/29 {
			return float32(float32(f*f) * f)
		}
		return (f - 16.0/116) / 7.787
	}
	for p := range pixels {
		fy := (float32(lab[p])/2.55 + 16) / 116
		fx, fz := fy+(float32(lab[pixels+p])-128)/500, fy-(float32(lab[2*pixels+p])-128)/200
		x, y, z := float32(cube(fx)*0.950456), cube(fy), float32(cube(fz)*1.088754)
		for k, m := range [3][3]float32{{3.240479, -1.53715, -0.498535}, {-0.969256, 1.875991, 0.041556}, {0.055648, -0.204043, 1.057311}} {
			v := float32(x * m[0])
			v += float32(y * m[1])
			v += float32(z * m[2])
			dst[3*p+k] = gamma[int(float32(min(max(v, 0), 1)*4095)+0.5)]
		}
	}
}

func plainTiles(src, dst []byte, h, w, rows, columns, th, tw int, tables []byte) {
	for y := range h {
		py := y*256/th - 128
		for x := range w {
			px, v := x*256/tw-128, int(src[y*w+x])
			get := func(row, column int) int {
				row, column = min(max(row, 0), rows-1), min(max(column, 0), columns-1)
				return int(tables[(row*columns+column)*256+v])
			}
			wx, wy, tx, ty := px&255, py&255, px>>8, py>>8
			a := get(ty, tx)*(256-wx) + get(ty, tx+1)*wx
			b := get(ty+1, tx)*(256-wx) + get(ty+1, tx+1)*wx
			dst[y*w+x] = byte((a*(256-wy) + b*wy + 32768) >> 16)
		}
	}
}

func plainBlend(a, b, dst []byte, weight int) {
	for i := range dst {
		dst[i] = byte((int(a[i])*weight + int(b[i])*(65536-weight) + 32768) >> 16)
	}
}
