package split

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// run divides samples and returns the ids by output and what was said.
func run(t *testing.T, info dataset.Info, samples []dataset.Sample, args map[string]any) (map[string][]string, *spoken, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.arrow")
	w, err := dataset.Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if err := w.AddSample(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stage := Kind.New()
	schema, problems := stages.Decode(stage, stages.Args{Values: args}, map[string]bool{"data": true})
	if stages.HasErrors(problems) {
		return nil, nil, problems[0]
	}
	said := &spoken{values: map[string]any{}}
	job := (&stages.Job{OutDir: t.TempDir(), Seed: 1, Inputs: map[string][]stages.Input{"data": {{Path: path}}}}).WithReporter(said)
	if err := stage.Run(t.Context(), job); err != nil {
		return nil, nil, err
	}
	byID := map[string]dataset.Sample{}
	for _, s := range samples {
		byID[s.ID] = s
	}
	out := map[string][]string{}
	for _, p := range schema.Outputs {
		d, err := dataset.Open(job.Output(p.Name))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(d.Info(), info) {
			t.Errorf("%s describes itself as %+v, the data as %+v", p.Name, d.Info(), info)
		}
		for i := range d.Len() {
			got := d.Sample(i)
			if want := byID[got.ID]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("a sample did not survive:\n%+v\n%+v", got, want)
			}
			out[p.Name] = append(out[p.Name], strings.Clone(got.ID)) // it is a view of the file
		}
		d.Close()
	}
	for _, v := range schema.Values {
		if said.values[v.Name] == nil {
			t.Errorf("the value %s was not reported", v.Name)
		}
	}
	return out, said, nil
}

// rich makes n samples that carry everything, of 12 patients, over 12 days.
func rich(n int) (dataset.Info, []dataset.Sample) {
	info := dataset.Info{Task: dataset.Detection, Classes: []string{"a", "b", "c"}, MaskClasses: []string{"none", "some"}, Height: 4, Width: 4, Channels: 1}
	var out []dataset.Sample
	for i := range n {
		s := dataset.Sample{ID: fmt.Sprintf("p%02d/%d", i%12, i), Image: slices.Repeat([]byte{byte(i), byte(i >> 8)}, 8), Height: 40, Width: 44, Label: dataset.NoLabel,
			Boxes:    []dataset.Box{{X0: 0, Y0: 0.5, X1: 3, Y1: 4, Class: int32(i % 3)}},
			Polygons: []dataset.Polygon{{Class: int32(i / 12 % 3), Rings: [][]float32{{0, 0, 1, 0, 1, 1}}}},
			Mask:     slices.Repeat([]byte{0, 1, dataset.Ignore, 1}, 4), Split: []string{"train", "val", "other"}[i%3],
			Meta: []dataset.Pair{{Name: "patient", Value: fmt.Sprintf("p%02d", i%12)}, {Name: "day", Value: fmt.Sprintf("2026-03-%02d", 1+i*7%12)}}}
		out = append(out, s)
	}
	return info, out
}

func meta(s dataset.Sample, name string) string { v, _ := value(&s, name); return v }

// homes returns the outputs in which the images of each value of some meta data are.
func homes(samples []dataset.Sample, parts map[string][]string, name string) map[string]map[string]bool {
	byID := map[string]dataset.Sample{}
	for _, s := range samples {
		byID[s.ID] = s
	}
	out := map[string]map[string]bool{}
	for part, ids := range parts {
		for _, id := range ids {
			key := meta(byID[id], name)
			if out[key] == nil {
				out[key] = map[string]bool{}
			}
			out[key][part] = true
		}
	}
	return out
}

func TestSizes(t *testing.T) {
	info, samples := rich(120)
	parts, said, err := run(t, info, samples, map[string]any{"sizes": map[string]any{"few": 13.0, "more": 50.0}})
	if err != nil {
		t.Fatal(err)
	}
	if len(parts["few"]) != 13 || len(parts["more"]) != 50 || said.values["left_out"] != 57 {
		t.Errorf("%d and %d images, %v left out", len(parts["few"]), len(parts["more"]), said.values["left_out"])
	}
}

func TestGroups(t *testing.T) {
	info, samples := rich(120)
	for _, args := range []map[string]any{
		{"group_by": "patient"}, {"group_pattern": "^(p[0-9]+)/"}, {"group_pattern": "^p[0-9]+"}, {"group_by": "patient", "folds": 4.0}, {"group_by": "patient", "stratify": false},
	} {
		parts, said, err := run(t, info, samples, args)
		if err != nil {
			t.Fatal(err)
		}
		if args["folds"] != nil {
			maps.DeleteFunc(parts, func(name string, _ []string) bool { return strings.HasSuffix(name, "train") })
		}
		for patient, in := range homes(samples, parts, "patient") {
			if len(in) != 1 {
				t.Errorf("%v: the images of %s are in %v", args, patient, in)
			}
		}
		if said.values["groups"] != 12 {
			t.Errorf("%v: %v groups", args, said.values["groups"])
		}
	}
}

func TestAlongTime(t *testing.T) {
	info, samples := rich(120)
	parts, _, err := run(t, info, samples, map[string]any{"order_by": "day", "ratio": []any{2.0, 1.0, 1.0}})
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	byID := map[string]dataset.Sample{}
	for _, s := range samples {
		byID[s.ID] = s
	}
	for _, name := range listNames {
		first, latest := "9", ""
		for _, id := range parts[name] {
			day := meta(byID[id], "day")
			first, latest = min(first, day), max(latest, day)
		}
		if first <= last {
			t.Errorf("%s begins on %s, the part before ends on %s", name, first, last)
		}
		last = latest
	}
	if n := len(parts["train"]); n != 60 {
		t.Errorf("%d of 120 images train", n)
	}
	folds, _, err := run(t, info, samples, map[string]any{"order_by": "day", "folds": 3.0})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		train, validation := folds[foldName(i, "train")], folds[foldName(i, "validation")]
		latest := ""
		for _, id := range train {
			latest = max(latest, meta(byID[id], "day"))
		}
		for _, id := range validation {
			if meta(byID[id], "day") <= latest {
				t.Fatalf("fold %d is validated on %s, before its training ends", i, id)
			}
		}
		if len(train) != 30*(i+1) || len(validation) != 30 {
			t.Errorf("fold %d: %d and %d images", i, len(train), len(validation))
		}
	}
}

