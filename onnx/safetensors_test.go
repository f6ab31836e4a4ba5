package onnx

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// safetensorsFile makes a file of a header and data.
func safetensorsFile(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func floatBytes(list ...float32) []byte {
	var b []byte
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func TestSafetensorsTypes(t *testing.T) {
	file := safetensorsFile(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},`+
		`"h":{"dtype":"F16","shape":[4],"data_offsets":[8,16]},"b":{"dtype":"BF16","shape":[],"data_offsets":[16,18]},"n":{"dtype":"I64","shape":[],"data_offsets":[18,26]}}`,
		append(floatBytes(1.5, -2), 0x00, 0x3c, 0x01, 0x80, 0x00, 0xfc, 0x55, 0x35, 0xc0, 0x3f, 1, 0, 0, 0, 0, 0, 0, 0)...)
	s, err := newSafetensors(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Names(); !reflect.DeepEqual(got, []string{"a", "b", "h", "n"}) {
		t.Error(got)
	}
	for name, want := range map[string]Tensor{
		"a": {[]int{2, 1}, []float32{1.5, -2}},
		"h": {[]int{4}, []float32{1, -0x1p-24, float32(math.Inf(-1)), 0.33325195}}, // NumPy's float16
		"b": {nil, []float32{1.5}},
	} {
		if got, err := s.Tensor(name); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := s.Tensor("n"); err == nil {
		t.Error("a whole number was read as a weight")
	}
}

func TestSafetensorsRefusals(t *testing.T) {
	entry := func(s string) string { return `{"a":` + s + `}` }
	for what, file := range map[string][]byte{
		"less than 8 bytes":     {1, 2, 3},
		"its header has":        binary.LittleEndian.AppendUint64(nil, 1<<40),
		"no JSON object":        safetensorsFile(`[]`),
		"occurs twice":          safetensorsFile(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`),
		"is not known":          safetensorsFile(entry(`{"dtype":"F3","shape":[1],"data_offsets":[0,4]}`), 0, 0, 0, 0),
		"its data lies at":      safetensorsFile(entry(`{"dtype":"F32","shape":[1],"data_offsets":[4,8]}`), 0, 0, 0, 0),
		"need 8":                safetensorsFile(entry(`{"dtype":"F32","shape":[2],"data_offsets":[0,4]}`), 0, 0, 0, 0),
		"negative or too large": safetensorsFile(entry(`{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}`)),
	} {
		if _, err := newSafetensors(bytes.NewReader(file), int64(len(file))); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
	if _, err := OpenSafetensors(filepath.Join(t.TempDir(), "none.safetensors")); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// Whatever bytes are read, every tensor that the header names lies in the file.
func FuzzSafetensors(f *testing.F) {
	f.Add(safetensorsFile(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 0, 0, 128, 63))
	f.Add(safetensorsFile(`{"a":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]},"__metadata__":{"x":"y"}}`, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := newSafetensors(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, name := range s.Names() {
			dims, ok := s.Dims(name)
			if !ok {
				continue
			}
			got, err := s.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			n := 1
			for _, d := range dims {
				n *= d
			}
			if len(got.Data) != n {
				t.Errorf("%s has %d elements, not %d", name, len(got.Data), n)
			}
		}
	})
}

// A matrix that MatMul takes is turned round; what differs, is missing or unused is listed by name.
func TestLoadWeights(t *testing.T) {
	b := NewBuilder("dense", 1, 1, 2)
	x := b.Node("Flatten", "flat", []string{InputName})
	x = b.Node("MatMul", "one", []string{x, b.Tensor("one.weight", []int{2, 2}, make([]float32, 4))})
	x = b.Node("Add", "shift", []string{x, b.Tensor("one.bias", []int{2}, []float32{7, 7})})
	b.Node("Gemm", OutputName, []string{x, b.Tensor("two.weight", []int{3, 2}, make([]float32, 6))}, IntOf("transB", 1))
	m, err := b.Model(3, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "w.safetensors")
	file := safetensorsFile(`{"one.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"two.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},`+
		`"extra":{"dtype":"F32","shape":[1],"data_offsets":[16,20]}}`, floatBytes(1, 2, 3, 4, 5)...)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadWeights(m, path)
	if err != nil {
		t.Fatal(err)
	}
	want := Match{Loaded: []string{"one.weight"}, Different: []Mismatch{{"two.weight", []int{3, 2}, []int{2, 2}}}, Missing: []string{"one.bias"}, Unused: []string{"extra"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	text := "1 weights loaded\ntwo.weight has dimensions [3 2] in the model, [2 2] in the file\nnot in the file: one.bias\nnot in the model: extra"
	if got.Text("the file") != text {
		t.Error(got.Text("the file"))
	}
	if w, _ := m.Tensor("one.weight"); !reflect.DeepEqual(w.Data, []float32{1, 3, 2, 4}) {
		t.Error(w)
	}
	// From an ONNX file whose matrices are kept alike nothing is turned.
	saved := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Save(saved); err != nil {
		t.Fatal(err)
	}
	if got, err = LoadWeights(m, saved); err != nil || len(got.Loaded) != 3 || len(got.Missing)+len(got.Unused)+len(got.Different) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if w, _ := m.Tensor("one.weight"); !reflect.DeepEqual(w.Data, []float32{1, 3, 2, 4}) {
		t.Error(w)
	}
}

// From another model comes what LoadWeights would load of its file, and the normalisation of the input.
func TestCopyWeights(t *testing.T) {
	build := func(turned bool, weight, mean, std []float32) *Model {
		b := NewBuilder("dense", 1, 1, 2)
		x := b.Node("Sub", "centred", []string{InputName, b.Tensor(NormalMean, []int{1, 1, 1, 1}, mean)})
		x = b.Node("Div", "normal", []string{x, b.Tensor(NormalStd, []int{1, 1, 1, 1}, std)})
		x = b.Node("Flatten", "flat", []string{x})
		w := b.Tensor("fc.weight", []int{2, 2}, weight)
		if turned {
			b.Node("Gemm", OutputName, []string{x, w}, IntOf("transB", 1))
		} else {
			b.Node("MatMul", OutputName, []string{x, w})
		}
		m, err := b.Model(2, Meta{Mean: []float64{float64(mean[0])}, Std: []float64{float64(std[0])}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	to, from := build(false, make([]float32, 4), []float32{0}, []float32{1}), build(true, []float32{1, 2, 3, 4}, []float32{0.5}, []float32{0.25})
	match, err := CopyWeights(to, from)
	if err != nil || !reflect.DeepEqual(match, Match{Loaded: []string{"fc.weight"}}) {
		t.Errorf("%+v, %v", match, err)
	}
	for name, want := range map[string][]float32{"fc.weight": {1, 3, 2, 4}, NormalMean: {0.5}, NormalStd: {0.25}} {
		if got, _ := to.Tensor(name); !reflect.DeepEqual(got.Data, want) {
			t.Errorf("%s is %v, want %v", name, got.Data, want)
		}
	}
	if meta := to.Meta(); !reflect.DeepEqual(meta.Mean, []float64{0.5}) || !reflect.DeepEqual(meta.Std, []float64{0.25}) {
		t.Errorf("%+v", meta)
	}
}
