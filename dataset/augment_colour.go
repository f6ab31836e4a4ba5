package dataset

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Operations on single pixels. Those of colours leave grey images as they are.

func colourKinds() []*OperationKind {
	half := []Parameter{probability(0.5)}
	return []*OperationKind{
		{Name: "random_brightness_contrast", Doc: "Multiplies every value by a random factor and adds a random number.",
			Parameters: with([]Parameter{
				float("brightness_limit", 0.2, 0, 1, "", "Largest number added or subtracted, as a share of the range from black to white."),
				float("contrast_limit", 0.2, 0, 1, "", "Largest change of contrast: a factor within 1 ± contrast_limit."),
			}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				g.linear(1+b.around("contrast_limit", s), 255*b.around("brightness_limit", s))
			}},
		{Name: "random_gamma", Doc: "Raises every value, 0 to 1, to a random power.",
			Parameters: with([]Parameter{span("gamma_limit", 80, 120, 1, 1000, "", "Range of the power, in hundredths.")}, half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.power(b.between("gamma_limit", s) / 100) }},
		{Name: "hue_saturation_value", Doc: "Adds random numbers to hue, saturation and value.",
			Parameters: with([]Parameter{
				float("hue_shift_limit", 20, 0, 180, "", "Largest change of the hue, of 180 steps to the circle."),
				float("sat_shift_limit", 20, 0, 255, "", "Largest change of the saturation, of 255."),
				float("val_shift_limit", 20, 0, 255, "", "Largest change of the value, of 255."),
			}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				round := func(name string) int { return int(math.Round(b.around(name, s))) }
				hue, saturation := round("hue_shift_limit"), round("sat_shift_limit")
				g.hsv(hue, saturation, round("val_shift_limit"))
			}},
		{Name: "color_jitter", Doc: "Changes brightness, contrast, saturation and hue by random amounts, in random order.",
			Parameters: with([]Parameter{
				span("brightness", 0.8, 1.2, 0, 4, "", "Range of the factor of all values."),
				span("contrast", 0.8, 1.2, 0, 4, "", "Range of the factor of the distance from the mean grey."),
				span("saturation", 0.8, 1.2, 0, 4, "", "Range of the factor of the distance from a pixel's own grey."),
				span("hue", -0.5, 0.5, -0.5, 0.5, "", "Range of the change of the hue, as a share of the circle."),
			}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				amounts := [4]float64{b.between("brightness", s), b.between("contrast", s), b.between("saturation", s), b.between("hue", s)}
				for _, i := range s.Permutation(4) {
					g.jitter(i, amounts[i])
				}
			}},
		{Name: "to_gray", Doc: "Takes the colour away: all channels get the luma.", Parameters: half, apply: func(g *Augmenter, _ *bound, _ *Stream) { g.grey() }},
		{Name: "channel_shuffle", Doc: "Puts the channels into random order.", Parameters: half,
			apply: func(g *Augmenter, _ *bound, s *Stream) { g.shuffle([3]int(s.Permutation(3))) }},
	}
}

func toneKinds() []*OperationKind {
	half := []Parameter{probability(0.5)}
	return []*OperationKind{
		{Name: "posterize", Doc: "Keeps so many of the highest bits of every value.",
			Parameters: with([]Parameter{integer("num_bits", 4, 1, 8, "bits", "Bits that are kept.")}, half),
			apply:      func(g *Augmenter, b *bound, _ *Stream) { g.posterise(b.whole("num_bits")) }},
		{Name: "solarize", Doc: "Inverts all values from a random threshold on.",
			Parameters: with([]Parameter{span("threshold_range", 0.5, 0.5, 0, 1, "", "Range of the threshold, black to white.")}, half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.solarise(b.between("threshold_range", s) * 255) }},
		{Name: "equalize", Doc: "Spreads the values of each channel so that all are about as frequent.", Parameters: half,
			apply: func(g *Augmenter, _ *bound, _ *Stream) { g.equalise() }},
		{Name: "clahe", Doc: "Spreads the lightness (CIE Lab) within tiles, with limited contrast (Zuiderveld 1994).",
			Parameters: with([]Parameter{
				span("clip_limit", 1, 4, 1, 255, "", "Range of the largest height of a tile's histogram, as a multiple of its mean."),
				{Name: "tile_grid_size", Doc: "Rows and columns of tiles.", Form: List, Whole: true, Low: 1, High: 64, MinLen: 2, MaxLen: 2, Default: []float64{8, 8}},
			}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				grid := b.list("tile_grid_size")
				g.clahe(b.between("clip_limit", s), int(grid[0]), int(grid[1]))
			}},
	}
}

