package dataset

import (
	"fmt"
	"math"
)

// Task is what the annotations of a dataset are for.
type Task string

// The tasks. In a dataset for classification every image has a label; elsewhere a label may be missing.
const (
	Unlabelled     Task = "none"
	Classification Task = "classification"
	MultiLabel     Task = "multilabel"
	Detection      Task = "detection"
	Segmentation   Task = "segmentation"
)

// NoLabel is the label of an image without one.
const NoLabel int32 = -1

// Ignore is the value of a mask's pixel that belongs to no class and counts nowhere.
const Ignore byte = 255

// Box is an object's place, in pixels of the image as it is read (Info.Height × Info.Width): 0 ≤ X0 < X1 ≤ width, y pointing down. A
// pixel at (x, y) covers x to x+1 and y to y+1.
type Box struct {
	X0, Y0, X1, Y1 float32
	Class          int32
}

// Polygon is an object's outline. A ring is x0, y0, x1, y1, …, of three points or more, in the coordinates of a Box, closed from its last
// point to its first; what several rings cover is inside by the even-odd rule.
type Polygon struct {
	Class int32
	Rings [][]float32
}

// Sample is one row: an image with everything that is known of it.
type Sample struct {
	// ID is the name that the image had where it came from. It stays through every later stage.
	ID string
	// Image is (H, W, C) bytes, or the bytes of the picture's file where Info.Encoded.
	Image []byte
	// Height and Width are those of the image where it came from, in pixels; 0 stands for Info's.
	Height, Width int

	Label    int32     // index of the class; NoLabel: none
	Labels   []int32   // of a multi-label dataset: indexes of classes, rising
	Boxes    []Box     //
	Polygons []Polygon //
	Mask     []byte    // (H, W) of Info: indexes of Info.MaskClasses, or Ignore; nil: none
	Split    string    // the part that the source puts the image into: "train"; "": none
	Meta     []Pair    // what else the source says
}

// Pair is a name and a value of a sample's meta data.
type Pair struct{ Name, Value string }

// check refuses what cannot stand in a dataset of that kind.
func (s *Sample) check(info Info) error {
	classes := int32(len(info.Classes))
	switch {
	case s.ID == "":
		return fmt.Errorf("it has no id")
	case !info.Encoded && len(s.Image) != info.ImageSize():
		return fmt.Errorf("it has %d bytes, not %d", len(s.Image), info.ImageSize())
	case info.Encoded && (len(s.Image) == 0 || len(s.Image) > math.MaxInt32):
		return fmt.Errorf("its file has %d bytes", len(s.Image))
	case s.Height < 0 || s.Width < 0 || s.Height > math.MaxInt32 || s.Width > math.MaxInt32:
		return fmt.Errorf("its size %d×%d where it came from is not within 0 to %d", s.Width, s.Height, math.MaxInt32)
	case s.Label < NoLabel || s.Label >= classes:
		return fmt.Errorf("it has the label %d, which is not one of the %d classes", s.Label, classes)
	case s.Label == NoLabel && info.Task == Classification:
		return fmt.Errorf("it has no label, which every image of a dataset for classification has")
	}
	for i, l := range s.Labels {
		if l < 0 || l >= classes || i > 0 && l <= s.Labels[i-1] {
			return fmt.Errorf("its labels %v are not rising indexes of the %d classes", s.Labels, classes)
		}
	}
	for _, b := range s.Boxes {
		if err := b.check(info); err != nil {
			return err
		}
	}
	for _, p := range s.Polygons {
		if err := p.check(classes); err != nil {
			return err
		}
	}
	return checkMask(s.Mask, info)
}

func (b Box) check(info Info) error {
	if b.Class < 0 || int(b.Class) >= len(info.Classes) {
		return fmt.Errorf("a box has the class %d, which is not one of the %d", b.Class, len(info.Classes))
	}
	// Written so that a value that is not a number is refused.
	if !(0 <= b.X0 && b.X0 < b.X1 && b.X1 <= float32(info.Width) && 0 <= b.Y0 && b.Y0 < b.Y1 && b.Y1 <= float32(info.Height)) {
		return fmt.Errorf("the box %g, %g, %g, %g is empty or not within the image of %d×%d", b.X0, b.Y0, b.X1, b.Y1, info.Width, info.Height)
	}
	return nil
}

// maxCoordinate bounds the points of polygons, which may lie outside of the image, in pixels.
const maxCoordinate = 1 << 20

func (p Polygon) check(classes int32) error {
	if p.Class < 0 || p.Class >= classes {
		return fmt.Errorf("a polygon has the class %d, which is not one of the %d", p.Class, classes)
	}
	if len(p.Rings) == 0 {
		return fmt.Errorf("a polygon has no points")
	}
	for _, ring := range p.Rings {
		if err := checkRing(ring); err != nil {
			return err
		}
	}
	return nil
}

func checkRing(ring []float32) error {
	if len(ring) < 6 || len(ring)%2 != 0 {
		return fmt.Errorf("a polygon has a ring of %d numbers: it takes two for each point, and three points or more", len(ring))
	}
	for _, v := range ring {
		if !(v >= -maxCoordinate && v <= maxCoordinate) {
			return fmt.Errorf("a polygon has a point at %g", v)
		}
	}
	return nil
}

func checkMask(mask []byte, info Info) error {
	if mask == nil {
		return nil
	}
	if len(mask) != info.Height*info.Width {
		return fmt.Errorf("its mask has %d pixels, not %d×%d", len(mask), info.Width, info.Height)
	}
	n := len(info.MaskClasses)
	for i, v := range mask {
		if int(v) >= n && v != Ignore {
			return fmt.Errorf("its mask has the value %d at (%d, %d), and there are %d classes of masks", v, i%info.Width, i/info.Width, n)
		}
	}
	return nil
}
