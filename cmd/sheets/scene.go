package main

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset"
)

type colour [3]float64

func (a colour) mix(b colour, share float64) colour {
	for i := range a {
		a[i] += (b[i] - a[i]) * share
	}
	return a
}

// palettes are the sky's, the meadow's, the wall's and the roof's colours of the scenes.
var palettes = [6][4]colour{
	{{96, 156, 224}, {92, 150, 62}, {236, 214, 170}, {178, 62, 48}},
	{{240, 150, 90}, {150, 130, 70}, {210, 190, 200}, {90, 60, 110}},
	{{40, 52, 96}, {30, 66, 58}, {140, 130, 120}, {60, 40, 40}},
	{{190, 205, 215}, {225, 230, 235}, {160, 90, 70}, {70, 80, 95}},
	{{120, 200, 200}, {200, 180, 90}, {250, 250, 240}, {40, 110, 160}},
	{{200, 190, 230}, {70, 120, 90}, {250, 200, 120}, {120, 80, 40}},
}

// scene draws a house on a meadow, with a tree and the sun, as (side, side, 3) bytes.
func scene(row int) []byte {
	p := palettes[row]
	grain := dataset.NewStream(uint64(row), "scene")
	out := make([]byte, 0, side*side*3)
	for y := range side {
		for x := range side {
			c := at(float64(x)+0.5, float64(y)+0.5, p)
			for k := range 3 {
				out = append(out, byte(min(max(c[k]+grain.In(-4, 4), 0), 255)))
			}
		}
	}
	return out
}

// inside is 1 where d is below 0, with an edge of one pixel.
func inside(d float64) float64 { return min(max(0.5-d, 0), 1) }

func box(x, y, x0, y0, x1, y1 float64) float64 {
	return max(x0-x, x-x1, y0-y, y-y1)
}

func at(x, y float64, p [4]colour) colour {
	sky, meadow, wall, roof := p[0], p[1], p[2], p[3]
	c := sky.mix(colour{255, 255, 255}, 0.5*y/side)
	c = c.mix(colour{255, 236, 130}, inside(math.Hypot(x-84, y-18)-10))
	c = c.mix(meadow.mix(colour{20, 40, 20}, 0.4*math.Abs(math.Sin(x/3+y/5))*y/side), inside(74+3*math.Sin(x/14)-y))
	c = c.mix(colour{104, 74, 48}, inside(box(x, y, 84, 60, 88, 84)))
	c = c.mix(meadow.mix(colour{10, 70, 20}, 0.6), inside(math.Hypot(x-86, y-56)-12))
	c = c.mix(wall, inside(box(x, y, 30, 56, 66, 88)))
	c = c.mix(roof, inside(max(math.Abs(x-48)*0.82-(y-38), y-56)))
	c = c.mix(colour{84, 56, 40}, inside(box(x, y, 36, 70, 44, 88)))
	c = c.mix(colour{70, 110, 150}, inside(box(x, y, 51, 63, 61, 72)))
	return c.mix(wall, inside(min(box(x, y, 55.4, 63, 56.6, 72), box(x, y, 51, 67, 61, 68))))
}
