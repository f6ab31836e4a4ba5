package learn

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
)

// exports are the networks that PyTorch's exporters wrote, see testdata/export.
func exports(t *testing.T) map[string]*onnx.Model {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "export", "*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no exports: %v", err)
	}
	models := map[string]*onnx.Model{}
	for _, f := range files {
		m, err := onnx.Load(f)
		if err != nil {
			t.Fatal(err)
		}
		models[strings.TrimSuffix(filepath.Base(f), ".onnx")] = m
	}
	return models
}

// A model that PyTorch exported is fine-tuned as it is: the loss falls, and the file that is written back gives the trainer's answers.
func TestExportsAreFineTuned(t *testing.T) {
	needLibrary(t)
	for name, m := range exports(t) {
		t.Run(name, func(t *testing.T) { agree(t, m) })
	}
}

// Every operator that the exporters use has the gradient that finite differences have.
func TestGradientsOfExports(t *testing.T) {
	all := exports(t)
	for _, name := range []string{"activations_script13", "activations_dynamo20", "mobilenet_v3_dynamo18", "efficientnet_script13", "convnext_dynamo20", "vit_dynamo20", "vit_fixed17", "resnet_ceil_script17"} {
		m := all[name]
		t.Run(name, func(t *testing.T) {
			p, err := makePlan(m)
			if err != nil {
				t.Fatal(err)
			}
			flat := 0
			for _, g := range checkGradients(t, m, p, 2) {
				if g < 1e-9 {
					flat++
				}
			}
			if flat > len(p.parameters)/3 {
				t.Errorf("%d of %d parameters have no effect", flat, len(p.parameters))
			}
		})
	}
}
