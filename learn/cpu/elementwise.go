package cpu

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// unaryOperators maps operations on one value to the ONNX operator that is the same.
var unaryOperators = map[compute.OpType]string{
	compute.OpTypeAbs: "Abs", compute.OpTypeCeil: "Ceil", compute.OpTypeCos: "Cos", compute.OpTypeErf: "Erf",
	compute.OpTypeExp: "Exp", compute.OpTypeFloor: "Floor", compute.OpTypeLog: "Log", compute.OpTypeLogicalNot: "Not",
	compute.OpTypeLogistic: "Sigmoid", compute.OpTypeNeg: "Neg", compute.OpTypeRound: "Round", compute.OpTypeSign: "Sign",
	compute.OpTypeSin: "Sin", compute.OpTypeSqrt: "Sqrt", compute.OpTypeTanh: "Tanh",
}

// binaryOperators maps operations on two values to the ONNX operator that is the same and broadcasts the same way.
var binaryOperators = map[compute.OpType]string{
	compute.OpTypeAdd: "Add", compute.OpTypeSub: "Sub", compute.OpTypeMul: "Mul", compute.OpTypeDiv: "Div",
	compute.OpTypeMax: "Max", compute.OpTypeMin: "Min", compute.OpTypePow: "Pow",
	compute.OpTypeLogicalAnd: "And", compute.OpTypeLogicalOr: "Or", compute.OpTypeLogicalXor: "Xor",
	compute.OpTypeEqual: "Equal", compute.OpTypeLessThan: "Less", compute.OpTypeLessOrEqual: "LessOrEqual",
	compute.OpTypeGreaterThan: "Greater", compute.OpTypeGreaterOrEqual: "GreaterOrEqual",
}

func (f *Function) unary(op compute.OpType, x compute.Value) (compute.Value, error) {
	vs, err := f.operands(op.String(), x)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.UnaryOp(op, vs[0].shape)
	if err != nil {
		return nil, err
	}
	return f.emit(unaryOperators[op], shape, vs), nil
}

func (f *Function) binary(op compute.OpType, lhs, rhs compute.Value, attributes ...*protos.AttributeProto) (compute.Value, error) {
	vs, err := f.operands(op.String(), lhs, rhs)
	if err != nil {
		return nil, err
	}
	infer := shapeinference.BinaryOp
	if shapeinference.ComparisonOperations.Has(op) {
		infer = shapeinference.ComparisonOp
	}
	shape, err := infer(op, vs[0].shape, vs[1].shape)
	if err != nil {
		return nil, err
	}
	operator := binaryOperators[op]
	if op == compute.OpTypeRem {
		operator = "Mod"
	}
	return f.emit(operator, shape, narrowed(shape, vs...), attributes...), nil
}

// narrowed replaces operands that were only repeated along some axes by what was repeated, as long as ONNX's own
// broadcasting still gives the shape of the result.
func narrowed(result shapes.Shape, vs ...*value) []*value {
	vs = slices.Clone(vs)
	for i, v := range vs {
		if v.narrow == nil {
			continue
		}
		vs[i] = v.narrow
		if !broadcastTo(result, vs) {
			vs[i] = v
		}
	}
	return vs
}

// broadcastTo reports whether ONNX's broadcasting of vs gives the dimensions of the result.
func broadcastTo(result shapes.Shape, vs []*value) bool {
	for axis, want := range result.Dimensions {
		widest := 1
		for _, v := range vs {
			if back := result.Rank() - axis; back <= v.shape.Rank() { // aligned at the last axis
				if d := v.shape.Dimensions[v.shape.Rank()-back]; d != 1 {
					widest = d
				}
			}
		}
		if widest != want {
			return false
		}
	}
	return true
}

// Abs returns |x|.
func (f *Function) Abs(x compute.Value) (compute.Value, error) { return f.unary(compute.OpTypeAbs, x) }

// Ceil returns x rounded up.
func (f *Function) Ceil(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeCeil, x)
}

// Cos returns the cosine of x.
func (f *Function) Cos(x compute.Value) (compute.Value, error) { return f.unary(compute.OpTypeCos, x) }

// Erf returns the error function of x.
func (f *Function) Erf(x compute.Value) (compute.Value, error) { return f.unary(compute.OpTypeErf, x) }

// Exp returns e to the x.
func (f *Function) Exp(x compute.Value) (compute.Value, error) { return f.unary(compute.OpTypeExp, x) }

// Floor returns x rounded down.
func (f *Function) Floor(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeFloor, x)
}

// Log returns the natural logarithm of x.
func (f *Function) Log(x compute.Value) (compute.Value, error) { return f.unary(compute.OpTypeLog, x) }