// table replaces every value by f of it, rounded.
func (g *Augmenter) table(f func(v float64) float64) {
	var t [256]byte
	for i := range t {
		t[i] = byte(min(max(f(float64(i)), 0), 255) + 0.5)
	}
	g.lookup(t[:])
}

func (g *Augmenter) lookup(table []byte) {
	g.change(func(src, dst []byte) { pixel.Lookup(src, dst, g.h*g.w, g.c, table) })
}

func (g *Augmenter) linear(factor, add float64) {
	g.table(func(v float64) float64 { return v*factor + add })
}

// logarithms are those of the values, 0 to 1, of bytes.
var logarithms = func() (t [256]float64) {
	for i := range t {
		t[i] = math.Log(float64(i) / 255)
	}
	return t
}()

func (g *Augmenter) power(gamma float64) {
	g.table(func(v float64) float64 {
		if v == 0 {
			return 0
		}
		return 255 * math.Exp(gamma*logarithms[int(v)])
	})
}

func (g *Augmenter) hsv(hue, saturation, value int) {
	if g.c == 1 {
		g.linear(1, float64(value))
		return
	}
	g.change(func(src, dst []byte) { pixel.ShiftHSV(src, dst, g.h*g.w, hue, saturation, value) })
}

// jitter carries out a part of color_jitter: brightness, contrast, saturation or hue.
func (g *Augmenter) jitter(part int, amount float64) {
	switch part {
	case 0:
		g.linear(amount, 0)
	case 1:
		g.contrast(amount)
	case 2:
		g.saturate(amount)
	case 3:
		if g.c == 3 {
			g.hsv(int(math.Round(amount*180)), 0, 0)
		}
	}
}

// contrast multiplies the distance from the mean luma.
func (g *Augmenter) contrast(factor float64) {
	g.flush()
	mean := g.meanLuma()
	g.linear(factor, mean*(1-factor))
}

func (g *Augmenter) meanLuma() float64 {
	counts := pixel.Histogram(g.pix, g.h*g.w, g.c)
	sum := 0.0
	for i, n := range counts {
		weight := 1.0
		if g.c == 3 {
			weight = [3]float64{0.299, 0.587, 0.114}[i/256]
		}
		sum += weight * float64(i%256) * float64(n)
	}
	return sum / float64(g.h*g.w)
}

func (g *Augmenter) saturate(factor float64) {
	if g.c == 3 {
		g.change(func(src, dst []byte) { pixel.Saturate(src, dst, g.h*g.w, int(math.Round(factor*256))) })
	}
}

func (g *Augmenter) grey() {
	if g.c == 3 {
		g.change(func(src, dst []byte) { pixel.Grey(src, dst, g.h*g.w, 3) })
	}
}

func (g *Augmenter) shuffle(order [3]int) {
	if g.c == 3 {
		g.change(func(src, dst []byte) { pixel.Shuffle(src, dst, g.h*g.w, order) })
	}
}

func (g *Augmenter) posterise(bits int) {
	var t [256]byte
	for i := range t {
		t[i] = byte(i) &^ (1<<(8-bits) - 1)
	}
	g.lookup(t[:])
}

func (g *Augmenter) solarise(threshold float64) {
	g.table(func(v float64) float64 {
		if v >= threshold {
			return 255 - v
		}
		return v
	})
}

