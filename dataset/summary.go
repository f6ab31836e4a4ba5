package dataset

// Summary is what a dataset holds, counted.
type Summary struct {
	Images      int            `json:"images"`
	Task        Task           `json:"task"`
	Height      int            `json:"height"`   // pixels
	Width       int            `json:"width"`    // pixels
	Channels    int            `json:"channels"` // 1: grey, 3: RGB
	Storage     string         `json:"storage"`  // decoded or encoded
	Classes     []ClassCount   `json:"classes"`
	Boxes       int            `json:"boxes"`
	Polygons    int            `json:"polygons"`
	Masks       int            `json:"masks"` // images that have one
	MaskClasses []string       `json:"mask_classes"`
	Unannotated int            `json:"unannotated"` // images without a label, an object or a mask
	Parts       map[string]int `json:"parts"`       // images by the source's own division, where it has one
	Meta        map[string]int `json:"meta"`        // images by the name of what their meta data hold
	Policy      []string       `json:"policy"`      // the attached operations
}

// ClassCount counts a class: in how many images it occurs, and as how many boxes and polygons.
type ClassCount struct {
	Name    string `json:"name"`
	Images  int    `json:"images"`
	Objects int    `json:"objects"`
}

// Summarize counts what the dataset holds. It reads every annotation and no pixel.
func (d *Dataset) Summarize() Summary {
	info := d.info
	s := Summary{Images: d.rows, Task: info.Task, Height: info.Height, Width: info.Width, Channels: info.Channels, Storage: "decoded",
		Classes: make([]ClassCount, len(info.Classes)), MaskClasses: append([]string{}, info.MaskClasses...), Parts: map[string]int{}, Meta: map[string]int{}, Policy: []string{}}
	if info.Encoded {
		s.Storage = "encoded"
	}
	for i, name := range info.Classes {
		s.Classes[i].Name = name
	}
	if info.Policy != nil {
		for _, o := range info.Policy.Operations() {
			s.Policy = append(s.Policy, o.Name)
		}
	}
	for i := range d.rows {
		sample := d.Sample(i)
		s.count(&sample)
	}
	return s
}

func (s *Summary) count(sample *Sample) {
	in := map[int32]bool{}
	if sample.Label != NoLabel {
		in[sample.Label] = true
	}
	for _, l := range sample.Labels {
		in[l] = true
	}
	for _, b := range sample.Boxes {
		s.Boxes++
		s.Classes[b.Class].Objects++
		in[b.Class] = true
	}
	for _, p := range sample.Polygons {
		s.Polygons++
		s.Classes[p.Class].Objects++
		in[p.Class] = true
	}
	for c := range in {
		s.Classes[c].Images++
	}
	if sample.Mask != nil {
		s.Masks++
	}
	if len(in) == 0 && sample.Mask == nil {
		s.Unannotated++
	}
	if sample.Split != "" {
		s.Parts[sample.Split]++
	}
	for _, pair := range sample.Meta {
		s.Meta[pair.Name]++
	}
}
