package qdq

import (
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// net builds small quantized models node by node.
type net struct {
	*onnx.Builder
}

func newNet() *net { return &net{onnx.NewBuilder("net", 4, 8, 8)} }

// pair quantizes and dequantizes x; scale has one number, or one for each of 4 channels along axis.
func (b *net) pair(name, x string, channels bool, axis int, zero string) string {
	scale := b.Tensor(name+".scale", nil, []float32{0.1})
	if channels {
		scale = b.Tensor(name+".scales", []int{4}, []float32{0.1, 0.1, 0.1, 0.1})
	}
	q := b.Node("QuantizeLinear", name+".q", append([]string{x, scale}, optional(zero)...), onnx.IntOf("axis", axis))
	return b.Node("DequantizeLinear", name+".dq", append([]string{q, scale}, optional(zero)...), onnx.IntOf("axis", axis))
}

func optional(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

// kernel is a 3×3 kernel from 4 to 4 channels.
func (b *net) kernel(name string) string {
	return b.Tensor(name, []int{4, 4, 3, 3}, make([]float32, 144))
}

func (b *net) conv(name, x, w string) string {
	return b.Node("Conv", name, []string{x, w}, onnx.IntsOf("pads", 1, 1, 1, 1), onnx.IntsOf("kernel_shape", 3, 3))
}

// finish pools x, (N, 4, 8, 8), and adds zero points of the types int8 and uint8 and one that is not 0.
func (b *net) finish(t *testing.T, x string) *onnx.Model {
	t.Helper()
	x = b.Node("GlobalAveragePool", "pool", []string{x})
	b.Node("Flatten", onnx.OutputName, []string{x}, onnx.IntOf("axis", 1))
	m, err := b.Model(4, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// zero adds a zero point.
func (b *net) zero(name string, typ protos.TensorProto_DataType, v byte) string {
	b.Raw(&protos.TensorProto{Name: name, DataType: int32(typ), RawData: []byte{v}})
	return name
}

func TestLint(t *testing.T) {
	for _, c := range []struct {
		about   string
		build   func(b *net, zero string) string
		want    string // in the only finding; "" for none
		refused bool
	}{
		{"quantized as TensorRT likes it", func(b *net, z string) string {
			y := b.conv("conv", b.pair("in", "image", false, 1, z), b.pair("w", b.kernel("k"), true, 0, z))
			y = b.Node("Relu", "relu", []string{y})
			return b.pair("out", y, false, 1, z)
		}, "", false},
		{"no pairs", func(b *net, _ string) string { return b.conv("conv", "image", b.kernel("k")) }, "", false},
		{"uint8", func(b *net, _ string) string {
			return b.pair("in", "image", false, 1, b.zero("u", protos.TensorProto_UINT8, 0))
		}, "quantizes to uint8", true},
		{"no zero point", func(b *net, _ string) string { return b.pair("in", "image", false, 1, "") }, "no zero point", true},
		{"shifted", func(b *net, _ string) string {
			return b.pair("in", "image", false, 1, b.zero("s", protos.TensorProto_INT8, 3))
		}, "zero point is not 0", true},
		{"scales along the input channels", func(b *net, z string) string {
			return b.conv("conv", b.pair("in", "image", false, 1, z), b.pair("w", b.kernel("k"), true, 1, z))
		}, "along axis 1", true},
		{"weights in float", func(b *net, z string) string {
			return b.conv("conv", b.pair("in", "image", false, 1, z), b.kernel("k"))
		}, "weights are not", false},
		{"input in float", func(b *net, z string) string { return b.conv("conv", "image", b.pair("w", b.kernel("k"), true, 0, z)) }, "input is not", false},
		{"pair before the activation", func(b *net, z string) string {
			y := b.conv("conv", b.pair("in", "image", false, 1, z), b.pair("w", b.kernel("k"), true, 0, z))
			return b.Node("Relu", "relu", []string{b.pair("mid", y, false, 1, z)})
		}, "behind the activation", false},
		{"normalization that is not folded", func(b *net, z string) string {
			y := b.conv("conv", b.pair("in", "image", false, 1, z), b.pair("w", b.kernel("k"), true, 0, z))
			four := func(n string) string { return b.Tensor(n, []int{4}, []float32{1, 1, 1, 1}) }
			return b.Node("BatchNormalization", "bn", []string{y, four("a"), four("b"), four("c"), four("d")})
		}, "Fold the normalization", false},
		{"skip branch in float", func(b *net, z string) string {
			y := b.conv("conv", b.pair("in", "image", false, 1, z), b.pair("w", b.kernel("k"), true, 0, z))
			return b.Node("Add", "sum", []string{y, "image"})
		}, "skip branch is not quantized", false},
		{"skip branch quantized", func(b *net, z string) string {
			x := b.pair("in", "image", false, 1, z)
			y := b.conv("conv", x, b.pair("w", b.kernel("k"), true, 0, z))
			return b.Node("Add", "sum", []string{y, x})
		}, "", false},
		{"pair between convolution and sum", func(b *net, z string) string {
			x := b.pair("in", "image", false, 1, z)
			y := b.conv("conv", x, b.pair("w", b.kernel("k"), true, 0, z))
			return b.Node("Add", "sum", []string{b.pair("mid", y, false, 1, z), x})
		}, "skip branch alone", false},
	} {
		t.Run(c.about, func(t *testing.T) {
			b := newNet()
			y := c.build(b, b.zero("zero", protos.TensorProto_INT8, 0))
			found := Lint(b.finish(t, y))
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			if !slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Text, c.want) && f.Refused == c.refused }) {
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}
