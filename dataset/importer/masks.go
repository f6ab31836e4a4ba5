package importer

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// maskFolders are the names of folders of masks, and imageFolders those of the folders of the images beside them.
var (
	maskFolders  = []string{"masks", "mask", "labels", "label", "annotations", "segmentationclass", "gt", "ground_truth", "segmentations"}
	imageFolders = []string{"images", "image", "imgs", "img", "jpegimages", "photos"}
	maskSuffixes = []string{"_mask", "_label", "_seg", "_gt", "-mask"}
)

// DefaultThreshold divides black from white in masks whose values are not classes.
const DefaultThreshold = 127

// maskPairs finds the mask of each image: beside it under the same stem, as a PNG where the image is none; under a suffix; or in a folder of masks.
// beside says that images lie in folders of their own, which may be classes.
func (s source) maskPairs() (masks map[string]string, orphans []string, beside bool) {
	masks = map[string]string{}
	byStem := map[string][]string{}
	for _, f := range s.files {
		if isPicture(f) {
			byStem[strings.TrimSuffix(f, path.Ext(f))] = append(byStem[strings.TrimSuffix(f, path.Ext(f))], f)
		}
	}
	used := map[string]bool{}
	take := func(image, mask string) {
		if _, ok := masks[image]; !ok && image != mask {
			masks[image], used[mask] = mask, true
		}
	}
	var folderMasks []string
	for _, stem := range slices.Sorted(maps.Keys(byStem)) {
		files := byStem[stem]
		if len(files) == 2 {
			slices.SortFunc(files, func(a, b string) int { return b2i(isPNG(a)) - b2i(isPNG(b)) })
			if isPNG(files[1]) && !isPNG(files[0]) {
				take(files[0], files[1])
				beside = true
			}
		}
		for _, suffix := range maskSuffixes {
			if plain, ok := strings.CutSuffix(stem, suffix); ok && len(byStem[plain]) > 0 {
				take(byStem[plain][0], files[0])
				beside = true
			}
		}
		if inFolder(stem, maskFolders) {
			folderMasks = append(folderMasks, files...)
		}
	}
	slices.Sort(folderMasks)
	images := s.stems()
	for _, mask := range folderMasks {
		stem := strings.TrimSuffix(path.Base(mask), path.Ext(mask))
		for _, suffix := range maskSuffixes {
			stem = strings.TrimSuffix(stem, suffix)
		}
		best, most := "", -1
		for _, f := range images[stem] {
			if n := shared(mask, f); !inFolder(f, maskFolders) && n > most {
				best, most = f, n
			}
		}
		if best != "" {
			take(best, mask)
		}
		if !used[mask] {
			orphans = append(orphans, mask)
		}
	}
	return masks, orphans, beside
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func isPNG(f string) bool { return strings.EqualFold(path.Ext(f), ".png") }

// inFolder reports whether one of the folders of a path has one of the names.
func inFolder(f string, names []string) bool {
	folders := strings.Split(strings.ToLower(f), "/")
	return slices.ContainsFunc(folders[:len(folders)-1], func(d string) bool { return slices.Contains(names, d) })
}

func (s source) openMasks(o Options) (*listing, error) {
	masks, orphans, beside := s.maskPairs()
	if len(masks) == 0 {
		return nil, sourceErrorf("No masks found", "The source holds no pictures with masks: image.jpg with image.png beside it, image.png with image_mask.png, or folders images/ and masks/.")
	}
	l := &listing{task: dataset.Segmentation, maskClasses: o.MaskClasses, folders: true}
	if l.maskClasses == nil {
		l.maskClasses = []string{background, "foreground"}
	}
	isMask := map[string]bool{}
	for _, m := range masks {
		isMask[m] = true
	}
	for _, f := range orphans {
		isMask[f] = true
		l.found = append(l.found, Finding{NoImage, readable(f), "the mask is of no picture of the source"})
	}
	r := maskReader{source: s, classes: len(l.maskClasses), threshold: o.MaskThreshold, ids: o.MaskClasses != nil}
	if len(o.MaskColors) > 0 {
		var err error
		if l.maskClasses, r.colours, err = maskColours(o.MaskColors, o.MaskClasses); err != nil {
			return nil, err
		}
	}
	var items []item
	for _, f := range s.files {
		if !isPicture(f) || isMask[f] {
			continue
		}
		it := s.pictureItem(f)
		it.split = splitOfPath(f)
		if beside && !inFolder(f, imageFolders) {
			it.label = folderClass(f)
		}
		if m, ok := masks[f]; ok {
			it.mask = func(h, w int) ([]byte, []Finding, error) { return r.mask(m, h, w) }
		} else {
			it.found = append(it.found, Finding{NoAnnotation, it.id, "it has no mask"})
		}
		items = append(items, it)
	}
	if slices.ContainsFunc(items, func(it item) bool { return it.label == "" }) {
		for i := range items {
			items[i].label = ""
		}
	}
	l.items, l.count, l.classes = each(items), len(items), sortedClasses(items)
	return l, nil
}

// maskReader reads masks: values are indexes of classes, or grey levels to be divided.
type maskReader struct {
	source
	classes, threshold int
	ids                bool
	colours            map[rgb]byte // classes by colour; nil: masks are not in colours
}

// mask reads the mask for a picture of h×w.
func (r maskReader) mask(f string, h, w int) ([]byte, []Finding, error) {
	b, err := r.read(f, maxFile)
	if err != nil {
		return nil, nil, &annotationError{f, err}
	}
	m, _, err := picture.Read(b, picture.DefaultPixels)
	if err != nil {
		return nil, nil, &annotationError{f, err}
	}
	mh, mw := m.Bounds().Dy(), m.Bounds().Dx()
	var values []byte
	var found []Finding
	if r.colours != nil {
		values, found = r.byColour(m)
	} else if values, err = maskValues(m); err != nil {
		return nil, nil, &annotationError{f, err}
	} else if r.ids {
		found = r.check(values)
	} else {
		found = divide(values, r.threshold)
	}
	if mh != h || mw != w {
		found = append(found, Finding{MaskSize, "", fmt.Sprintf("the mask has %d×%d pixels, the image %d×%d", mw, mh, w, h)})
		values = scaleMask(values, mh, mw, h, w)
	}
	return values, found, nil
}

// check sets values that are no class to Ignore.
func (r maskReader) check(values []byte) []Finding {
	var counts [256]int
	for i, v := range values {
		if int(v) >= r.classes && v != dataset.Ignore {
			counts[v]++
			values[i] = dataset.Ignore
		}
	}
	n, which := 0, []string{}
	for v, c := range counts {
		if c > 0 {
			n += c
			which = append(which, fmt.Sprint(v))
		}
	}
	if n == 0 {
		return nil
	}
	return []Finding{{MaskValues, "", fmt.Sprintf("%d pixels have the values %s", n, strings.Join(which, ", "))}}
}

// divide sets values above the threshold to 1 and the others to 0. A mask of two values, the lower of them 0, is binary, whatever the other.
func divide(values []byte, threshold int) []Finding {
	between, top := 0, byte(0)
	for _, v := range values {
		top = max(top, v)
	}
	for i, v := range values {
		if v != 0 && v != 255 && !(v == 1 && top == 1) {
			between++
		}
		if int(v) > threshold || top == 1 && v == 1 {
			values[i] = 1
		} else {
			values[i] = 0
		}
	}
	if between == 0 {
		return nil
	}
	return []Finding{{MaskNotBinary, "", fmt.Sprintf("%d pixels lie between 0 and 255; the largest value is %d", between, top)}}
}

// maskValues are the values of a mask (h, w): the palette's indexes where it has one, else grey levels. Another mask in colours has no values.
func maskValues(m image.Image) ([]byte, error) {
	bounds := m.Bounds()
	h, w := bounds.Dy(), bounds.Dx()
	values := make([]byte, h*w)
	for y := range h {
		switch m := m.(type) {
		case *image.Paletted:
			copy(values[y*w:(y+1)*w], m.Pix[y*m.Stride:])
		case *image.Gray:
			copy(values[y*w:(y+1)*w], m.Pix[y*m.Stride:])
		default:
			for x := range w {
				at := m.At(bounds.Min.X+x, bounds.Min.Y+y)
				if c := colourOf(at); c.spread() > greySpread {
					return nil, fmt.Errorf("the mask is in colours, such as %s at column %d of row %d: mask_colors says which of them is which class", c, x, y)
				}
				values[y*w+x] = color.GrayModel.Convert(at).(color.Gray).Y
			}
		}
	}
	if p, ok := m.(*image.Paletted); ok && blackAndWhite(p.Palette) {
		for i, v := range values {
			g, _, _, _ := p.Palette[min(int(v), len(p.Palette)-1)].RGBA()
			values[i] = byte(g >> 8)
		}
	}
	return values, nil
}

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

// blackAndWhite reports whether a palette is two grey levels, and so no list of classes.
func blackAndWhite(p color.Palette) bool {
	if len(p) != 2 {
		return false
	}
	for _, c := range p {
		if r, g, b, _ := c.RGBA(); r != g || g != b || r != 0 && r != 0xffff {
			return false
		}
	}
	return true
}

// scaleMask scales a mask by taking the value at the centre of each pixel.
func scaleMask(mask []byte, h, w, toH, toW int) []byte {
	if h == toH && w == toW {
		return mask
	}
	out := make([]byte, toH*toW)
	for y := range toH {
		from := (2*y + 1) * h / (2 * toH)
		for x := range toW {
			out[y*toW+x] = mask[from*w+(2*x+1)*w/(2*toW)]
		}
	}
	return out
}
