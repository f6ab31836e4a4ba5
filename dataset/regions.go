package dataset

import (
	"math"
	"slices"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// regions are the boxes, polygons and the mask of an image while they move with its pixels. Boxes and polygons are clipped at the image's edge;
// one of which less than the visibility remains is dropped.
type regions struct {
	boxes      []Box
	polygons   []Polygon
	mask       []byte // nil: none
	visibility float64
}

// regional are samples with regions, as a Dataset has them.
type regional interface {
	Boxes(row int) []Box
	Polygons(row int) []Polygon
	Mask(row int) []byte
}

// transform applies the map from the target, (th, tw) pixels, to the source (h, w).
func (r *regions) transform(m matrix, h, w, th, tw int, border pixel.Border) {
	if r.mask != nil {
		r.mask = sampleMask(r.mask, h, w, th, tw, border, m.point)
	}
	inverse, ok := m.inverse()
	if !ok {
		r.boxes, r.polygons = nil, nil
		return
	}
	r.place(th, tw, 1, inverse.point)
}

// displace moves regions with pixels each of which is taken from a place (dx, dy) away.
func (r *regions) displace(dx, dy []float32, h, w int, border pixel.Border) {
	at := func(d []float32, x, y float64) float64 {
		x, y = min(max(x, 0), float64(w-1)), min(max(y, 0), float64(h-1))
		x0, y0 := int(x), int(y)
		x1, y1 := min(x0+1, w-1), min(y0+1, h-1)
		fx, fy := x-float64(x0), y-float64(y0)
		return (float64(d[y0*w+x0])*(1-fx)+float64(d[y0*w+x1])*fx)*(1-fy) + (float64(d[y1*w+x0])*(1-fx)+float64(d[y1*w+x1])*fx)*fy
	}
	if r.mask != nil {
		r.mask = sampleMask(r.mask, h, w, h, w, border, func(x, y float64) (float64, float64) { return x + at(dx, x, y), y + at(dy, x, y) })
	}
	const rounds = 32
	r.place(h, w, 8, func(x, y float64) (float64, float64) {
		// The place whose pixel is taken from (x, y), by repeated correction.
		px, py := x, y
		for range rounds {
			px, py = px+0.7*(x-px-at(dx, px, py)), py+0.7*(y-py-at(dy, px, py))
		}
		return px, py
	})
}

// sampleMask takes for each pixel of the target the value of the nearest one of the source; what lies outside of a constant border is ignored.
func sampleMask(mask []byte, h, w, th, tw int, border pixel.Border, from func(x, y float64) (float64, float64)) []byte {
	out := make([]byte, th*tw)
	for y := range th {
		for x := range tw {
			fx, fy := from(float64(x), float64(y))
			sx := pixel.Outside(int(math.Floor(min(max(fx, -40000), 40000)+0.5)), w, border)
			sy := pixel.Outside(int(math.Floor(min(max(fy, -40000), 40000)+0.5)), h, border)
			if out[y*tw+x] = Ignore; sx >= 0 && sy >= 0 {
				out[y*tw+x] = mask[sy*w+sx]
			}
		}
	}
	return out
}

// place moves boxes and polygons to where to puts their points, and clips them at (h, w). A box becomes that around its edges, each of which is
// moved in so many pieces. Points are those of pixels' centres; a box counts from pixels' corners.
func (r *regions) place(h, w, pieces int, to func(x, y float64) (float64, float64)) {
	corner := func(x, y float64) (float64, float64) {
		x, y = to(x-0.5, y-0.5)
		return x + 0.5, y + 0.5
	}
	var boxes []Box
	for _, b := range r.boxes {
		x0, y0, x1, y1 := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
		add := func(x, y float64) {
			x, y = corner(x, y)
			x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
		}
		for i := range pieces + 1 {
			t := float64(i) / float64(pieces)
			x, y := float64(b.X0)+t*float64(b.X1-b.X0), float64(b.Y0)+t*float64(b.Y1-b.Y0)
			add(x, float64(b.Y0))
			add(x, float64(b.Y1))
			add(float64(b.X0), y)
			add(float64(b.X1), y)
		}
		moved := Box{float32(x0), float32(y0), float32(x1), float32(y1), b.Class}
		if c, ok := moved.within(0, 0, float32(w), float32(h), r.visibility); ok {
			boxes = append(boxes, c)
		}
	}
	r.boxes = boxes
	var polygons []Polygon
	for _, p := range r.polygons {
		moved := Polygon{Class: p.Class}
		for _, ring := range p.Rings {
			out := make([]float32, len(ring))
			for i := 0; i+1 < len(ring); i += 2 {
				x, y := corner(float64(ring[i]), float64(ring[i+1]))
				out[i], out[i+1] = float32(x), float32(y)
			}
			moved.Rings = append(moved.Rings, out)
		}
		if c, ok := moved.within(0, 0, float32(w), float32(h), r.visibility); ok {
			polygons = append(polygons, c)
		}
	}
	r.polygons = polygons
}

func (b Box) area() float32 { return max(b.X1-b.X0, 0) * max(b.Y1-b.Y0, 0) }

// within clips at a rectangle; ok is false when too little remains.
func (b Box) within(x0, y0, x1, y1 float32, visibility float64) (c Box, ok bool) {
	c = Box{max(b.X0, x0), max(b.Y0, y0), min(b.X1, x1), min(b.Y1, y1), b.Class}
	return c, c.X0 < c.X1 && c.Y0 < c.Y1 && float64(c.area()) >= visibility*float64(b.area())
}

// within clips every ring at a rectangle (Sutherland and Hodgman 1974); ok is false when too little remains.
func (p Polygon) within(x0, y0, x1, y1 float32, visibility float64) (c Polygon, ok bool) {
	c.Class = p.Class
	before, after := 0.0, 0.0
	for _, ring := range p.Rings {
		before += ringArea(ring)
		for side, limit := range [4]float32{x0, y0, -x1, -y1} {
			ring = clipRing(ring, side%2, side >= 2, limit)
		}
		if len(ring) >= 6 {
			after += ringArea(ring)
			c.Rings = append(c.Rings, ring)
		}
	}
	return c, after > 0 && after >= visibility*before*(1-1e-6)
}

func ringArea(ring []float32) float64 {
	sum, n := 0.0, len(ring)
	for i := 0; i < n; i += 2 {
		j := (i + 2) % n
		sum += float64(ring[i])*float64(ring[j+1]) - float64(ring[j])*float64(ring[i+1])
	}
	return math.Abs(sum) / 2
}

// clipRing keeps what has a coordinate (0: x, 1: y), negated where asked for, of limit or more.
func clipRing(ring []float32, axis int, negative bool, limit float32) []float32 {
	value := func(i int) float32 {
		if negative {
			return -ring[i+axis] - limit
		}
		return ring[i+axis] - limit
	}
	var out []float32
	n := len(ring)
	for i := 0; i < n; i += 2 {
		j := (i + 2) % n
		a, b := value(i), value(j)
		if a >= 0 {
			out = append(out, ring[i], ring[i+1])
		}
		if (a >= 0) != (b >= 0) {
			t := a / (a - b)
			out = append(out, ring[i]+t*(ring[j]-ring[i]), ring[i+1]+t*(ring[j+1]-ring[i+1]))
			out[len(out)-2+axis] = limit
			if negative {
				out[len(out)-2+axis] = -limit
			}
		}
	}
	return out
}

// of returns the regions of another row.
func (r *regions) of(others Others, row int) *regions {
	out := &regions{visibility: r.visibility}
	if a, ok := others.(regional); ok {
		out.boxes, out.polygons, out.mask = a.Boxes(row), a.Polygons(row), a.Mask(row)
	}
	return out
}

// join adds the boxes and polygons of another image, scaled and moved.
func (r *regions) join(o *regions, x, y int, sx, sy float64) {
	fx, fy := float32(x), float32(y)
	for _, b := range o.boxes {
		r.boxes = append(r.boxes, Box{fx + b.X0*float32(sx), fy + b.Y0*float32(sy), fx + b.X1*float32(sx), fy + b.Y1*float32(sy), b.Class})
	}
	for _, p := range o.polygons {
		c := Polygon{Class: p.Class}
		for _, ring := range p.Rings {
			out := make([]float32, len(ring))
			for i := 0; i+1 < len(ring); i += 2 {
				out[i], out[i+1] = fx+ring[i]*float32(sx), fy+ring[i+1]*float32(sy)
			}
			c.Rings = append(c.Rings, out)
		}
		r.polygons = append(r.polygons, c)
	}
}

// paste puts the mask of another image of (h, w), scaled, into the rectangle from (x0, y0) to (x1, y1) of a picture that is w wide.
func (r *regions) paste(o *regions, x0, y0, x1, y1, h, w int) {
	if r.mask == nil {
		return
	}
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			if r.mask[y*w+x] = Ignore; o.mask != nil {
				r.mask[y*w+x] = o.mask[(y-y0)*h/(y1-y0)*w+(x-x0)*w/(x1-x0)]
			}
		}
	}
}

