package pixel

func bits(key uint64, i uint32) uint32 {
	x := (i + uint32(key)) * 0x9e3779b1
	x ^= x >> 16
	x *= 0x7feb352d
	x ^= x >> 15
	x ^= uint32(key >> 32)
	x *= 0x846ca68b
	x ^= x >> 16
	x *= 0x7feb352d
	x ^= x >> 15
	return x
}

func plainAddNoise(src, dst []byte, key uint64, table []int16) {
	for i := range dst {
		// 128 values share 64 draws: the first half takes the low bits, the second the high ones.
		block, at := i/128, i%128
		r := bits(key, uint32(block*64+at%64))
		if at >= 64 {
			r >>= 19
		}
		dst[i] = clip(int(src[i]) + int(table[r&8191]))
	}
}

func plainSalt(src, dst []byte, pixels, c int, key uint64, pepper, both uint32) {
	for p := range pixels {
		r := bits(key, uint32(p))
		for k := range c {
			switch {
			case r < pepper:
				dst[p*c+k] = 0
			case r < both:
				dst[p*c+k] = 255
			default:
				dst[p*c+k] = src[p*c+k]
			}
		}
	}
}

func plainISO(src, dst []byte, pixels int, key uint64, hue, light []float32) {
	for p := range pixels {
		random := bits(key, uint32(p))
		raw, high, low := hueOf(int(src[3*p]), int(src[3*p+1]), int(src[3*p+2]))
		d := high - low
		h, l := float32(2*raw)/float32(max(d, 1)), float32(high+low)/510
		s := float32(0)
		if room := min(l, 1-l); room > 0 {
			s = float32(d) / 510 / room
		}
		h += hue[random&8191]
		if h < 0 {
			h += 12
		}
		if h >= 12 {
			h -= 12
		}
		l += float32(light[random>>19] * (1 - l))
		l = min(max(l, 0), 1)
		a := float32(min(s, 1) * min(l, 1-l))
		for k, n := range [3]float32{0, 8, 4} {
			at := n + h
			if at >= 12 {
				at -= 12
			}
			v := max(min(at-3, 9-at, 1), -1)
			dst[3*p+k] = clip(int(float32((l-float32(a*v))*255) + 0.5))
		}
	}
}
