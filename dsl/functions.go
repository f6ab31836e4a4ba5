package dsl

import (
	"errors"
	"fmt"
	"math/big"
	"path"
	"reflect"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
)

// reference is what an artifact is in an expression: an output of a stage, or a source.
type reference struct {
	From   engine.OutputRef
	Type   artifact.Type
	Source string // the path, when it is a source
	Key    string // of the instance it comes from, "" for none
}

// artifactType is the type of artifacts in expressions. Nothing can be computed with one; only input ports take it.
var artifactType = cty.Capsule("artifact", reflect.TypeOf(reference{}))

func artifactOf(v cty.Value) (*reference, bool) {
	if v.IsKnown() && !v.IsNull() && v.Type().Equals(artifactType) {
		return v.EncapsulatedValue().(*reference), true
	}
	return nil, false
}

// functions is the function library. None depends on time, chance, the machine or the working folder.
func functions(r *readings) map[string]function.Function {
	f := map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "pow": stdlib.PowFunc,
		"signum": stdlib.SignumFunc, "parseint": stdlib.ParseIntFunc, "min": stdlib.MinFunc, "max": stdlib.MaxFunc, "sum": sumFunc, "round": roundFunc,

		"upper": stdlib.UpperFunc, "lower": stdlib.LowerFunc, "title": stdlib.TitleFunc, "substr": stdlib.SubstrFunc, "join": stdlib.JoinFunc,
		"split": stdlib.SplitFunc, "chomp": stdlib.ChompFunc, "indent": indentFunc, "trimspace": stdlib.TrimSpaceFunc,
		"trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimsuffix": stdlib.TrimSuffixFunc, "replace": stdlib.ReplaceFunc,
		"regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "regexreplace": stdlib.RegexReplaceFunc, "strrev": stdlib.ReverseFunc,
		"format": formatFunc, "formatlist": formatListFunc, "basename": textFunc(path.Base), "dirname": textFunc(path.Dir),

		"length": lengthFunc, "element": stdlib.ElementFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
		"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
		"chunklist": stdlib.ChunklistFunc, "flatten": stdlib.FlattenFunc, "keys": stdlib.KeysFunc, "values": stdlib.ValuesFunc,
		"lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
		"setproduct": productFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "zipmap": stdlib.ZipmapFunc,
		"setunion": stdlib.SetUnionFunc, "setintersection": stdlib.SetIntersectionFunc, "setsubtract": stdlib.SetSubtractFunc,

		"jsonencode": stdlib.JSONEncodeFunc, "jsondecode": jsonDecodeFunc, "csvdecode": stdlib.CSVDecodeFunc,
		"tostring": stdlib.MakeToFunc(cty.String), "tonumber": toNumberFunc, "tobool": stdlib.MakeToFunc(cty.Bool),
		"tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
		"try": tryfunc.TryFunc, "can": tryfunc.CanFunc,

		"source": sourceFunc, "file": fileFunc(r), "glob": globFunc(r),
	}
	return f
}

func textFunc(f func(string) string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(f(args[0].AsString())), nil
		},
	})
}

// lengthFunc counts the elements of a collection or the characters of a text.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		t := args[0].Type()
		if t == cty.String || t == cty.DynamicPseudoType || t.IsCollectionType() || t.IsTupleType() || t.IsObjectType() {
			return cty.Number, nil
		}
		return cty.NilType, function.NewArgErrorf(0, "a list, a map or a text is needed")
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v := args[0]
		switch t := v.Type(); {
		case t.IsTupleType():
			return cty.NumberIntVal(int64(t.Length())), nil
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		case !v.IsKnown() || t == cty.DynamicPseudoType:
			return cty.UnknownVal(cty.Number), nil
		case t == cty.String:
			return cty.NumberIntVal(int64(utf8.RuneCountInString(v.AsString()))), nil
		}
		return v.Length(), nil
	},
})

var sumFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "numbers", Type: cty.List(cty.Number)}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (sum cty.Value, err error) {
		sum = cty.Zero
		for _, v := range args[0].AsValueSlice() {
			if v.IsNull() {
				return cty.NilVal, errors.New("a number is null")
			}
			if !v.IsKnown() {
				return cty.UnknownVal(cty.Number), nil
			}
			sum = sum.Add(v)
		}
		return sum, nil
	},
})

// roundFunc rounds to the nearest whole number, halves away from zero.
var roundFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "number", Type: cty.Number}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		f := args[0].AsBigFloat()
		if f.IsInf() {
			return args[0], nil
		}
		half := big.NewFloat(0.5)
		if f.Sign() < 0 {
			half.Neg(half)
		}
		n, _ := new(big.Float).Add(f, half).Int(nil)
		return cty.NumberVal(new(big.Float).SetInt(n)), nil
	},
})

// sourceFunc names a file or folder of the project by its content.
var sourceFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "path", Type: cty.String}},
	Type:   function.StaticReturnType(artifactType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if args[0].AsString() == "" {
			return cty.NilVal, function.NewArgErrorf(0, "the path is empty")
		}
		return cty.CapsuleVal(artifactType, &reference{Source: args[0].AsString(), Type: artifact.File}), nil
	},
})

func fileFunc(r *readings) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := r.file(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if !utf8.Valid(text) {
				return cty.NilVal, function.NewArgErrorf(0, "%s is not UTF-8 text; give it to a stage as a source", args[0].AsString())
			}
			return cty.StringVal(string(text)), nil
		},
	})
}

func globFunc(r *readings) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.List(cty.String)),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			paths, err := r.glob(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if len(paths) == 0 {
				return cty.ListValEmpty(cty.String), nil
			}
			vals := make([]cty.Value, len(paths))
			for i, p := range paths {
				vals[i] = cty.StringVal(p)
			}
			return cty.ListVal(vals), nil
		},
	})
}

// toText turns a text, number or truth value into text; a number as its shortest decimal.
func toText(v cty.Value) (string, error) {
	if v.Type() == cty.Number && v.IsKnown() && !v.IsNull() {
		f, _ := v.AsBigFloat().Float64()
		return formatFloat(f), nil
	}
	v, err := convert.Convert(v, cty.String)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return "", fmt.Errorf("it is not a text")
	}
	return v.AsString(), nil
}
