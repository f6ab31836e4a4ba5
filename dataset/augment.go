package dataset

import "math"

// Augmenter applies a policy to the images of one dataset. It holds buffers and is not safe for concurrent use.
type Augmenter struct {
	policy  *Policy
	h, w, c int
	a, b    []float32 // (H, W, C), the image and the target of the next resampling
}

// NewAugmenter returns an augmenter for images of info's size.
func NewAugmenter(p *Policy, info Info) *Augmenter {
	n := info.ImageSize()
	return &Augmenter{policy: p, h: info.Height, w: info.Width, c: info.Channels, a: make([]float32, n), b: make([]float32, n)}
}

// Apply returns the augmented image, (H, W, C), values 0 to 1, in a buffer that the next call overwrites. The result
// is a function of (policy, seed, epoch, sample) and the pixels alone.
func (g *Augmenter) Apply(image []byte, seed, epoch, sample uint64) []float32 {
	for i, v := range image {
		g.a[i] = float32(v) * (1.0 / 255)
	}
	pending := identity()
	for i, op := range g.policy.operations {
		s := NewStream(seed, "augment", epoch, sample, uint64(i))
		if p, ok := op.Args["p"]; ok && !s.Chance(p) {
			continue
		}
		if g.geometry(&pending, op, &s) {
			continue
		}
		g.resample(&pending)
		switch op.Name {
		case "brightness_contrast":
			g.brightnessContrast(op.Args["brightness"], op.Args["contrast"], &s)
		case "gaussian_noise":
			g.noise(op.Args["sigma"], &s)
		}
	}
	g.resample(&pending)
	return g.a
}

// affine maps a target pixel to the place in the source that it is taken from, in pixels from the image's centre:
// x' = xx·x + xy·y + x0.
type affine struct {
	xx, xy, x0, yx, yy, y0 float64
	black                  bool // what lies outside is black; otherwise it is mirrored
	set                    bool
}

func identity() affine { return affine{xx: 1, yy: 1} }

// then makes m apply after what is pending: target → m → pending → source.
func (t *affine) then(m affine) {
	*t = affine{
		xx: t.xx*m.xx + t.xy*m.yx, xy: t.xx*m.xy + t.xy*m.yy, x0: t.xx*m.x0 + t.xy*m.y0 + t.x0,
		yx: t.yx*m.xx + t.yy*m.yx, yy: t.yx*m.xy + t.yy*m.yy, y0: t.yx*m.x0 + t.yy*m.y0 + t.y0,
		black: t.black || m.black, set: true,
	}
}

// geometry adds an operation that moves pixels to what is pending, and reports whether it is one.
func (g *Augmenter) geometry(t *affine, op Operation, s *Stream) bool {
	m := identity()
	switch op.Name {
	case "flip": // each of the directions that are on, with even chance when both are
		h, v := op.Args["horizontal"] != 0, op.Args["vertical"] != 0
		if h && v {
			h, v = s.Chance(0.5), s.Chance(0.5)
		}
		if h {
			m.xx = -1
		}
		if v {
			m.yy = -1
		}
	case "rotate": // by an angle within ±limit degrees
		sin, cos := math.Sincos(s.In(-1, 1) * op.Args["limit"] * math.Pi / 180)
		m.xx, m.xy, m.yx, m.yy = cos, sin, -sin, cos
	case "scale": // by a factor between 1-limit and 1+limit
		f := 1 / math.Max(0.01, 1+s.In(-1, 1)*op.Args["limit"])
		m.xx, m.yy = f, f
	case "shift": // in each direction within ±limit of the side
		m.x0 = s.In(-1, 1) * op.Args["limit"] * float64(g.w)
		m.y0 = s.In(-1, 1) * op.Args["limit"] * float64(g.h)
	case "crop": // a window of the image's size out of the image with a black border of padding pixels
		pad := int(op.Args["padding"])
		m.x0 = float64(s.Intn(2*pad+1) - pad)
		m.y0 = float64(s.Intn(2*pad+1) - pad)
		m.black = true
	default:
		return false
	}
	t.then(m)
	return true
}