// LogicalNot returns not x.
func (f *Function) LogicalNot(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeLogicalNot, x)
}

// Logistic returns 1/(1+exp(-x)).
func (f *Function) Logistic(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeLogistic, x)
}

// Neg returns -x.
func (f *Function) Neg(x compute.Value) (compute.Value, error) { return f.unary(compute.OpTypeNeg, x) }

// Round returns x rounded to the nearest whole number, halves to the even one.
func (f *Function) Round(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeRound, x)
}

// Sign returns -1, 0 or 1.
func (f *Function) Sign(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeSign, x)
}

// Sin returns the sine of x.
func (f *Function) Sin(x compute.Value) (compute.Value, error) { return f.unary(compute.OpTypeSin, x) }

// Sqrt returns the square root of x.
func (f *Function) Sqrt(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeSqrt, x)
}

// Tanh returns the hyperbolic tangent of x.
func (f *Function) Tanh(x compute.Value) (compute.Value, error) {
	return f.unary(compute.OpTypeTanh, x)
}

// Add returns lhs + rhs.
func (f *Function) Add(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeAdd, lhs, rhs)
}

// Sub returns lhs - rhs.
func (f *Function) Sub(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeSub, lhs, rhs)
}

// Mul returns lhs · rhs.
func (f *Function) Mul(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeMul, lhs, rhs)
}

// Div returns lhs / rhs; of integers, rounded towards zero.
func (f *Function) Div(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeDiv, lhs, rhs)
}

// Rem returns the remainder of lhs / rhs, with the sign of lhs.
func (f *Function) Rem(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeRem, lhs, rhs, intAttribute("fmod", 1))
}

// Max returns the greater of lhs and rhs.
func (f *Function) Max(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeMax, lhs, rhs)
}

// Min returns the lesser of lhs and rhs.
func (f *Function) Min(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeMin, lhs, rhs)
}

// Pow returns lhs to the rhs.
func (f *Function) Pow(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypePow, lhs, rhs)
}

// LogicalAnd returns lhs and rhs.
func (f *Function) LogicalAnd(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeLogicalAnd, lhs, rhs)
}

// LogicalOr returns lhs or rhs.
func (f *Function) LogicalOr(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeLogicalOr, lhs, rhs)
}

// LogicalXor returns whether exactly one of lhs and rhs holds.
func (f *Function) LogicalXor(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeLogicalXor, lhs, rhs)
}

// Equal returns lhs = rhs.
func (f *Function) Equal(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeEqual, lhs, rhs)
}

// NotEqual returns lhs ≠ rhs.
func (f *Function) NotEqual(lhs, rhs compute.Value) (compute.Value, error) {
	equal, err := f.Equal(lhs, rhs)
	if err != nil {
		return nil, err
	}
	return f.LogicalNot(equal)
}

// LessThan returns lhs < rhs.
func (f *Function) LessThan(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeLessThan, lhs, rhs)
}

// LessOrEqual returns lhs ≤ rhs.
func (f *Function) LessOrEqual(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeLessOrEqual, lhs, rhs)
}

// GreaterThan returns lhs > rhs.
func (f *Function) GreaterThan(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeGreaterThan, lhs, rhs)
}

// GreaterOrEqual returns lhs ≥ rhs.
func (f *Function) GreaterOrEqual(lhs, rhs compute.Value) (compute.Value, error) {
	return f.binary(compute.OpTypeGreaterOrEqual, lhs, rhs)
}

// float checks that x is a value of a floating-point type.
func (f *Function) float(op compute.OpType, x compute.Value) (*value, error) {
	vs, err := f.operands(op.String(), x)
	if err != nil {
		return nil, err
	}
	if !vs[0].shape.DType.IsFloat() {
		return nil, fmt.Errorf("cpu device: %s of %s; a floating-point type is needed", op, vs[0].shape)
	}
	return vs[0], nil
}

// Rsqrt returns 1/√x.
func (f *Function) Rsqrt(x compute.Value) (compute.Value, error) {
	v, err := f.float(compute.OpTypeRsqrt, x)
	if err != nil {
		return nil, err
	}
	root := f.emit("Sqrt", v.shape, []*value{v})
	return f.emit("Reciprocal", v.shape, []*value{root}), nil
}

// scalar adds a constant scalar of v's element type, which is a floating-point one.
func (f *Function) scalar(v *value, x float64) *value {
	if v.shape.DType == dtypes.Float64 {
		return f.constant([]float64{x}, shapes.Make(dtypes.Float64))
	}
	return f.constant([]float32{float32(x)}, shapes.Make(dtypes.Float32))
}