// equalise maps each channel by its cumulative histogram, from its lowest value on.
func (g *Augmenter) equalise() {
	g.flush()
	counts := pixel.Histogram(g.pix, g.h*g.w, g.c)
	table := make([]byte, 256*g.c)
	for ch := range g.c {
		h, t := counts[256*ch:][:256], table[256*ch:][:256]
		first := 0
		for h[first] == 0 {
			first++
		}
		rest := float64(g.h*g.w) - float64(h[first])
		if rest == 0 { // one value alone
			t[first] = byte(first)
			continue
		}
		sum := 0.0
		for i := first + 1; i < 256; i++ {
			sum += float64(h[i])
			t[i] = byte(math.RoundToEven(sum * 255 / rest))
		}
	}
	g.lookup(table)
}

// autoContrast stretches each channel to the whole range.
func (g *Augmenter) autoContrast() {
	g.flush()
	counts := pixel.Histogram(g.pix, g.h*g.w, g.c)
	table := make([]byte, 256*g.c)
	for ch := range g.c {
		h, t := counts[256*ch:][:256], table[256*ch:][:256]
		low, high := 0, 255
		for h[low] == 0 {
			low++
		}
		for h[high] == 0 {
			high--
		}
		for i := range t {
			if t[i] = byte(i); low < high {
				t[i] = byte(min(max(float64(i-low)*255/float64(high-low), 0), 255))
			}
		}
	}
	g.lookup(table)
}

// clahe equalises the lightness in tiles.
func (g *Augmenter) clahe(limit float64, rows, columns int) {
	rows, columns = min(rows, g.h), min(columns, g.w)
	g.change(func(src, dst []byte) {
		n := g.h * g.w
		th, tw := (g.h+rows-1)/rows, (g.w+columns-1)/columns
		if g.c == 1 {
			pixel.Tiles(src, dst, g.h, g.w, rows, columns, th, tw, claheTables(src, g.h, g.w, rows, columns, th, tw, limit))
			return
		}
		g.scratch = resized(g.scratch, 4*n)
		lab := g.scratch
		pixel.ToLab(src, lab[n:], n)
		pixel.Tiles(lab[n:2*n], lab[:n], g.h, g.w, rows, columns, th, tw, claheTables(lab[n:2*n], g.h, g.w, rows, columns, th, tw, limit))
		copy(lab[n:2*n], lab[:n])
		pixel.FromLab(lab[n:], dst, n)
	})
}

// claheTables makes a table for each tile from its histogram, of which what is above the limit is spread over all values. Tiles beyond the
// edge see the image mirrored.
func claheTables(plane []byte, h, w, rows, columns, th, tw int, limit float64) []byte {
	out, area := make([]byte, 256*rows*columns), th*tw
	most := max(int(limit*float64(area)/256), 1)
	var index []int
	for x := range columns * tw {
		index = append(index, pixel.Outside(x, w, pixel.Reflect101))
	}
	for ty := range rows {
		for tx := range columns {
			var counts [256]int
			for y := ty * th; y < (ty+1)*th; y++ {
				row := plane[pixel.Outside(y, h, pixel.Reflect101)*w:][:w]
				if (tx+1)*tw <= w {
					for _, v := range row[tx*tw : (tx+1)*tw] {
						counts[v]++
					}
					continue
				}
				for _, x := range index[tx*tw : (tx+1)*tw] {
					counts[row[x]]++
				}
			}
			equaliseTile(out[(ty*columns+tx)*256:][:256], &counts, most, area)
		}
	}
	return out
}

func equaliseTile(table []byte, counts *[256]int, most, area int) {
	over := 0
	for i, n := range counts {
		if n > most {
			over += n - most
			counts[i] = most
		}
	}
	each, rest := over/256, over%256
	for i := range counts {
		counts[i] += each
	}
	if rest > 0 {
		step := max(256/rest, 1)
		for i := 0; i < 256 && rest > 0; i, rest = i+step, rest-1 {
			counts[i]++
		}
	}
	sum, scale := 0, 255/float64(area)
	for i, n := range counts {
		sum += n
		table[i] = byte(min(math.RoundToEven(float64(sum)*scale), 255))
	}
}
