package augment

import "github.com/darkroom-dev/darkroom/stages"

// operation is a block of the policy.
type operation interface {
	stages.Declarer
	// args returns the arguments as the policy names them.
	args() map[string]float64
}

var variants = []stages.Variant{
	{Name: "flip", Doc: "Mirrors left and right, or up and down; with both, each at even chance.", New: func() stages.Declarer { return &flip{} }},
	{Name: "rotate", Doc: "Turns about the centre by a random angle; what comes into sight is mirrored.", New: func() stages.Declarer {
		return &limited{doc: "Largest angle to either side.", unit: "degrees", def: 15, high: 180}
	}},
	{Name: "scale", Doc: "Enlarges or shrinks about the centre by a random factor; what comes into sight is mirrored.", New: func() stages.Declarer {
		return &limited{doc: "Largest change: a factor within 1 ± limit.", def: 0.1, high: 0.9}
	}},
	{Name: "shift", Doc: "Moves along each axis by a random distance; what comes into sight is mirrored.", New: func() stages.Declarer {
		return &limited{doc: "Largest distance, as a share of the side.", def: 0.1, high: 1}
	}},
	{Name: "crop", Doc: "Pads every side with black and cuts out the original size at a random place (He et al. 2015).", New: func() stages.Declarer { return &crop{} }},
	{Name: "brightness_contrast", Doc: "Adds a random number, and multiplies the distance from middle grey by a random factor.", New: func() stages.Declarer { return &brightnessContrast{} }},
	{Name: "gaussian_noise", Doc: "Adds to every value an independent normal random number.", New: func() stages.Declarer { return &gaussianNoise{} }},
}

// chance declares the probability that every operation but crop has.
func chance(s *stages.Schema, p *float64, def float64) {
	s.Float(p, "p", def, "Probability that the operation is applied to an image.").In(0, 1)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

type flip struct {
	horizontal, vertical bool
	p                    float64
}

func (f *flip) Declare(s *stages.Schema) {
	s.Bool(&f.horizontal, "horizontal", true, "Mirror left and right.")
	s.Bool(&f.vertical, "vertical", false, "Mirror up and down.")
	chance(s, &f.p, 0.5)
}

func (f *flip) Check() []stages.Problem {
	if !f.horizontal && !f.vertical {
		return []stages.Problem{stages.Problemf("horizontal", "Flip without a direction", "Neither horizontal nor vertical is true, so the flip does nothing. Set one of them, or remove the block.")}
	}
	return nil
}

func (f *flip) args() map[string]float64 {
	return map[string]float64{"horizontal": number(f.horizontal), "vertical": number(f.vertical), "p": f.p}
}

// limited is an operation with one amount: rotate, scale, shift.
type limited struct {
	doc, unit string
	def, high float64

	limit, p float64
}

func (l *limited) Declare(s *stages.Schema) {
	s.Float(&l.limit, "limit", l.def, l.doc).In(0, l.high).InUnit(l.unit)
	chance(s, &l.p, 1)
}

func (l *limited) args() map[string]float64 {
	return map[string]float64{"limit": l.limit, "p": l.p}
}

type crop struct{ padding int }

func (c *crop) Declare(s *stages.Schema) {
	s.Int(&c.padding, "padding", 4, "Padding of each side; below the image's shorter side.").In(1, 4096).InUnit("pixels")
}

func (c *crop) args() map[string]float64 { return map[string]float64{"padding": float64(c.padding)} }

type brightnessContrast struct{ brightness, contrast, p float64 }

func (b *brightnessContrast) Declare(s *stages.Schema) {
	s.Float(&b.brightness, "brightness", 0.2, "Largest number added or subtracted, as a share of the range from black to white.").In(0, 1)
	s.Float(&b.contrast, "contrast", 0.2, "Largest change of contrast: a factor within 1 ± contrast.").In(0, 1)
	chance(s, &b.p, 1)
}

func (b *brightnessContrast) args() map[string]float64 {
	return map[string]float64{"brightness": b.brightness, "contrast": b.contrast, "p": b.p}
}

type gaussianNoise struct{ sigma, p float64 }

func (g *gaussianNoise) Declare(s *stages.Schema) {
	s.Float(&g.sigma, "sigma", 0.02, "Standard deviation, as a share of the range from black to white.").In(0, 1)
	chance(s, &g.p, 1)
}

func (g *gaussianNoise) args() map[string]float64 {
	return map[string]float64{"sigma": g.sigma, "p": g.p}
}
