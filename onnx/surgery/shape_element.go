package surgery

import (
	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

const (
	typeFloat = int32(protos.TensorProto_FLOAT)
	typeInt64 = int32(protos.TensorProto_INT64)
	typeBool  = int32(protos.TensorProto_BOOL)
)

func init() {
	register(likeFirst, "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Erf", "Gelu", "Mish", "Softplus",
		"Softsign", "Swish", "QuickGelu", "BiasGelu", "FastGelu", "ThresholdedRelu", "Neg", "Abs", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Reciprocal", "Sin", "Cos", "Sign", "Not",
		"Identity", "Softmax", "LogSoftmax", "Hardmax", "InstanceNormalization", "GroupNormalization", "LRN", "LpNormalization", "MeanVarianceNormalization", "RMSNormalization",
		"CumSum", "Trilu", "ScatterND", "ScatterElements", "Tan", "Atan", "Shrink")
	register(broadcasting, "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Mod", "BitShift")
	register(comparing, "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor")
	register(choosing, "Where")
	register(normalizing, "BatchNormalization", "LayerNormalization")
	register(dropping, "Dropout")
	register(predicating, "IsNaN", "IsInf")
	register(casting, "Cast", "CastLike")
	register(quantizing, "QuantizeLinear")
	register(dequantizing, "DequantizeLinear")
	register(quantizingDynamically, "DynamicQuantizeLinear")
}

func likeFirst(s *inference, n *protos.NodeProto) error {
	v, err := s.in(n, 0)
	if err != nil {
		return err
	}
	s.set(n, 0, v.Type, v.Shape)
	return nil
}

// together broadcasts the inputs from the given one on.
func (s *inference) together(n *protos.NodeProto, from int) (Value, error) {
	v, err := s.in(n, from)
	if err != nil {
		return v, err
	}
	for i := from + 1; i < len(n.Input); i++ {
		w, err := s.in(n, i)
		if err != nil {
			return v, err
		}
		if v.Shape, err = broadcast(v.Shape, w.Shape); err != nil {
			return v, err
		}
	}
	return v, nil
}

func broadcasting(s *inference, n *protos.NodeProto) error {
	v, err := s.together(n, 0)
	s.set(n, 0, v.Type, v.Shape)
	return err
}

func comparing(s *inference, n *protos.NodeProto) error {
	v, err := s.together(n, 0)
	s.set(n, 0, typeBool, v.Shape)
	return err
}

func choosing(s *inference, n *protos.NodeProto) error {
	v, err := s.together(n, 1)
	if err != nil {
		return err
	}
	c, err := s.in(n, 0)
	if err != nil {
		return err
	}
	if v.Shape, err = broadcast(v.Shape, c.Shape); err != nil {
		return err
	}
	s.set(n, 0, v.Type, v.Shape)
	return nil
}

// normalizing gives the further outputs (running statistics, mean and deviation) no shape: nothing of a classifier uses them.
func normalizing(s *inference, n *protos.NodeProto) error { return likeFirst(s, n) }

func dropping(s *inference, n *protos.NodeProto) error {
	v, err := s.in(n, 0)
	s.set(n, 0, v.Type, v.Shape)
	s.set(n, 1, typeBool, v.Shape)
	return err
}

func predicating(s *inference, n *protos.NodeProto) error {
	v, err := s.in(n, 0)
	s.set(n, 0, typeBool, v.Shape)
	return err
}

func casting(s *inference, n *protos.NodeProto) error {
	v, err := s.in(n, 0)
	if err != nil {
		return err
	}
	to := int32(onnx.Int(n, "to", 0))
	if n.OpType == "CastLike" {
		like, err := s.in(n, 1)
		if err != nil {
			return err
		}
		to = like.Type
	}
	s.set(n, 0, to, v.Shape)
	return nil
}

func quantizing(s *inference, n *protos.NodeProto) error {
	v, err := s.in(n, 0)
	if err != nil {
		return err
	}
	typ := int32(onnx.Int(n, "output_dtype", 0))
	if has(n, 2) {
		typ = s.values[n.Input[2]].Type
	}
	if typ == 0 {
		typ = int32(protos.TensorProto_UINT8)
	}
	s.set(n, 0, typ, v.Shape)
	return nil
}

func dequantizing(s *inference, n *protos.NodeProto) error {
	v, err := s.in(n, 0)
	if err != nil {
		return err
	}
	scale, err := s.in(n, 1)
	if err != nil {
		return err
	}
	s.set(n, 0, scale.Type, v.Shape)
	return nil
}

func quantizingDynamically(s *inference, n *protos.NodeProto) error {
	v, err := s.in(n, 0)
	s.set(n, 0, int32(protos.TensorProto_UINT8), v.Shape)
	s.set(n, 1, typeFloat, Shape{})
	s.set(n, 2, int32(protos.TensorProto_UINT8), Shape{})
	return err
}
