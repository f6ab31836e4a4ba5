package split

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

// image is a row of a made-up dataset: rows with equal content have equal bytes.
type image struct{ label, content int }

func writeData(t *testing.T, dir string, rows []image) string {
	t.Helper()
	classes := []string{"a", "b", "c"}
	path := filepath.Join(dir, "data.arrow")
	w, err := dataset.Create(path, dataset.Info{Classes: classes, Height: 2, Width: 2, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if err := w.Add(fmt.Sprint(i), int32(r.label), []byte{byte(r.content), byte(r.content >> 8), 1, 2}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// distinct returns n rows of class label with contents of their own.
func distinct(label, n int) []image {
	var out []image
	for i := range n {
		out = append(out, image{label, 1000*label + i})
	}
	return out
}

func TestConformance(t *testing.T) {
	inputs := func(t *testing.T, dir string) map[string][]stages.Input {
		rows := slices.Concat(distinct(0, 21), distinct(1, 40), distinct(2, 13), []image{{0, 5}, {1, 5}})
		return map[string][]stages.Input{"data": {{Path: writeData(t, dir, rows), Ref: artifact.Ref{Type: artifact.Dataset}}}}
	}
	t.Run("shares", func(t *testing.T) {
		stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Inputs: inputs})
	})
	t.Run("folds", func(t *testing.T) {
		stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Inputs: inputs, PinFile: "testdata/pinned_folds.json", Args: stages.Args{Values: map[string]any{"folds": 3.0}}})
	})
}

type spoken struct {
	sync.Mutex
	lines  []string
	values map[string]any
}

func (s *spoken) Progress(stages.Progress)     {}
func (s *spoken) Log(line string)              { s.Lock(); s.lines = append(s.lines, line); s.Unlock() }
func (s *spoken) Measure(string, float64)      {}
func (s *spoken) Value(name string, value any) { s.Lock(); s.values[name] = value; s.Unlock() }

// divide runs the kind and returns the ids by output and what was said.
func divide(t *testing.T, rows []image, seed uint64, args map[string]any) (map[string][]int, *spoken, error) {
	t.Helper()
	stage := Kind.New()
	schema, problems := stages.Decode(stage, stages.Args{Values: args}, map[string]bool{"data": true})
	if stages.HasErrors(problems) {
		return nil, nil, problems[0]
	}
	said := &spoken{values: map[string]any{}}
	job := (&stages.Job{OutDir: t.TempDir(), Seed: seed, Inputs: map[string][]stages.Input{"data": {{Path: writeData(t, t.TempDir(), rows)}}}}).WithReporter(said)
	if err := stage.Run(t.Context(), job); err != nil {
		return nil, nil, err
	}
	out := map[string][]int{}
	for _, p := range schema.Outputs {
		d, err := dataset.Open(job.Output(p.Name))
		if err != nil {
			t.Fatal(err)
		}
		for i := range d.Len() {
			var id int
			if _, err := fmt.Sscan(d.ID(i), &id); err != nil {
				t.Fatal(err)
			}
			if int(d.Label(i)) != rows[id].label || int(d.Image(i)[0])|int(d.Image(i)[1])<<8 != rows[id].content {
				t.Fatalf("row %d of %s is not row %d of the data", i, p.Name, id)
			}
			out[p.Name] = append(out[p.Name], id)
		}
		d.Close()
	}
	return out, said, nil
}

// Every class is within one image of its exact share in every part, also with duplicates that fit; each image is in one part.
func TestShares(t *testing.T) {
	pairs := slices.Concat(distinct(0, 97), distinct(1, 53), distinct(2, 31))
	for i := range 20 {
		pairs = append(pairs, pairs[i], image{(pairs[7*i].label + 1) % 3, pairs[7*i].content}) // equal labels and others
	}
	for _, c := range []struct {
		rows []image
		args map[string]any
	}{
		{slices.Concat(distinct(0, 101), distinct(1, 57), distinct(2, 3)), nil},
		{slices.Concat(distinct(0, 10), distinct(1, 11), distinct(2, 12)), map[string]any{"ratio": []any{6.0, 2.0, 2.0}}},
		{slices.Concat(distinct(0, 33), distinct(1, 33), distinct(2, 33)), map[string]any{"ratio": map[string]any{"x": 1.0, "y": 0.5, "z": 3.25, "w": 1.0}}},
		{pairs, map[string]any{"ratio": []any{0.7, 0.3}}},
		{pairs, map[string]any{"folds": 5.0}},
	} {
		for seed := range uint64(5) {
			parts, said, err := divide(t, c.rows, seed, c.args)
			if err != nil {
				t.Fatalf("%v: %v", c.args, err)
			}
			checkShares(t, c.rows, c.args, parts)
			if len(said.lines) > 0 {
				t.Errorf("%v: %v", c.args, said.lines)
			}
		}
	}
}

