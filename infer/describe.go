package infer

import (
	"fmt"
	"strings"

	onnxruntime "github.com/yalue/onnxruntime_go"
)

// describe finds the image input and the logits among a graph's inputs and outputs. Its errors are sentences about
// the model, for ModelError.
func describe(inputs, outputs []onnxruntime.InputOutputInfo, o Options) (Info, error) {
	info := Info{Batch: o.Batch}
	if len(inputs) != 1 {
		return info, fmt.Errorf("it has %d inputs (%s); an image classification model has one, of shape (N, C, H, W)", len(inputs), portNames(inputs))
	}
	in := inputs[0]
	info.Input = in.Name
	if in.OrtValueType != onnxruntime.ONNXTypeTensor || in.DataType != onnxruntime.TensorElementDataTypeFloat {
		return info, fmt.Errorf("its input %q is not a float32 tensor but %s; export the model with a float32 input", in.Name, typeText(in))
	}
	if len(in.Dimensions) != 4 {
		return info, fmt.Errorf("its input %q has shape %s; images have (N, C, H, W)", in.Name, dimensionText(in.Dimensions))
	}
	if err := info.takeImageShape(in, o); err != nil {
		return info, err
	}
	out, err := logitsOutput(outputs)
	if err != nil {
		return info, err
	}
	info.Output = out.Name
	if n := len(out.Dimensions); n >= 2 && out.Dimensions[1] > 0 {
		info.Outputs = int(out.Dimensions[1])
	}
	return info, nil
}

// takeImageShape settles batch, channels, height and width from the input's dimensions, -1 where open, and the options.
func (info *Info) takeImageShape(in onnxruntime.InputOutputInfo, o Options) error {
	d := in.Dimensions
	if d[1] != 1 && d[1] != 3 && (d[3] == 1 || d[3] == 3) {
		return fmt.Errorf("its input %q has shape %s, channels last; export the model with (N, C, H, W)", in.Name, dimensionText(d))
	}
	if d[0] > 0 {
		info.Batch = int(d[0])
	}
	for _, side := range []struct {
		name  string
		fixed int64
		given int
		to    *int
	}{{"channels", d[1], o.Channels, &info.Channels}, {"height", d[2], o.Height, &info.Height}, {"width", d[3], o.Width, &info.Width}} {
		switch {
		case side.fixed > 0 && side.given > 0 && side.fixed != int64(side.given):
			return fmt.Errorf("it takes images with %s %d, but these have %d", side.name, side.fixed, side.given)
		case side.fixed > 0:
			*side.to = int(side.fixed)
		case side.given > 0:
			*side.to = side.given
		default:
			return fmt.Errorf("its input %q has shape %s, which leaves the %s of images open: it must be given", in.Name, dimensionText(d), side.name)
		}
	}
	if info.Channels != 1 && info.Channels != 3 {
		return fmt.Errorf("its input %q takes images with %d channels; grey (1) and colour (3) are supported", in.Name, info.Channels)
	}
	return nil
}

// logitsOutput picks the output named logits, else the only one.
func logitsOutput(outputs []onnxruntime.InputOutputInfo) (onnxruntime.InputOutputInfo, error) {
	var chosen *onnxruntime.InputOutputInfo
	for i := range outputs {
		if outputs[i].Name == "logits" || len(outputs) == 1 {
			chosen = &outputs[i]
		}
	}
	if chosen == nil {
		return onnxruntime.InputOutputInfo{}, fmt.Errorf("it has %d outputs (%s) and none is named logits", len(outputs), portNames(outputs))
	}
	if chosen.OrtValueType != onnxruntime.ONNXTypeTensor || chosen.DataType != onnxruntime.TensorElementDataTypeFloat {
		return *chosen, fmt.Errorf("its output %q is not a float32 tensor but %s", chosen.Name, typeText(*chosen))
	}
	for _, d := range chosen.Dimensions[min(2, len(chosen.Dimensions)):] {
		if d != 1 {
			return *chosen, fmt.Errorf("its output %q has shape %s; logits have (N, classes)", chosen.Name, dimensionText(chosen.Dimensions))
		}
	}
	if len(chosen.Dimensions) < 2 {
		return *chosen, fmt.Errorf("its output %q has shape %s; logits have (N, classes)", chosen.Name, dimensionText(chosen.Dimensions))
	}
	return *chosen, nil
}

func portNames(ports []onnxruntime.InputOutputInfo) string {
	var names []string
	for _, p := range ports {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

func typeText(p onnxruntime.InputOutputInfo) string {
	if p.OrtValueType != onnxruntime.ONNXTypeTensor {
		return "of another kind"
	}
	return p.DataType.String()
}

// dimensionText writes a shape with ? for what is open.
func dimensionText(shape onnxruntime.Shape) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = "?"
		if d >= 0 {
			parts[i] = fmt.Sprint(d)
		}
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