// Log1p returns log(1+x), exact to rounding near 0 too: with u = 1+x rounded, x·log(u)/(u-1) (Kahan; Hewlett-Packard
// HP-15C Advanced Functions Handbook, appendix).
func (f *Function) Log1p(x compute.Value) (compute.Value, error) {
	v, err := f.float(compute.OpTypeLog1p, x)
	if err != nil {
		return nil, err
	}
	one := f.scalar(v, 1)
	u := f.emit("Add", v.shape, []*value{v, one})
	log := f.emit("Log", v.shape, []*value{u})
	corrected := f.emit("Div", v.shape, []*value{f.emit("Mul", v.shape, []*value{v, log}), f.emit("Sub", v.shape, []*value{u, one})})
	result := f.choose(f.emit("Equal", boolean(v.shape), []*value{u, one}), v, corrected)
	// log(∞)·∞/∞ is not a number, and log of a huge x needs no correction.
	large := f.emit("Greater", boolean(v.shape), []*value{v, f.scalar(v, 1e10)})
	return f.choose(large, log, result), nil
}

// Expm1 returns exp(x)-1, exact to rounding near 0 too: with u = exp(x) rounded, (u-1)·x/log(u) (Kahan, as above).
func (f *Function) Expm1(x compute.Value) (compute.Value, error) {
	v, err := f.float(compute.OpTypeExpm1, x)
	if err != nil {
		return nil, err
	}
	u := f.emit("Exp", v.shape, []*value{v})
	less := f.emit("Sub", v.shape, []*value{u, f.scalar(v, 1)})
	corrected := f.emit("Div", v.shape, []*value{f.emit("Mul", v.shape, []*value{less, v}), f.emit("Log", v.shape, []*value{u})})
	result := f.choose(f.emit("Equal", boolean(v.shape), []*value{u, f.scalar(v, 1)}), v, corrected)
	// Away from 0 there is nothing to correct, and exp(-∞) has no logarithm to divide by.
	far := f.emit("Greater", boolean(v.shape), []*value{f.emit("Abs", v.shape, []*value{v}), f.scalar(v, 1)})
	return f.choose(far, less, result), nil
}

func boolean(shape shapes.Shape) shapes.Shape { return shapes.Make(dtypes.Bool, shape.Dimensions...) }

// choose returns a where the condition holds, else b; all of one shape.
func (f *Function) choose(condition, a, b *value) *value {
	return f.emit("Where", a.shape, []*value{condition, a, b})
}

// IsFinite returns whether x is neither infinite nor not-a-number.
func (f *Function) IsFinite(x compute.Value) (compute.Value, error) {
	v, err := f.float(compute.OpTypeIsFinite, x)
	if err != nil {
		return nil, err
	}
	// x-x is 0 exactly for the finite numbers.
	difference := f.emit("Sub", v.shape, []*value{v, v})
	return f.emit("Equal", boolean(v.shape), []*value{difference, f.scalar(v, 0)}), nil
}

// Clamp returns x kept within low and high, which are scalars or have x's shape.
func (f *Function) Clamp(low, x, high compute.Value) (compute.Value, error) {
	atLeast, err := f.Max(low, x)
	if err != nil {
		return nil, err
	}
	return f.Min(atLeast, high)
}

// Where returns onTrue where the condition holds, else onFalse. Scalars are broadcast.
func (f *Function) Where(condition, onTrue, onFalse compute.Value) (compute.Value, error) {
	vs, err := f.operands("Where", condition, onTrue, onFalse)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.Where(vs[0].shape, vs[1].shape, vs[2].shape)
	if err != nil {
		return nil, err
	}
	return f.emit("Where", shape, narrowed(shape, vs...)), nil
}

// ConvertDType returns x as another type: floats to integers by rounding towards zero, anything but 0 is true.
func (f *Function) ConvertDType(x compute.Value, dtype dtypes.DType) (compute.Value, error) {
	vs, err := f.operands("ConvertDType", x)
	if err != nil {
		return nil, err
	}
	if _, ok := elementTypes[dtype]; !ok {
		return nil, fmt.Errorf("cpu device: ConvertDType to %s: %w", dtype, compute.ErrNotImplemented)
	}
	return f.convert(vs[0], dtype), nil
}

func (f *Function) convert(v *value, dtype dtypes.DType) *value {
	if v.shape.DType == dtype {
		return v
	}
	return f.emit("Cast", shapes.Make(dtype, v.shape.Dimensions...), []*value{v}, intAttribute("to", int(elementTypes[dtype].model)))
}
