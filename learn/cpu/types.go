package cpu

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	onnxruntime "github.com/yalue/onnxruntime_go"
)

// elementType is one element type in the two enumerations that ONNX uses: in a model file and in the library's C API.
type elementType struct {
	model   protos.TensorProto_DataType
	runtime onnxruntime.TensorElementDataType
}

// elementTypes are the types that tensors can have here. ONNX Runtime has kernels for few operations on the narrow
// integers; a computation that needs a missing one fails to compile with compute.ErrNotImplemented.
var elementTypes = map[dtypes.DType]elementType{
	dtypes.Bool:    {protos.TensorProto_BOOL, onnxruntime.TensorElementDataTypeBool},
	dtypes.Int8:    {protos.TensorProto_INT8, onnxruntime.TensorElementDataTypeInt8},
	dtypes.Int16:   {protos.TensorProto_INT16, onnxruntime.TensorElementDataTypeInt16},
	dtypes.Int32:   {protos.TensorProto_INT32, onnxruntime.TensorElementDataTypeInt32},
	dtypes.Int64:   {protos.TensorProto_INT64, onnxruntime.TensorElementDataTypeInt64},
	dtypes.Uint8:   {protos.TensorProto_UINT8, onnxruntime.TensorElementDataTypeUint8},
	dtypes.Uint16:  {protos.TensorProto_UINT16, onnxruntime.TensorElementDataTypeUint16},
	dtypes.Uint32:  {protos.TensorProto_UINT32, onnxruntime.TensorElementDataTypeUint32},
	dtypes.Uint64:  {protos.TensorProto_UINT64, onnxruntime.TensorElementDataTypeUint64},
	dtypes.Float32: {protos.TensorProto_FLOAT, onnxruntime.TensorElementDataTypeFloat},
	dtypes.Float64: {protos.TensorProto_DOUBLE, onnxruntime.TensorElementDataTypeDouble},
}

// capabilities is what Backend.Capabilities returns a copy of.
var capabilities = makeCapabilities()

func makeCapabilities() compute.Capabilities {
	c := compute.Capabilities{Operations: map[compute.OpType]bool{}, DTypes: map[dtypes.DType]bool{}}
	for dtype := range elementTypes {
		c.DTypes[dtype] = true
	}
	for op := range unaryOperators {
		c.Operations[op] = true
	}
	for op := range binaryOperators {
		c.Operations[op] = true
	}
	for op := range reductions {
		c.Operations[op] = true
	}
	for _, op := range otherOperations {
		c.Operations[op] = true
	}
	return c
}

// otherOperations are those with a method of their own.
var otherOperations = []compute.OpType{
	compute.OpTypeParameter, compute.OpTypeConstant, compute.OpTypeIdentity,
	compute.OpTypeNotEqual, compute.OpTypeRsqrt, compute.OpTypeLog1p, compute.OpTypeExpm1, compute.OpTypeIsFinite,
	compute.OpTypeRem, compute.OpTypeClamp, compute.OpTypeWhere, compute.OpTypeConvertDType,
	compute.OpTypeReshape, compute.OpTypeTranspose, compute.OpTypeBroadcastInDim, compute.OpTypeSlice,
	compute.OpTypePad, compute.OpTypeConcatenate, compute.OpTypeReverse, compute.OpTypeIota,
	compute.OpTypeReduceLogicalAnd, compute.OpTypeReduceLogicalOr, compute.OpTypeArgMinMax,
	compute.OpTypeDotGeneral, compute.OpTypeConvGeneral, compute.OpTypeBatchNormForTraining, compute.OpTypeBatchNormGradient, compute.OpTypeReduceWindow, compute.OpTypeCumSum, compute.OpTypeGather,
	compute.OpTypeFusedSoftmax, compute.OpTypeFusedScaledDotProductAttention, compute.OpTypeFusedScaledDotProductAttentionVJP,
	compute.OpTypeSelectAndScatterMax, compute.OpTypeSelectAndScatterMin,
}
