package importer

// Level says how grave a finding is.
type Level string

// The levels. An error leaves a record out; a repair changes an annotation; a warning changes nothing and should be looked at; a note tells how
// something usual was read.
const (
	Error   Level = "error"
	Repair  Level = "repair"
	Warning Level = "warning"
	Note    Level = "note"
)

// Kind is what was found. Its text is the heading in reports, and its name stands in JSON.
type Kind struct {
	Name  string
	Level Level
	Text  string
}

// The kinds of findings.
var (
	DamagedImage      = &Kind{"damaged_image", Error, "Images that cannot be read"}
	TooLarge          = &Kind{"too_large", Error, "Images that claim more pixels than are allowed"}
	DamagedAnnotation = &Kind{"damaged_annotation", Error, "Annotations that cannot be read"}
	NoImage           = &Kind{"annotation_without_image", Error, "Annotations without an image"}
	UnknownLabel      = &Kind{"unknown_label", Error, "Labels that are not in the list of classes"}
	NoLabelFound      = &Kind{"image_without_label", Error, "Images without a label"}
	SameID            = &Kind{"same_id", Error, "Images with the id of another one"}

	EmptyBox       = &Kind{"empty_box", Repair, "Boxes without an area, left out"}
	InvertedBox    = &Kind{"inverted_box", Repair, "Inverted boxes, turned round"}
	NotANumber     = &Kind{"not_a_number", Repair, "Boxes and polygons with coordinates that are no numbers, left out"}
	BoxOutside     = &Kind{"box_outside", Repair, "Boxes outside of the image, left out"}
	BoxClipped     = &Kind{"box_clipped", Repair, "Boxes partly outside of the image, clipped"}
	RepeatedBox    = &Kind{"repeated_box", Repair, "Boxes that repeat another of the same class exactly, left out"}
	BadPolygon     = &Kind{"bad_polygon", Repair, "Polygons of fewer than three points, left out"}
	UnknownClass   = &Kind{"unknown_class", Repair, "Objects of a class that is not in the list, left out"}
	MaskSize       = &Kind{"mask_size", Repair, "Masks of another size than their image, scaled"}
	MaskValues     = &Kind{"mask_values", Repair, "Masks with values that are no class, ignored there"}
	MaskNotBinary  = &Kind{"mask_not_binary", Repair, "Masks with values between black and white, divided at the threshold"}
	Unsupported    = &Kind{"unsupported_annotation", Repair, "Annotations of a kind that is not read, left out"}
	LabelConflict  = &Kind{"label_conflict", Warning, "Identical images with different annotations"}
	Identical      = &Kind{"identical_images", Warning, "Identical images"}
	NearDuplicate  = &Kind{"near_duplicates", Warning, "Images that look alike"}
	Leak           = &Kind{"duplicates_across_splits", Warning, "Identical or nearly identical images in different parts of the data set"}
	EmptyMask      = &Kind{"empty_mask", Warning, "Empty masks in a class whose images have something to mark"}
	NoAnnotation   = &Kind{"image_without_annotation", Warning, "Images without an annotation"}
	NameDiffers    = &Kind{"file_name_differs", Warning, "Annotations that call their image by another name"}
	SizeDiffers    = &Kind{"size_differs", Warning, "Annotations that say another size than the image has"}
	DepthDiffers   = &Kind{"depth_differs", Warning, "Annotations that say another number of channels than the image has"}
	ClassDiffers   = &Kind{"class_differs", Warning, "Images that hold objects of another class than their label"}
	WrongExtension = &Kind{"wrong_extension", Warning, "Files whose name says another format than they have"}
	NoObjects      = &Kind{"class_without_objects", Warning, "Classes without objects"}
	Unlisted       = &Kind{"unlisted_file", Warning, "Pictures that no annotation mentions, left out"}

	ClassLeftOut = &Kind{"class_left_out", Note, "Classes that the argument \"classes\" leaves out"}
	Converted    = &Kind{"converted_annotation", Note, "Rotated boxes and ellipses, read as outlines; a box around the former"}
	NoMarks      = &Kind{"class_without_marks", Note, "Classes whose masks are all empty"}
	Turned       = &Kind{"turned", Note, "Images turned as their EXIF data says"}
	Transparent  = &Kind{"transparent", Note, "Images with transparency, composited over black"}
	Deep         = &Kind{"sixteen_bit", Note, "Images of 16 bits a channel, reduced to 8"}
	Inks         = &Kind{"cmyk", Note, "Images in CMYK, turned into RGB"}
)

// Finding is one thing that was found.
type Finding struct {
	Kind   *Kind
	Record string // the id of the image, or the name of the file; "" where it is of the whole source
	Detail string
}

// Kinds lists every kind, the gravest first.
func Kinds() []*Kind {
	return []*Kind{
		DamagedImage, TooLarge, DamagedAnnotation, NoImage, UnknownLabel, NoLabelFound, SameID, EmptyBox, InvertedBox, NotANumber, BoxOutside, BoxClipped, RepeatedBox, BadPolygon, UnknownClass, MaskSize, MaskValues, MaskNotBinary, Unsupported, LabelConflict, Identical, NearDuplicate, Leak, EmptyMask, NoAnnotation, NameDiffers, SizeDiffers, DepthDiffers, ClassDiffers, WrongExtension, NoObjects, Unlisted, ClassLeftOut, Converted, NoMarks, Turned, Transparent, Deep, Inks,
	}
}
