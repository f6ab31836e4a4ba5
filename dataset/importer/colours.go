package importer

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"maps"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// rgb is a colour of a mask.
type rgb [3]byte

// String is the colour as the user writes it.
func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// greySpread is how far a grey pixel's channels lie apart at most: compression as JPEG makes greys a little coloured.
const greySpread = 24

func (c rgb) spread() int { return int(max(c[0], c[1], c[2])) - int(min(c[0], c[1], c[2])) }

// colourOf is the colour of a pixel, without its alpha: what is transparent in a mask is still labelled.
func colourOf(c color.Color) rgb {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return rgb{n.R, n.G, n.B}
}

// ParseColour reads a colour as it is written for the web: #ff8000.
func ParseColour(text string) ([3]byte, error) {
	var c rgb
	if n, err := hex.Decode(c[:], []byte(strings.TrimPrefix(text, "#"))); len(text) != 7 || text[0] != '#' || err != nil || n != 3 {
		return c, fmt.Errorf("%q is no colour: write six hexadecimal digits, such as \"#ff8000\"", text)
	}
	return c, nil
}

// maskColours gives each class its index: in the order of the names where one is given, else sorted.
func maskColours(colours map[string]string, order []string) (classes []string, index map[rgb]byte, err error) {
	classes = order
	if classes == nil {
		classes = slices.Sorted(maps.Keys(colours))
	}
	index = map[rgb]byte{}
	for i, name := range classes {
		text, ok := colours[name]
		if !ok {
			return nil, nil, sourceErrorf("Class without a colour", "The class %q of mask_classes has no colour in mask_colors.", name)
		}
		c, err := ParseColour(text)
		if err != nil {
			return nil, nil, sourceErrorf("Malformed colour", "mask_colors of %s: %v.", name, err)
		}
		index[c] = byte(i) //nolint:gosec // there are fewer classes than Ignore
	}
	return classes, index, nil
}

// byColour makes classes of a picture's colours; a colour of no class becomes Ignore.
func (r maskReader) byColour(m image.Image) ([]byte, []Finding) {
	bounds := m.Bounds()
	h, w := bounds.Dy(), bounds.Dx()
	values, unknown := make([]byte, h*w), map[rgb]int{}
	for i := range values {
		c := colourOf(m.At(bounds.Min.X+i%w, bounds.Min.Y+i/w))
		v, ok := r.colours[c]
		if !ok {
			v = dataset.Ignore
			unknown[c]++
		}
		values[i] = v
	}
	if len(unknown) == 0 {
		return values, nil
	}
	n := 0
	for _, count := range unknown {
		n += count
	}
	// The most frequent first; of a mask that was scaled or compressed there are many.
	which := slices.SortedFunc(maps.Keys(unknown), func(a, b rgb) int {
		return cmp.Or(cmp.Compare(unknown[b], unknown[a]), bytes.Compare(a[:], b[:]))
	})
	names := make([]string, 0, 4)
	for _, c := range which[:min(len(which), 4)] {
		names = append(names, c.String())
	}
	text := fmt.Sprintf("%d pixels have colours of no class: %s", n, strings.Join(names, ", "))
	if more := len(which) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d others", more)
	}
	return values, []Finding{{MaskValues, "", text}}
}
