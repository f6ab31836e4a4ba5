package dataset

import (
	"errors"
	"fmt"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Others are the samples that an operation takes further ones from.
type Others interface {
	Len() int
	// Pixels returns the image of a row, (H, W, C) bytes that must not be written to, in buffer where it has to be decoded.
	Pixels(row int, buffer []byte) ([]byte, error)
}

// Augmenter applies a policy to the images of one dataset. It holds buffers and is not safe for concurrent use.
type Augmenter struct {
	policy *Policy
	info   Info // of the stored images
	steps  []*bound
	others Others
	out    Info // of the results
	scale  []float32
	shift  []float32

	// The image that is worked on: a view of the stored one, or one of the two buffers.
	pix     []byte
	h, w, c int
	buffers [2][]byte
	pending pending
	scratch []byte       // of clahe
	fields  [2][]float32 // of displacements

	regions *regions // nil: none are to be moved
	shares  []Share
	key     drawKey
	partner *Augmenter // makes the other samples; nil until one is needed
	source  []byte     // of its image, where it has to be decoded
	err     error      // of reading another sample
}

// drawKey is what every draw is a function of, with the operation.
type drawKey struct{ seed, epoch, sample uint64 }

// Share is what a row of the dataset contributes to an image, and so to its label.
type Share struct {
	Row    int
	Weight float32
}

// bound is an operation that is ready to be applied.
type bound struct {
	arguments
	kind *OperationKind
	of   []*bound
	top  int // the place in the policy of the operation that this is, or that holds it: another sample's way ends there
}

// arguments are those of an operation, checked.
type arguments map[string]any

func (a arguments) number(name string) float64 { return a[name].(float64) }
func (a arguments) whole(name string) int      { return int(a[name].(float64)) }
func (a arguments) is(name string) bool        { return a[name].(float64) != 0 }
func (a arguments) text(name string) string    { return a[name].(string) }
func (a arguments) list(name string) []float64 { return a[name].([]float64) }

// between draws from the range of that name.
func (a arguments) between(name string, s *Stream) float64 {
	r := a.list(name)
	return s.In(r[0], r[1])
}

// wholeBetween draws a whole number from the range of that name, its ends among them.
func (a arguments) wholeBetween(name string, s *Stream) int {
	r := a.list(name)
	return int(r[0]) + s.Intn(int(r[1])-int(r[0])+1)
}

// around draws within ± the argument of that name.
func (a arguments) around(name string, s *Stream) float64 { return s.In(-1, 1) * a.number(name) }

func (a arguments) border() pixel.Border { return borders[a.text("border_mode")] }

func (a arguments) fill() [3]byte {
	v := byte(a.number("fill"))
	return [3]byte{v, v, v}
}

// NewAugmenter returns an augmenter for images of info's size. others may be nil when no operation of the policy needs them. A policy whose
// operations do not fit the size is an error.
func NewAugmenter(p *Policy, info Info, others Others) (*Augmenter, error) {
	if others == nil && p.Mixes() {
		return nil, errors.New("the policy mixes samples, and there are no others to take")
	}
	h, w, err := p.Size(info.Height, info.Width)
	if err != nil {
		return nil, err
	}
	g := &Augmenter{policy: p, info: info, others: others, c: info.Channels, out: info, steps: bind(p.Operations(), -1)}
	g.out.Height, g.out.Width, g.out.Policy = h, w, nil
	g.scale, g.shift = p.normalisation(info.Channels)
	return g, nil
}

// bind finds the kinds of operations at the place top of the policy, each at its own place when that is negative.
func bind(operations []Operation, top int) []*bound {
	var out []*bound
	for i, op := range operations {
		if top >= 0 {
			i = top
		}
		out = append(out, &bound{arguments: op.Args, kind: operationKinds[op.Name], of: bind(op.Of, i), top: i})
	}
	return out
}

// Info describes the augmented images.
func (g *Augmenter) Info() Info { return g.out }

// Normalisation returns for each channel what a byte is multiplied by, and what is added, to make the value that a model gets: 1/255 and 0
// unless the policy normalises.
func (g *Augmenter) Normalisation() (scale, shift []float32) { return g.scale, g.shift }

// Apply returns the augmented image, (H, W, C) bytes of Info's size, that the next call overwrites; it may be image itself. It is a function
// of (policy, seed, epoch, sample) and the pixels alone, those of the other samples among them. shares say what rows it is made of, when the
// policy mixes; sample is the image's own row.
func (g *Augmenter) Apply(image []byte, seed, epoch, sample uint64) (pixels []byte, shares []Share, err error) {
	g.regions = nil
	return g.run(image, drawKey{seed, epoch, sample}, len(g.steps))
}

// run applies the first steps.
func (g *Augmenter) run(image []byte, key drawKey, steps int) ([]byte, []Share, error) {
	g.pix, g.h, g.w, g.pending, g.err = image, g.info.Height, g.info.Width, pending{}, nil
	g.key, g.shares = key, append(g.shares[:0], Share{int(key.sample), 1})
	for i, step := range g.steps[:steps] {
		s := NewStream(key.seed, "augment", key.epoch, key.sample, uint64(i))
		g.step(step, &s)
	}
	g.flush()
	if g.err != nil {
		return nil, nil, g.err
	}
	return g.pix, g.shares, nil
}

// step applies an operation with its probability.
func (g *Augmenter) step(b *bound, s *Stream) {
	if p, ok := b.arguments["p"]; ok && !s.Chance(p.(float64)) {
		return
	}
	b.kind.apply(g, b, s)
}

// room returns a buffer of n bytes that is not the image.
func (g *Augmenter) room(n int) []byte {
	i := 0
	if len(g.pix) > 0 && len(g.buffers[0]) > 0 && &g.pix[0] == &g.buffers[0][0] {
		i = 1
	}
	if len(g.buffers[i]) < n {
		g.buffers[i] = make([]byte, n)
	}
	return g.buffers[i][:n]
}

// change replaces the image by what f makes of it, of the same size.
func (g *Augmenter) change(f func(src, dst []byte)) {
	g.flush()
	dst := g.room(len(g.pix))
	f(g.pix, dst)
	g.pix = dst
}

// own makes the image one that may be written to.
func (g *Augmenter) own() {
	g.flush()
	if len(g.buffers[0]) > 0 && &g.pix[0] == &g.buffers[0][0] || len(g.buffers[1]) > 0 && &g.pix[0] == &g.buffers[1][0] {
		return
	}
	dst := g.room(len(g.pix))
	copy(dst, g.pix)
	g.pix = dst
}

// Size returns the size of the images that the policy makes of those of (h, w), or why it cannot.
func (p *Policy) Size(h, w int) (int, int, error) {
	if p == nil {
		return h, w, nil
	}
	return sizeOf(p.operations, h, w)
}

// Augmented describes the images as the policy leaves them, whose size is another where an operation changes it, without a policy. A policy that does not fit
// the images is a *SizeError.
func (i Info) Augmented() (Info, error) {
	h, w, err := i.Policy.Size(i.Height, i.Width)
	i.Height, i.Width, i.Policy = h, w, nil
	return i, err
}

func sizeOf(operations []Operation, h, w int) (int, int, error) {
	for i, op := range operations {
		kind := operationKinds[op.Name]
		var err error
		h0, w0 := h, w
		switch {
		case kind.Nested:
			h, w, err = sizeOfAny(op, h, w)
		case kind.size != nil:
			h, w, err = kind.size(op.Args, h, w)
		}
		if err == nil && (h < 1 || w < 1 || h > MaxSide || w > MaxSide) {
			err = fmt.Errorf("the result would be %d×%d pixels; a side is within 1 to %d", w, h, MaxSide)
		}
		if err != nil {
			return 0, 0, &SizeError{Operation: i, Name: op.Name, Height: h0, Width: w0, Err: err}
		}
	}
	return h, w, nil
}

// sizeOfAny is the size that every choice leads to.
func sizeOfAny(op Operation, h, w int) (int, int, error) {
	for i := range op.Of {
		h1, w1, err := sizeOf(op.Of[i:i+1], h, w)
		if err != nil {
			return 0, 0, err
		}
		if h1 != h || w1 != w {
			return 0, 0, fmt.Errorf("%s inside of it makes images of %d×%d out of %d×%d, so not all would have one size: place it outside", op.Of[i].Name, w1, h1, w, h)
		}
	}
	return h, w, nil
}

// SizeError is an operation that does not fit the images.
type SizeError struct {
	Operation     int // in the policy
	Name          string
	Height, Width int // of the images that reach it
	Err           error
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("operation %d (%s) on images of %d×%d: %v", e.Operation, e.Name, e.Width, e.Height, e.Err)
}

func (e *SizeError) Unwrap() error { return e.Err }

// ApplySample does to a sample, whose image is pixels, (H, W, C) bytes of the info that the augmenter was made for, what Apply does to its image:
// boxes, polygons and the mask move with it. Of the result the image is overwritten by the next call; what mixed labels there are does not show.
func (g *Augmenter) ApplySample(s Sample, pixels []byte, seed, epoch, sample uint64) (Sample, error) {
	g.regions = &regions{boxes: s.Boxes, polygons: s.Polygons, mask: s.Mask, visibility: g.policy.Visibility()}
	image, _, err := g.run(pixels, drawKey{seed, epoch, sample}, len(g.steps))
	if err != nil {
		return s, err
	}
	s.Image, s.Boxes, s.Polygons, s.Mask = image, g.regions.boxes, g.regions.polygons, g.regions.mask
	return s, nil
}
