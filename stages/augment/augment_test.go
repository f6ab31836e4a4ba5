package augment

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

const images = 20

func write(t *testing.T, dir string, policy *dataset.Policy) string {
	t.Helper()
	path := filepath.Join(dir, "data.arrow")
	info := dataset.Info{Classes: []string{"a", "b"}, Height: 8, Width: 6, Channels: 3, Policy: policy}
	w, err := dataset.Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.ImageSize())
	for i := range images {
		for k := range b {
			b[k] = byte(31*i + 7*k)
		}
		if err := w.Add(string(rune('a'+i)), int32(i%2), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func block(name string, values map[string]any) stages.BlockArgs {
	return stages.BlockArgs{Type: name, Args: stages.Args{Values: values}}
}

// every has one block of each operation.
func every() []stages.BlockArgs {
	var out []stages.BlockArgs
	for _, v := range variants(maxNesting) {
		b := block(v.Name, nil)
		switch v.Name {
		case "mixup", "cutmix", "mosaic", "normalize": // what a materialised dataset cannot hold has a test of its own
			continue
		case "one_of", "some_of":
			b.Args.Blocks = []stages.BlockArgs{block("rotate", nil), block("to_gray", nil)}
		}
		out = append(out, b)
	}
	return out
}

func TestConformance(t *testing.T) {
	inputs := func(t *testing.T, dir string) map[string][]stages.Input {
		return map[string][]stages.Input{"data": {{Path: write(t, dir, nil), Ref: artifact.Ref{Type: artifact.Dataset}}}}
	}
	t.Run("attached", func(t *testing.T) {
		stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Inputs: inputs, Args: stages.Args{Blocks: every()}})
	})
	t.Run("materialised", func(t *testing.T) {
		stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Inputs: inputs, PinFile: "testdata/pinned_materialised.json",
			Args: stages.Args{Values: map[string]any{"materialise": 2.0}, Blocks: every()}})
	})
}

// run executes the kind and returns the paths of dataset and preview.
func run(t *testing.T, before *dataset.Policy, seed uint64, args stages.Args) (data, preview string, err error) {
	t.Helper()
	stage := Kind.New()
	if _, problems := stages.Decode(stage, args, map[string]bool{"data": true}); stages.HasErrors(problems) {
		return "", "", problems[0]
	}
	job := &stages.Job{Args: args, OutDir: t.TempDir(), Seed: seed, Inputs: map[string][]stages.Input{"data": {{Path: write(t, t.TempDir(), before)}}}}
	return job.Output("dataset"), job.Output("preview"), stage.Run(t.Context(), job)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T, path string) *dataset.Dataset {
	t.Helper()
	d, err := dataset.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// The size of the preview changes the preview alone; so do the seed's changes, as long as the policy is only attached.
func TestPreviewStaysOutOfTheDataset(t *testing.T) {
	data, sheet, err := run(t, nil, 1, stages.Args{Blocks: every()})
	if err != nil {
		t.Fatal(err)
	}
	bigger := append(every(), block("preview", map[string]any{"size": 24.0, "columns": 2.0, "rows": 3.0}))
	data2, sheet2, err := run(t, nil, 2, stages.Args{Blocks: bigger})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, data), read(t, data2)) {
		t.Error("the preview changes the dataset")
	}
	if bytes.Equal(read(t, sheet), read(t, sheet2)) {
		t.Error("the preview does not change")
	}
	m, err := png.Decode(bytes.NewReader(read(t, sheet2)))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Bounds().Size(); got.X != 10+2*(18+2+21+10) || got.Y != 10+3*(24+10) {
		t.Errorf("the sheet has %v pixels", got)
	}
}