// resample carries out what is pending.
func (g *Augmenter) resample(t *affine) {
	if !t.set {
		return
	}
	if whole(t.x0) && whole(t.y0) && t.xy == 0 && t.yx == 0 && math.Abs(t.xx) == 1 && math.Abs(t.yy) == 1 {
		g.move(t)
	} else {
		g.warp(t)
	}
	g.a, g.b = g.b, g.a
	*t = identity()
}

func whole(f float64) bool { return f == math.Trunc(f) }

// move copies pixels for flips and whole shifts, without interpolation.
func (g *Augmenter) move(t *affine) {
	for y := range g.h {
		sy := y
		if t.yy < 0 {
			sy = g.h - 1 - y
		}
		sy += int(t.y0)
		for x := range g.w {
			sx := x
			if t.xx < 0 {
				sx = g.w - 1 - x
			}
			sx += int(t.x0)
			to := g.b[(y*g.w+x)*g.c:][:g.c]
			if t.black && (sx < 0 || sy < 0 || sx >= g.w || sy >= g.h) {
				clear(to)
				continue
			}
			copy(to, g.a[(mirror(sy, g.h)*g.w+mirror(sx, g.w))*g.c:][:g.c])
		}
	}
}

// mirror brings an index into 0 to n-1 by reflection at the outer pixels' outer edges (… 1 0 | 0 1 …).
func mirror(i, n int) int {
	if i >= 0 && i < n {
		return i
	}
	i %= 2 * n
	if i < 0 {
		i += 2 * n
	}
	if i >= n {
		i = 2*n - 1 - i
	}
	return i
}

// warp resamples with bilinear interpolation.
func (g *Augmenter) warp(t *affine) {
	cx, cy := float64(g.w-1)/2, float64(g.h-1)/2
	for y := range g.h {
		dy := float64(y) - cy
		for x := range g.w {
			dx := float64(x) - cx
			sx := t.xx*dx + t.xy*dy + t.x0 + cx
			sy := t.yx*dx + t.yy*dy + t.y0 + cy
			g.interpolate(g.b[(y*g.w+x)*g.c:][:g.c], sx, sy, t.black)
		}
	}
}

func (g *Augmenter) interpolate(to []float32, sx, sy float64, black bool) {
	fx, fy := math.Floor(sx), math.Floor(sy)
	x0, y0 := int(fx), int(fy)
	wx, wy := float32(sx-fx), float32(sy-fy)
	weights := [4]float32{(1 - wx) * (1 - wy), wx * (1 - wy), (1 - wx) * wy, wx * wy}
	clear(to)
	for k, weight := range weights {
		x, y := x0+k&1, y0+k>>1
		if x < 0 || y < 0 || x >= g.w || y >= g.h {
			if black {
				continue
			}
			x, y = mirror(x, g.w), mirror(y, g.h)
		}
		from := g.a[(y*g.w+x)*g.c:][:len(to)]
		for c := range to {
			to[c] += weight * from[c]
		}
	}
}

// brightnessContrast adds within ±brightness and multiplies the distance from middle grey by 1 ± contrast.
func (g *Augmenter) brightnessContrast(brightness, contrast float64, s *Stream) {
	factor := float32(1 + s.In(-1, 1)*contrast)
	add := float32(s.In(-1, 1) * brightness)
	for i, v := range g.a {
		g.a[i] = clamp((v-0.5)*factor + 0.5 + add)
	}
}

// noise adds to every value an independent normal one with standard deviation sigma.
func (g *Augmenter) noise(sigma float64, s *Stream) {
	for i, v := range g.a {
		g.a[i] = clamp(v + float32(sigma*s.Normal()))
	}
}

func clamp(v float32) float32 { return min(max(v, 0), 1) }
