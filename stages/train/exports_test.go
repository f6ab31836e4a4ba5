package train

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/stages"
)

// exported are models of four classes that PyTorch's exporters wrote, one of each family; the script that made them lies beside them.
const exported = "../../learn/testdata/export"

// coloured is a dataset of n images in three channels, of which each class has its own brightest one.
func coloured(t *testing.T, path string, n, side, classes int) stages.Input {
	t.Helper()
	info := dataset.Info{Height: side, Width: side, Channels: 3}
	for c := range classes {
		info.Classes = append(info.Classes, "class "+strconv.Itoa(c))
	}
	w, err := dataset.Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := dataset.NewStream(3, "coloured", uint64(i))
		image := make([]byte, info.ImageSize())
		for p := range image {
			image[p] = byte(s.In(20, 90))
			if p%3 == i%classes {
				image[p] += 120
			}
		}
		if err := w.Add(strconv.Itoa(i), int32(i%classes), image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return stages.Input{Path: path, Ref: artifact.Ref{Type: artifact.Dataset}}
}

// A model that PyTorch exported goes through the kind as it is: for its own classes, with a fresh classifier for other ones, and with one for as many.
func TestExportedModelsAreTrained(t *testing.T) {
	for _, c := range []struct {
		name    string
		side    int
		classes int
		head    string
	}{
		{"resnet_script13", 20, 3, "auto"}, {"resnet_dynamo20", 20, 4, "keep"}, {"mobilenet_v2_script13", 16, 4, "fresh"}, {"mobilenet_v3_dynamo18", 16, 3, "auto"},
		{"efficientnet_dynamo20", 16, 4, "auto"}, {"convnext_script13", 16, 5, "fresh"}, {"timm_convnext_dynamo18", 32, 4, "auto"}, {"vit_dynamo20", 16, 3, "auto"},
		{"vit_fixed17", 16, 4, "auto"}, {"torchvision_vit_script17", 16, 3, "fresh"}, {"swin_dynamo20", 16, 3, "auto"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(exported, c.name+".onnx")
			in := map[string][]stages.Input{"data": {coloured(t, filepath.Join(dir, "data"), 24, c.side, c.classes)}, "validation": {coloured(t, filepath.Join(dir, "validation"), 6, c.side, c.classes)},
				"model": {{Path: path, Ref: artifact.Ref{Type: artifact.Model}}}}
			out, said, err := run(t, values("epochs", 1.0, "batch", 8.0, "learning_rate", 1e-20, "head", c.head), in)
			if err != nil {
				t.Fatal(err)
			}
			before, after := load(t, path), load(t, filepath.Join(out, "model"))
			fresh := c.head == "fresh" || c.classes != 4
			if told := strings.Contains(strings.Join(said.lines, "\n"), "is replaced by a fresh one of "+strconv.Itoa(c.classes)); told != fresh {
				t.Errorf("a fresh classifier: %v, the log says %v", fresh, told)
			}
			other := changed(before, after)
			if fresh && len(other) == 0 || !fresh && len(other) > 0 {
				t.Errorf("values that the steps of no size did not leave as they were: %q", other)
			}
			for _, name := range other { // a classifier is a matrix and a bias at most
				if w, _ := after.Tensor(name); !slices.Contains(w.Dims, c.classes) {
					t.Errorf("%s of %v is other than in the export", name, w.Dims)
				}
			}
			if got := after.Meta().Classes; len(got) != c.classes {
				t.Errorf("classes %q", got)
			}
			s, err := infer.Open(filepath.Join(out, "model"), infer.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.Info().Outputs != c.classes {
				t.Errorf("%d outputs", s.Info().Outputs)
			}
		})
	}
}

// changed names the parameters of a model, running statistics left out, whose values are others in another one.
func changed(before, after *onnx.Model) []string {
	statistics := map[string]bool{}
	for _, n := range after.Graph().Node {
		if n.OpType == "BatchNormalization" {
			statistics[n.Input[3]], statistics[n.Input[4]] = true, true
		}
	}
	var names []string
	for _, p := range after.Graph().Initializer {
		now, ok := after.Tensor(p.Name)
		if !ok || statistics[p.Name] {
			continue
		}
		was, ok := before.Tensor(p.Name)
		if at := strings.LastIndexByte(p.Name, '.'); !ok && at > 0 { // one of those that the exporter stored once, since they were equal
			was, ok = before.Tensor(p.Name[:at])
		}
		if !ok || !slices.Equal(was.Data, now.Data) {
			names = append(names, p.Name)
		}
	}
	return names
}