func TestPolicyIsAttached(t *testing.T) {
	before, err := dataset.NewPolicy([]dataset.Operation{{Name: "random_crop", Args: map[string]any{"padding": 1.0}}}, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := run(t, before, 1, stages.Args{Blocks: []stages.BlockArgs{block("rotate", map[string]any{"border_mode": "reflect"}), {Type: "one_of", Args: stages.Args{Blocks: []stages.BlockArgs{block("vertical_flip", nil)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, data)
	const want = `{"version":2,"min_visibility":0.5,"operations":[{"name":"random_crop","args":{"border_mode":"constant","fill":0,"height":0,"padding":1,"width":0}},` +
		`{"name":"rotate","args":{"border_mode":"reflect","fill":0,"limit":30,"p":0.5}},{"name":"one_of","args":{"p":0.5},"of":[{"name":"vertical_flip","args":{"p":0.5}}]}]}`
	if got := string(d.Info().Policy.JSON()); got != want {
		t.Errorf("the policy is %s", got)
	}
	plain := open(t, write(t, t.TempDir(), nil))
	for i := range images {
		if !bytes.Equal(d.Image(i), plain.Image(i)) || d.ID(i) != plain.ID(i) {
			t.Fatalf("image %d changed", i)
		}
	}
}

func TestMaterialised(t *testing.T) {
	flipped, _, err := run(t, nil, 1, stages.Args{Values: map[string]any{"materialise": 3.0}, Blocks: []stages.BlockArgs{block("horizontal_flip", map[string]any{"p": 1.0})}})
	if err != nil {
		t.Fatal(err)
	}
	d, plain := open(t, flipped), open(t, write(t, t.TempDir(), nil))
	if d.Len() != 3*images || d.Info().Policy != nil || d.ID(4) != "b#1" || d.Label(4) != 1 {
		t.Fatalf("%d images, policy %v, %s", d.Len(), d.Info().Policy, d.ID(4))
	}
	for i := range d.Len() {
		for y := range 8 {
			for x := range 6 {
				from, to := plain.Image(i / 3)[(y*6+5-x)*3:][:3], d.Image(i)[(y*6+x)*3:][:3]
				if !bytes.Equal(from, to) {
					t.Fatalf("pixel %d, %d of image %d is %v, not %v", x, y, i, to, from)
				}
			}
		}
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		blocks []stages.BlockArgs
		err    string
	}{
		{[]stages.BlockArgs{block("rotate", map[string]any{"limit": 181.0})}, "0 to 180"},
		{[]stages.BlockArgs{block("gaussian_noise", map[string]any{"sigma": -1.0})}, "0 to 1"},
		{[]stages.BlockArgs{block("spin", nil)}, `no block "spin"`},
		{[]stages.BlockArgs{block("random_gamma", map[string]any{"gamma_limit": []any{120.0, 80.0}})}, "random_gamma[0].gamma_limit: Value out of range: The argument \"gamma_limit\" is a range, but 120 is above 80"},
		{[]stages.BlockArgs{block("random_gamma", map[string]any{"gamma_limit": []any{120.0}})}, "list of 2 to 2"},
		{[]stages.BlockArgs{block("one_of", nil)}, "one_of[0]: No operations"},
		{[]stages.BlockArgs{block("normalize", nil), block("to_gray", nil)}, "Operation 0 (normalize): it must be the last"},
		{[]stages.BlockArgs{block("preview", nil), block("to_gray", nil), block("random_crop", map[string]any{"height": 9.0})}, "random_crop[2]: Operation does not fit the images: On images of 6×8: a window of 6×9"},
		{[]stages.BlockArgs{block("preview", map[string]any{"columns": 0.0})}, "1 to 32"},
	} {
		if _, _, err := run(t, nil, 1, stages.Args{Blocks: c.blocks}); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v", c.blocks, err)
		}
	}
	_, _, err := run(t, nil, 1, stages.Args{Values: map[string]any{"materialise": 2.0}, Blocks: []stages.BlockArgs{block("mixup", nil)}})
	if err == nil || !strings.Contains(err.Error(), "Mixed labels cannot be stored") {
		t.Errorf("materialised mixup: %v", err)
	}
	nested := []stages.BlockArgs{block("random_crop", map[string]any{"height": 4.0})}
	for range 4 {
		nested = []stages.BlockArgs{{Type: "one_of", Args: stages.Args{Blocks: nested}}}
	}
	if _, _, err := run(t, nil, 1, stages.Args{Blocks: nested}); err == nil || !strings.Contains(err.Error(), `no block "one_of"`) {
		t.Errorf("deep nesting: %v", err)
	}
	data, _, err := run(t, nil, 1, stages.Args{})
	if err != nil || open(t, data).Info().Policy != nil {
		t.Errorf("without operations: %v", err)
	}
}