// copyMask takes the rectangle's part of the mask of another image of the same size.
func (r *regions) copyMask(o *regions, x0, y0, x1, y1, w int) {
	if r.mask == nil {
		return
	}
	r.mask = slices.Clone(r.mask)
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			if r.mask[y*w+x] = Ignore; o.mask != nil {
				r.mask[y*w+x] = o.mask[y*w+x]
			}
		}
	}
}

// cover drops what a rectangle hides too much of.
func (r *regions) cover(x0, y0, x1, y1 int) {
	remains := func(area, hidden float64) bool { return area-hidden > 1e-6*area && area-hidden >= r.visibility*area }
	fx0, fy0, fx1, fy1 := float32(x0), float32(y0), float32(x1), float32(y1)
	var boxes []Box
	for _, b := range r.boxes {
		c, ok := b.within(fx0, fy0, fx1, fy1, 0)
		if !ok || remains(float64(b.area()), float64(c.area())) {
			boxes = append(boxes, b)
		}
	}
	var polygons []Polygon
	for _, p := range r.polygons {
		c, ok := p.within(fx0, fy0, fx1, fy1, 0)
		if !ok || remains(p.area(), c.area()) {
			polygons = append(polygons, p)
		}
	}
	r.boxes, r.polygons = boxes, polygons
}

func (p Polygon) area() float64 {
	sum := 0.0
	for _, ring := range p.Rings {
		sum += ringArea(ring)
	}
	return sum
}

// keep clips at a rectangle.
func (r *regions) keep(x0, y0, x1, y1 int) *regions {
	out := &regions{visibility: r.visibility, mask: r.mask}
	fx0, fy0, fx1, fy1 := float32(x0), float32(y0), float32(x1), float32(y1)
	for _, b := range r.boxes {
		if c, ok := b.within(fx0, fy0, fx1, fy1, r.visibility); ok {
			out.boxes = append(out.boxes, c)
		}
	}
	for _, p := range r.polygons {
		if c, ok := p.within(fx0, fy0, fx1, fy1, r.visibility); ok {
			out.polygons = append(out.polygons, c)
		}
	}
	return out
}
