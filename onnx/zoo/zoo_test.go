package zoo

import (
	"bytes"
	"math"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
)

func options() Options {
	return Options{Classes: []string{"a", "b", "c"}, Channels: 3, Height: 32, Width: 32, Mean: []float64{0.5, 0.4, 0.3}, Std: []float64{0.2, 0.2, 0.1}, Seed: 1}
}

func build(t *testing.T, name string, o Options) *onnx.Model {
	t.Helper()
	m, err := Build(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every architecture has the published number of weights, at the published number of classes and size.
func TestParameterCounts(t *testing.T) {
	for _, a := range architectures {
		got, err := Parameters(a.name, a.classes, 3, a.size, a.size)
		if err != nil {
			t.Fatal(err)
		}
		if got != a.parameters {
			t.Errorf("%s has %d trained parameters, want %d", a.name, got, a.parameters)
		}
	}
}

// What Parameters counts without building is what a model has.
func TestParametersOfAModel(t *testing.T) {
	for _, name := range []string{"resnet8", "mobilenet_v3_small", "vit_tiny"} {
		m := build(t, name, options())
		statistics := 6 // mean and deviation of 3 channels
		for _, n := range m.Graph().Node {
			if n.OpType == "BatchNormalization" {
				mean, _ := m.Tensor(n.Input[3])
				statistics += 2 * len(mean.Data)
			}
		}
		if want, err := Parameters(name, 3, 3, 32, 32); err != nil || m.Parameters()-statistics != want {
			t.Errorf("%s has %d trained parameters, Parameters says %d, %v", name, m.Parameters()-statistics, want, err)
		}
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	bytesOf := func(o Options) []byte {
		b, err := build(t, "resnet8", o).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	o := options()
	a := bytesOf(o)
	if !bytes.Equal(a, bytesOf(o)) {
		t.Error("the same options gave other bytes")
	}
	o.Seed = 2
	if bytes.Equal(a, bytesOf(o)) {
		t.Error("another seed gave the same weights")
	}
}

func TestInitialWeights(t *testing.T) {
	m := build(t, "resnet20", options())
	w, ok := m.Tensor("layer3.2.conv1.weight")
	if !ok || len(w.Data) != 64*64*9 {
		t.Fatal("no such kernel")
	}
	sum, squares := 0.0, 0.0
	for _, v := range w.Data {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(w.Data))
	want := math.Sqrt(2.0 / (64 * 9))
	if mean, deviation := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 4*want/math.Sqrt(n) || math.Abs(deviation/want-1) > 0.02 {
		t.Errorf("mean %g, deviation %g; want 0 and %g", mean, deviation, want)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := Build("resnet9", options()); err == nil {
		t.Error("an unknown name was accepted")
	}
	if err := CheckSize("resnet8", 7, 32); err == nil {
		t.Error("an image of 7 pixels was accepted")
	}
	if err := CheckSize("resnet18", 32, 32); err != nil {
		t.Error(err)
	}
	o := options()
	o.Mean = o.Mean[:2]
	if _, err := Build("resnet8", o); err == nil {
		t.Error("two means for three channels were accepted")
	}
}
