package evaluate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// maxSlices bounds the values of one name in the meta data, and none stands for images that have nothing under it.
const (
	maxSlices = 500
	none      = "(none)"
)

// slice is the images with one value under a name of the meta data.
type slice struct {
	name, value string
	images      int
	accuracy    float64
	low, high   float64 // 95 % interval of the accuracy (Wilson)
	f1, loss    float64
	baseline    float64 // accuracy of the baseline
}

// group judges the slices that are asked for.
func (r *result) group() error {
	for _, name := range r.slices {
		rows := map[string][]int32{}
		found := false
		for i := range r.data.Len() {
			value := none
			for _, pair := range r.data.Meta(i) {
				if pair.Name == name && pair.Value != "" {
					value, found = strings.Clone(pair.Value), true
				}
			}
			rows[value] = append(rows[value], int32(i))
		}
		switch {
		case !found:
			return stages.Problemf("slices", "Missing meta data", "No image has anything under %q in its meta data. The first has %s.", name, r.metaNames())
		case len(rows) > maxSlices:
			return stages.Problemf("slices", "Too many slices", "The meta data have %d different values under %q, and at most %d are judged one by one. Choose a name with fewer.", len(rows), name, maxSlices)
		}
		for _, value := range slices.Sorted(maps.Keys(rows)) {
			r.groups = append(r.groups, r.sliceOf(name, value, rows[value]))
		}
	}
	return nil
}

func (r *result) metaNames() string {
	var names []string
	for _, pair := range r.data.Meta(0) {
		names = append(names, strings.Clone(pair.Name))
	}
	if len(names) == 0 {
		return "none"
	}
	return listed(names)
}

func (r *result) sliceOf(name, value string, rows []int32) slice {
	s := slice{name: name, value: value, images: len(rows)}
	m := r.tally(r.model, rows)
	s.accuracy, s.f1, s.loss = m.accuracy, m.f1, m.loss
	s.low, s.high = infer.Interval(s.accuracy, s.images)
	if r.baseline != nil {
		s.baseline = r.tally(r.baseline, rows).accuracy
	}
	return s
}

// tallied is what can be said of some of the images.
type tallied struct{ accuracy, loss, f1 float64 }

// tally judges a model on some of the images, any of them more than once; F1 is the macro average as infer.Score has it.
func (r *result) tally(j *judgement, rows []int32) tallied {
	classes := len(j.classes)
	counts := make([]int, 3*classes) // (right, images, predicted) by class
	right, images, predicted := counts[:classes], counts[classes:2*classes], counts[2*classes:]
	hits, loss := 0, 0.0
	for _, i := range rows {
		if j.right[i] {
			hits++
		}
		loss += j.loss[i]
		for _, c := range r.truth[i] {
			images[c]++
		}
		for _, c := range j.answers[i] {
			predicted[c]++
			if j.right[i] || slices.Contains(r.truth[i], c) {
				right[c]++
			}
		}
	}
	f1, occurring := 0.0, 0
	for c := range classes {
		if images[c]+predicted[c] > 0 {
			f1 += 2 * float64(right[c]) / float64(images[c]+predicted[c])
			occurring++
		}
	}
	n := float64(len(rows))
	return tallied{float64(hits) / n, loss / n, f1 / float64(max(1, occurring))}
}

// names joins the names of classes.
func names(classes []string, of []int32, separator string) string {
	var out []string
	for _, c := range of {
		out = append(out, classes[c])
	}
	return strings.Join(out, separator)
}

// slicesValue is what the stage reports of the slices.
func (r *result) slicesValue() map[string]any {
	out := map[string]any{}
	for _, s := range r.groups {
		if out[s.name] == nil {
			out[s.name] = map[string]any{}
		}
		value := map[string]any{"images": s.images, "accuracy": s.accuracy, "f1": s.f1, "loss": s.loss, "interval": []float64{s.low, s.high}}
		if r.baseline != nil {
			value["baseline_accuracy"] = s.baseline
		}
		out[s.name].(map[string]any)[s.value] = value
	}
	return out
}

// worstSlice returns the slice with the lowest accuracy; nil without slices.
func (r *result) worstSlice() *slice {
	var worst *slice
	for i := range r.groups {
		if worst == nil || r.groups[i].accuracy < worst.accuracy {
			worst = &r.groups[i]
		}
	}
	return worst
}

func (s *slice) text() string { return fmt.Sprintf("%s = %s", s.name, s.value) }
