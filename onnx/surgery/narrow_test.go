package surgery

import (
	"testing"

	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

func TestKept(t *testing.T) {
	for _, c := range []struct {
		round, n int
		ratio    float64
		want     int
	}{
		{1, 16, 0.3, 11}, {1, 16, 0, 16}, {1, 2, 0.99, 1}, {8, 64, 0.3, 48}, {8, 16, 0.9, 8}, {8, 6, 0.5, 3}, {16, 24, 0.1, 16}, {8, 64, 0.32, 48},
	} {
		if got := Kept(c.n, c.ratio, c.round); got != c.want {
			t.Errorf("%d channels without a share of %g in multiples of %d: %d stay, want %d", c.n, c.ratio, c.round, got, c.want)
		}
	}
}

func TestNarrow(t *testing.T) {
	for _, name := range []string{"resnet20", "mobilenet_v3_small", "vit_tiny"} {
		m, err := zoo.Build(name, zoo.Options{Classes: []string{"a", "b"}, Channels: 3, Height: 32, Width: 32})
		if err != nil {
			t.Fatal(err)
		}
		macs := func(width float64, round int) int {
			g := Edit(m)
			if err := g.Narrow(width, round); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := g.Model(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			c, err := g.Costs()
			if err != nil {
				t.Fatal(err)
			}
			return c.Total.MACs
		}
		whole := macs(1, 1)
		if c, err := Edit(m).Costs(); err != nil || c.Total.MACs != whole {
			t.Errorf("%s: narrowed to all channels it does other work: %v", name, err)
		}
		half, aligned := macs(0.5, 1), macs(0.5, 8)
		if float64(half) > 0.7*float64(whole) || aligned < half*9/10 {
			t.Errorf("%s: half of the channels do %d of %d multiply-accumulates, in multiples of 8 %d", name, half, whole, aligned)
		}
	}
}

// What ONNX Runtime 1.30 calls the nodes of a residual block, in both layouts.
func TestLayerOf(t *testing.T) {
	m, err := zoo.Build("resnet20", zoo.Options{Classes: []string{"a", "b"}, Channels: 3, Height: 32, Width: 32})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Edit(m).Costs()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct{ name, operator, want string }{
		{"relu_nchwc", "Conv", "conv1"},
		{"layer1.0.relu1_nchwc", "Conv", "layer1.0.conv1"},
		{"layer2.0.bn2_nchwc", "Conv", "layer2.0.conv2"},
		{"layer2.0.downsample.1_nchwc", "Conv", "layer2.0.downsample.0"},
		{"layer3.2.relu2", "FusedConv", "layer3.2.conv2"},
		{"layer3.0.conv1", "FusedConv", "layer3.0.conv1"},
		{"conv1_token_1", "QLinearConv", "conv1"}, // quantized
		{"Transpose_token_35", "Transpose", ""},
		{"logits", "Gemm", "logits"},
		{"relu", "Relu", ""}, // not fused: its time is its own
		{"pool_nchwc", "GlobalAveragePool", ""},
		{"ReorderOutput_token_29", "ReorderOutput", ""},
		{"features", "Flatten", ""},
	} {
		got := ""
		if l := c.LayerOf(k.name, k.operator); l != nil {
			got = l.Name()
		}
		if got != k.want {
			t.Errorf("%s, %s is the layer %q, want %q", k.name, k.operator, got, k.want)
		}
	}
}
