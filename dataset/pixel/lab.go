package pixel

import "math"

// Tables between sRGB and CIE Lab.
var (
	linear [256]uint16  // of a byte of sRGB, in 1/2040
	root   [2048]uint16 // f(t) of Lab at t = i/2040, in 1/32768
	gamma  [4096]byte   // sRGB of the linear value i/4095
)

func init() {
	for i := range linear {
		v := float64(i) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		linear[i] = uint16(math.Round(v * 2040))
	}
	for i := range root {
		t := float64(i) / 2040
		if t > 0.008856 {
			t = math.Cbrt(t)
		} else {
			t = 7.787*t + 16.0/116
		}
		root[i] = uint16(math.Round(t * 32768))
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
