package pixel

import "math"

// Tables between sRGB and CIE Lab.
var (
	linear [256]float32  // of a byte of sRGB
	root   [4097]float32 // f(t) of Lab at t = i/4096
	gamma  [4096]byte    // sRGB of the linear value i/4095
)

func init() {
	for i := range linear {
		v := float64(i) / 255
		if v <= 0.04045 {
			linear[i] = float32(v / 12.92)
		} else {
			linear[i] = float32(math.Pow((v+0.055)/1.055, 2.4))
		}
	}
	for i := range root {
		t := float64(i) / 4096
		if t > 0.008856 {
			root[i] = float32(math.Cbrt(t))
		} else {
			root[i] = float32(7.787*t + 16.0/116)
		}
	}
	for i := range gamma {
		v := float64(i) / 4095
		if v <= 0.0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
		gamma[i] = byte(v*255 + 0.5)
	}
}