func checkShares(t *testing.T, rows []image, args map[string]any, parts map[string][]int) {
	t.Helper()
	share := map[string]float64{"train": 8, "validation": 1, "test": 1}
	switch ratio := args["ratio"].(type) {
	case []any:
		share = map[string]float64{}
		for i, v := range ratio {
			share[listNames[i]] = v.(float64)
		}
	case map[string]any:
		share = map[string]float64{}
		for k, v := range ratio {
			share[k] = v.(float64)
		}
	}
	if _, ok := args["folds"]; ok {
		share = map[string]float64{}
		for i := range 5 {
			train, validation := fmt.Sprintf("folds.%d.train", i), fmt.Sprintf("folds.%d.validation", i)
			if all := append(slices.Clone(parts[train]), parts[validation]...); len(all) != len(rows) {
				t.Fatalf("fold %d has %d of %d images", i, len(all), len(rows))
			}
			share[validation] = 1
		}
	}
	var sum float64
	for _, v := range share {
		sum += v
	}
	totals := [3]float64{}
	for _, r := range rows {
		totals[r.label]++
	}
	seen, home := map[int]bool{}, map[int]string{}
	for name, v := range share {
		counts := [3]float64{}
		for _, id := range parts[name] {
			if seen[id] {
				t.Fatalf("image %d is in two parts", id)
			}
			seen[id] = true
			if at, ok := home[rows[id].content]; ok && at != name {
				t.Fatalf("%v: equal images are in %s and %s", args, at, name)
			}
			home[rows[id].content] = name
			counts[rows[id].label]++
		}
		for label, n := range counts {
			if exact := totals[label] * v / sum; math.Abs(n-exact) >= 1 {
				t.Errorf("%v: %s has %v images of class %d, its share is %.2f", args, name, n, label, exact)
			}
		}
	}
	if len(seen) != len(rows) {
		t.Errorf("%v: %d of %d images are in a part", args, len(seen), len(rows))
	}
}

// A group larger than a share stays whole, and the log says so.
func TestGroupsWin(t *testing.T) {
	rows := slices.Concat(distinct(0, 10), distinct(1, 10), distinct(2, 10))
	for range 30 {
		rows = append(rows, image{0, 7})
	}
	parts, said, err := divide(t, rows, 1, map[string]any{"ratio": []any{1.0, 1.0}})
	if err != nil {
		t.Fatal(err)
	}
	homes := map[string]bool{}
	for name, ids := range parts {
		for _, id := range ids {
			if rows[id].content == 7 {
				homes[name] = true
			}
		}
	}
	if len(homes) != 1 || !strings.Contains(strings.Join(said.lines, "\n"), `its exact share would be 20.0`) || said.values["farthest"].(float64) < 10 {
		t.Errorf("%v, %q", homes, said.lines)
	}
}

func TestSeedAndCounts(t *testing.T) {
	rows := slices.Concat(distinct(0, 40), distinct(1, 40), distinct(2, 40))
	a, said, err := divide(t, rows, 1, nil)
	if err != nil || fmt.Sprint(said.values["counts"]) != "map[test:12 train:96 validation:12]" {
		t.Fatalf("%v, %v", said, err)
	}
	b, _, _ := divide(t, rows, 1, nil)
	c, _, _ := divide(t, rows, 2, nil)
	if !maps.EqualFunc(a, b, slices.Equal) || maps.EqualFunc(a, c, slices.Equal) {
		t.Error("the division must follow from the seed")
	}
}

func TestProblems(t *testing.T) {
	three := slices.Concat(distinct(0, 5), distinct(1, 5), distinct(2, 2))
	equal := slices.Concat(distinct(0, 5), distinct(1, 5), []image{{2, 9}, {2, 9}, {2, 9}, {2, 9}})
	for _, c := range []struct {
		rows []image
		args map[string]any
		err  string
	}{
		{three, nil, `Of the class "c" there are 2 images or groups that may part (2 images in all), but there are 3 parts`},
		{equal, nil, `Of the class "c" there are 1 images or groups that may part (4 images in all)`},
		{three, map[string]any{"folds": 3.0}, `Of the class "c" there are 2`},
		{three, map[string]any{"stratify": false, "ratio": []any{1000.0, 1.0}}, "The part validation gets none of the 12 images"},
		{three, map[string]any{"ratio": []any{1.0}}, "A list has 2 to 3 numbers"},
		{three, map[string]any{"ratio": []any{1.0, 0.0}}, "The part validation is given as 0"},
		{three, map[string]any{"ratio": []any{1.0, "x"}}, "The part validation is given as x"},
		{three, map[string]any{"ratio": map[string]any{"a": 1.0}}, "2 to 100 parts"},
		{three, map[string]any{"ratio": map[string]any{"A": 1.0, "b": 1.0}}, `"A" cannot name an output`},
		{three, map[string]any{"ratio": map[string]any{"counts": 1.0, "b": 1.0}}, `"counts" cannot name an output`},
		{three, map[string]any{"ratio": "x"}, "It is a list of numbers"},
		{three, map[string]any{"ratio": []any{1.0, 1.0}, "folds": 2.0}, "both ratio and folds"},
		{three, map[string]any{"folds": 1.0}, "out of range"},
	} {
		if _, _, err := divide(t, c.rows, 1, c.args); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
}
