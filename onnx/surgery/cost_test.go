package surgery

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

func TestCostsByHand(t *testing.T) {
	b := newNet(3)
	x := b.conv("a", "image", 3, 6, 3, 1) // 6·64 outputs of 27 products
	x = b.conv("d", b.Node("Relu", "r", []string{x}), 6, 6, 3, 6)
	m := b.head(t, x, 6)
	c, err := Edit(m).Costs()
	if err != nil {
		t.Fatal(err)
	}
	want := []Cost{
		{MACs: 384 * 27, FLOPs: 2*384*27 + 384, Parameters: 6*27 + 6, Activation: 4 * 384},
		{FLOPs: 384, Activation: 4 * 384},
		{MACs: 384 * 9, FLOPs: 2*384*9 + 384, Parameters: 6*9 + 6, Activation: 4 * 384},
		{FLOPs: 384, Activation: 24},
		{Activation: 24},
		{MACs: 18, FLOPs: 36 + 3, Parameters: 21, Activation: 12},
	}
	for i, n := range c.Nodes {
		if n.Cost != want[i] {
			t.Errorf("%s: %+v, want %+v", n.Node.OpType, n.Cost, want[i])
		}
	}
	if c.Peak != 4*(384+384) {
		t.Errorf("peak %d", c.Peak)
	}
}

// published are multiply-accumulates at 224×224 (299×299) and parameters, in millions, as torchvision's documentation of each weight gives them
// ("GFLOPS", "num_params"), and for resnet20 at 32×32 as He et al. 2015 count it.
var published = map[string]struct{ macs, parameters float64 }{
	"resnet18": {1814, 11.69}, "resnet50": {4089, 25.56}, "mobilenet_v2": {300.8, 3.50}, "mobilenet_v3_small": {56.5, 2.54}, "mobilenet_v3_large": {216.6, 5.48},
	"shufflenet_v2_x0_5": {40.5, 1.37}, "densenet121": {2834, 7.98}, "squeezenet1_1": {349.2, 1.24}, "efficientnet_b0": {385.8, 5.29}, "regnet_y_400mf": {402, 4.34},
	"mnasnet0_5": {104, 2.22}, "googlenet": {1498, 6.62}, "alexnet": {714, 61.1}, "convnext_tiny": {4456, 28.59}, "vit_b_32": {4409, 88.22}, "swin_t": {4491, 28.29},
	"resnext50_32x4d": {4230, 25.03},
}

// TestCostsArePublished compares with the numbers of torchvision, for the exported files and for those architectures of the zoo that have the
// same name.
func TestCostsArePublished(t *testing.T) {
	check := func(t *testing.T, m *onnx.Model, name string, tolerance float64) {
		want := published[name]
		c, err := Edit(m).Costs()
		if err != nil {
			t.Fatal(err)
		}
		if macs := float64(c.Total.MACs) / 1e6; math.Abs(macs/want.macs-1) > tolerance {
			t.Errorf("%s: %.1f M multiply-accumulates, published %.1f M", name, macs, want.macs)
		}
		if p := float64(c.Total.Parameters) / 1e6; math.Abs(p/want.parameters-1) > 0.02 {
			t.Errorf("%s: %.3f M parameters, published %.3f M", name, p, want.parameters)
		}
	}
	classes := make([]string, 1000)
	for i := range classes {
		classes[i] = string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
	}
	for _, name := range zoo.Names() {
		if _, ok := published[name]; !ok {
			continue
		}
		m, err := zoo.Build(name, zoo.Options{Classes: classes, Channels: 3, Height: 224, Width: 224})
		if err != nil {
			t.Fatal(err)
		}
		check(t, m, name, 0.02)
	}
	for name := range published {
		path := filepath.Join(os.Getenv("DARKROOM_MODELS"), name+".onnx")
		m, err := onnx.Load(path)
		if os.Getenv("DARKROOM_MODELS") == "" || err != nil {
			continue
		}
		check(t, m, name, 0.03)
	}
}
