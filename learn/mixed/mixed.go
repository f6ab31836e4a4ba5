// Package mixed is mixed precision as a device: a compute backend around another one that computes matrix products and
// convolutions in a narrow floating-point type, and everything else in float32 as it is asked to (Micikevicius et al. 2018). Weights, their
// updates, normalisations, sums and losses so keep float32 without the trainer's doing.
//
// Rules of the room: only what has float32 operands is touched, so a computation in another type goes through as it is. The conversions are
// written around each product; XLA fuses them into the kernels beside it and keeps the narrow values in memory.
package mixed

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// New returns a device that computes products of float32 in narrow, dtypes.BFloat16 or dtypes.Float16, on inner. It refuses a device
// that does not have the type.
func New(inner compute.Backend, narrow dtypes.DType) (compute.Backend, error) {
	if narrow != dtypes.BFloat16 && narrow != dtypes.Float16 {
		return nil, fmt.Errorf("mixed precision with %s: only bfloat16 and float16 are narrow", narrow)
	}
	if !inner.Capabilities().DTypes[narrow] {
		return nil, fmt.Errorf("mixed precision: the device %s does not compute in %s", inner.Name(), narrow)
	}
	return &backend{inner, narrow}, nil
}

type backend struct {
	compute.Backend
	narrow dtypes.DType
}

// Description adds the narrow type to the device's description.
func (b *backend) Description() string {
	return fmt.Sprintf("%s, products in %s", b.Backend.Description(), b.narrow)
}

// NarrowRange reports whether small gradients vanish in the narrow type, so that the loss has to be scaled: float16 has 5 bits of
// exponent, bfloat16 the 8 of float32.
func (b *backend) NarrowRange() bool { return b.narrow == dtypes.Float16 }

// Builder starts a computation.
func (b *backend) Builder(name string) compute.Builder {
	return &builder{b.Backend.Builder(name), b.narrow}
}

type builder struct {
	compute.Builder
	narrow dtypes.DType
}

// Main returns the computation's function.
func (b *builder) Main() compute.Function { return &function{b.Builder.Main(), b.narrow} }

type function struct {
	compute.Function
	narrow dtypes.DType
}

// narrowed converts operands that are all float32, and says whether they were.
func (f *function) narrowed(operands ...compute.Value) ([]compute.Value, bool, error) {
	for _, o := range operands {
		shape, err := f.Shape(o)
		if err != nil || shape.DType != dtypes.Float32 {
			return operands, false, err
		}
	}
	out := make([]compute.Value, len(operands))
	for i, o := range operands {
		var err error
		if out[i], err = f.ConvertDType(o, f.narrow); err != nil {
			return nil, false, err
		}
	}
	return out, true, nil
}

// ConvGeneral is a convolution of narrow operands, whose result is float32 again.
func (f *function) ConvGeneral(input, kernel compute.Value, axes compute.ConvolveAxesConfig, strides []int, paddings [][2]int,
	inputDilations, kernelDilations []int, channelGroupCount, batchGroupCount int) (compute.Value, error) {
	operands, narrow, err := f.narrowed(input, kernel)
	if err != nil {
		return nil, err
	}
	y, err := f.Function.ConvGeneral(operands[0], operands[1], axes, strides, paddings, inputDilations, kernelDilations, channelGroupCount, batchGroupCount)
	if err != nil || !narrow {
		return y, err
	}
	return f.ConvertDType(y, dtypes.Float32)
}

// DotGeneral is a product of narrow operands, summed up in float32.
func (f *function) DotGeneral(lhs compute.Value, lhsContracting, lhsBatch []int, rhs compute.Value, rhsContracting, rhsBatch []int,
	config compute.DotGeneralConfig) (compute.Value, error) {
	operands, narrow, err := f.narrowed(lhs, rhs)
	if err != nil {
		return nil, err
	}
	if narrow {
		config.AccumulatorDType, config.OutputDType = dtypes.Float32, dtypes.Float32
	}
	return f.Function.DotGeneral(operands[0], lhsContracting, lhsBatch, operands[1], rhsContracting, rhsBatch, config)
}
