package importer

import (
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

// drawn is the mask that the polygons give, later ones over earlier ones, in the indexes of the mask's classes. What none covers is background; but in an
// image whose background has outlines too it is unknown, and so ignored.
func (j *judge) drawn() []byte {
	h, w := j.a.Info.Height, j.a.Info.Width
	mask := make([]byte, h*w)
	index := make([]byte, len(j.a.Info.Classes))
	for i, name := range j.a.Info.Classes {
		index[i] = byte(slices.Index(j.a.Info.MaskClasses, name)) //nolint:gosec // there are fewer classes than Ignore
	}
	for _, p := range j.r.Sample.Polygons {
		if index[p.Class] == 0 {
			for i := range mask {
				mask[i] = dataset.Ignore
			}
			break
		}
	}
	for _, p := range j.r.Sample.Polygons {
		rings := make([][]float64, len(p.Rings))
		for i, ring := range p.Rings {
			for _, v := range ring {
				rings[i] = append(rings[i], float64(v))
			}
		}
		fill(mask, h, w, rings, index[p.Class])
	}
	j.r.Measure.Marked = true
	return mask
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