func TestPredefined(t *testing.T) {
	info, samples := rich(30)
	samples[1].Image = samples[0].Image // one in train, one in val
	parts, said, err := run(t, info, samples, map[string]any{"source_parts": map[string]any{"fit": "train", "check": "val"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(parts["fit"]) != 10 || len(parts["check"]) != 10 || said.values["left_out"] != 10 || said.values["leaked"] != 2 {
		t.Errorf("%v, %v", parts, said.values)
	}
	if !strings.Contains(strings.Join(said.lines, "\n"), `"p00/0" and "p01/1"`) {
		t.Errorf("the leak is not named: %q", said.lines)
	}
	parts, said, err = run(t, info, samples, map[string]any{"lists": map[string]any{"fit": "p00/0\r\np03/3\n\n", "check": []any{"p02/2"}}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(parts["fit"], []string{"p00/0", "p03/3"}) || !slices.Equal(parts["check"], []string{"p02/2"}) || said.values["left_out"] != 27 {
		t.Errorf("%v, %v", parts, said.values)
	}
}

// Images that look alike stay together when they are asked to, and equal ones may part when they may.
func TestDuplicates(t *testing.T) {
	info := dataset.Info{Task: dataset.Classification, Classes: []string{"a"}, Height: 16, Width: 16, Channels: 1}
	var samples []dataset.Sample
	for i := range 24 {
		picture := make([]byte, 256)
		for at := range picture {
			x, y := at%16, at/16
			picture[at] = byte(100 + (x*(7+i)+y*(3+5*i))%97) // unlike each other
		}
		brighter := slices.Clone(picture)
		for at := range brighter {
			brighter[at] += 5
		}
		for k, image := range [][]byte{picture, brighter, picture} {
			samples = append(samples, dataset.Sample{ID: fmt.Sprintf("%d-%d", k, i), Image: image, Height: 16, Width: 16, Meta: []dataset.Pair{{Name: "scene", Value: fmt.Sprint(i)}}})
		}
	}
	parted := func(duplicates string) (scenes int, said *spoken) {
		parts, said, err := run(t, info, samples, map[string]any{"ratio": []any{1.0, 1.0}, "duplicates": duplicates})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range homes(samples, parts, "scene") {
			if len(in) > 1 {
				scenes++
			}
		}
		return scenes, said
	}
	if n, said := parted("alike"); n != 0 || said.values["alike"].(int) < 24 || !strings.Contains(said.lines[0], "look alike") {
		t.Errorf("%d scenes are in both parts, %v, %q", n, said.values, said.lines)
	}
	if n, said := parted("identical"); n == 0 || said.values["leaked"] != 0 || said.values["identical"] != 24 {
		t.Errorf("%d scenes are in both parts, %v", n, said.values)
	}
	if _, said := parted("ignore"); said.values["leaked"] == 0 {
		t.Errorf("equal images were to part: %v", said.values)
	}
}

func TestProblemsOfWays(t *testing.T) {
	info, samples := rich(30)
	for _, c := range []struct {
		args map[string]any
		err  string
	}{
		{map[string]any{"ratio": []any{1.0, 1.0}, "sizes": []any{1.0}}, "both ratio and sizes"},
		{map[string]any{"sizes": []any{1.5}}, "whole number of at least 1"},
		{map[string]any{"sizes": []any{20.0, 11.0}}, "The sizes add up to 31, but there are 30 images"},
		{map[string]any{"group_by": "patient", "group_pattern": "x"}, "both group_by and group_pattern"},
		{map[string]any{"group_by": "doctor"}, `nothing under "doctor". It has patient, day.`},
		{map[string]any{"group_pattern": "("}, "is not a regular expression"},
		{map[string]any{"group_pattern": "^p00"}, `The id "p01/1" does not match`},
		{map[string]any{"order_by": "patient"}, `"p00", of the image "p00/0", is neither a number nor a time`},
		{map[string]any{"order_by": "day", "ratio": map[string]any{"a": 1.0, "b": 1.0}}, "parts need an order"},
		{map[string]any{"source_parts": map[string]any{"fit": "Train"}}, `no image into the part "Train". It has "other" (10 images), "train" (10 images), "val" (10 images)`},
		{map[string]any{"source_parts": map[string]any{"a": "val", "b": "val"}}, "both take the source's part"},
		{map[string]any{"source_parts": map[string]any{"a": "val"}, "order_by": "day"}, "both source_parts and order_by"},
		{map[string]any{"lists": "x"}, "a map from output names to ids"},
		{map[string]any{"lists": map[string]any{"a": "x\ny"}}, `2 are of no image, the first of them "x"`},
		{map[string]any{"lists": map[string]any{"a": "p00/0", "b": []any{"p00/0"}}}, "can be in one part only"},
		{map[string]any{"lists": map[string]any{"a": "\n"}}, "is empty"},
		{map[string]any{"lists": map[string]any{"A": "x"}}, "cannot name an output"},
		{map[string]any{"ratio": map[string]any{"leaked": 1.0, "b": 1.0}}, "cannot name an output"},
	} {
		if _, _, err := run(t, info, samples, c.args); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
}
