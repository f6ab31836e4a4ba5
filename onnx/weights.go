package onnx

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/gomlx/compute-onnx/support/protos"
)

// Match says what became of the weights of a file or of another model, the source.
type Match struct {
	Loaded    []string   // copied into the model
	Different []Mismatch // in both, with other dimensions
	Missing   []string   // in the model only; they keep their values
	Unused    []string   // in the source only
}

// Mismatch is a weight that has other dimensions in the source.
type Mismatch struct {
	Name          string
	Model, Source []int
}

// Text is a summary of a few lines, with every name that did not match; source is what it calls the source.
func (m Match) Text(source string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d weights loaded", len(m.Loaded))
	for _, d := range m.Different {
		fmt.Fprintf(&b, "\n%s has dimensions %v in the model, %v in %s", d.Name, d.Model, d.Source, source)
	}
	for _, list := range []struct {
		what  string
		names []string
	}{{"not in " + source, m.Missing}, {"not in the model", m.Unused}} {
		if len(list.names) > 0 {
			fmt.Fprintf(&b, "\n%s: %s", list.what, strings.Join(list.names, ", "))
		}
	}
	return b.String()
}

// weightSource is named tensors from elsewhere.
type weightSource interface {
	Names() []string
	Dims(name string) ([]int, bool)
	Tensor(name string) (Tensor, error)
	// turned says whether a matrix of a dense layer is (outputs, inputs), as PyTorch stores them.
	turned(name string) bool
}

// LoadWeights copies the weights of a safetensors or an ONNX file, told apart by how they begin, into the model, by name: a state dictionary of torchvision or timm fits the zoo's
// models, whose weights have the same names. A matrix of a dense layer is turned round where the two store it differently. Weights whose
// dimensions differ, such as those of a classifier for other classes, keep their values, and Match lists them.
func LoadWeights(to *Model, path string) (Match, error) {
	head, err := beginning(path, 9)
	if err != nil {
		return Match{}, err
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("\x80\x02")) {
		return Match{}, fmt.Errorf("%s is a pickle of PyTorch, which only Python can read: save its state dictionary with safetensors.torch.save_file", path)
	}
	if len(head) < 9 || head[8] != '{' { // a safetensors file has the length of its header in eight bytes, then JSON
		m, err := Load(path)
		if err != nil {
			return Match{}, err
		}
		return match(to, modelWeights{m, turnedMatrices(m)})
	}
	s, err := OpenSafetensors(path)
	if err != nil {
		return Match{}, fmt.Errorf("%s: %w", path, err)
	}
	defer s.Close()
	out, err := match(to, s)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return out, err
}

// CopyWeights copies the weights of another model as LoadWeights does those of a file, and with them the normalisation of the input where both models have
// one for as many channels; Meta says so then.
func CopyWeights(to, from *Model) (Match, error) {
	out, err := match(to, modelWeights{from, turnedMatrices(from)})
	if err != nil {
		return out, err
	}
	for _, name := range []string{NormalMean, NormalStd} {
		have, ok := to.Tensor(name)
		source, there := from.Tensor(name)
		if !ok || !there || !slices.Equal(source.Dims, have.Dims) {
			return out, nil
		}
		if err := to.SetTensor(name, source.Data); err != nil {
			return out, err
		}
	}
	meta := to.Meta()
	meta.Mean, meta.Std = from.Meta().Mean, from.Meta().Std
	return out, to.SetMeta(meta)
}

// beginning returns the first n bytes of a file, fewer where it is shorter.
func beginning(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the weights: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil {
		return nil, fmt.Errorf("reading the weights: %w", err)
	}
	return b, nil
}

// turned is true: state dictionaries are PyTorch's.
func (s *Safetensors) turned(string) bool { return true }

// modelWeights are the float32 initializers of a model.
type modelWeights struct {
	model    *Model
	matrices map[string]bool
}

func (w modelWeights) Names() []string {
	var names []string
	for _, t := range w.model.proto.Graph.Initializer {
		if t.DataType == int32(protos.TensorProto_FLOAT) {
			names = append(names, t.Name)
		}
	}
	return names
}

func (w modelWeights) Dims(name string) ([]int, bool) {
	t, ok := w.model.Tensor(name)
	return t.Dims, ok
}

func (w modelWeights) Tensor(name string) (Tensor, error) {
	t, _ := w.model.Tensor(name)
	return t, nil
}

func (w modelWeights) turned(name string) bool { return w.matrices[name] }

// turnedMatrices returns for each initializer that is the matrix of a dense layer whether it is stored as (outputs, inputs).
func turnedMatrices(m *Model) map[string]bool {
	turned := map[string]bool{}
	for _, n := range m.proto.Graph.Node {
		if len(n.Input) > 1 && m.HasTensor(n.Input[1]) && (n.OpType == "MatMul" || n.OpType == "Gemm") {
			turned[n.Input[1]] = n.OpType == "Gemm" && Int(n, "transB", 0) != 0
		}
	}
	return turned
}

// fixed says of an initializer that it is no weight: the normalisation of the input, a mask.
func fixed(name string) bool {
	return name == NormalMean || name == NormalStd || strings.HasSuffix(name, ".mask")
}

func match(to *Model, from weightSource) (Match, error) {
	var out Match
	matrices := turnedMatrices(to)
	known := map[string]bool{}
	for _, p := range to.proto.Graph.Initializer {
		have, ok := to.Tensor(p.Name)
		if !ok || fixed(p.Name) {
			continue
		}
		known[p.Name] = true
		dims, ok := from.Dims(p.Name)
		if !ok {
			out.Missing = append(out.Missing, p.Name)
			continue
		}
		here, matrix := matrices[p.Name]
		turn := matrix && len(dims) == 2 && here != from.turned(p.Name)
		if turn {
			dims = []int{dims[1], dims[0]}
		}
		if !slices.Equal(dims, have.Dims) {
			out.Different = append(out.Different, Mismatch{p.Name, have.Dims, dims})
			continue
		}
		t, err := from.Tensor(p.Name)
		if err != nil {
			return out, err
		}
		if turn {
			t = t.transposed()
		}
		if err := to.SetTensor(p.Name, t.Data); err != nil {
			return out, err
		}
		out.Loaded = append(out.Loaded, p.Name)
	}
	for _, name := range from.Names() {
		if !known[name] && !fixed(name) {
			out.Unused = append(out.Unused, name)
		}
	}
	return out, nil
}

// transposed returns a matrix with rows and columns exchanged.
func (t Tensor) transposed() Tensor {
	rows, columns := t.Dims[0], t.Dims[1]
	out := Tensor{Dims: []int{columns, rows}, Data: make([]float32, len(t.Data))}
	for r := range rows {
		for c := range columns {
			out.Data[c*rows+r] = t.Data[r*columns+c]
		}
	}
	return out
}
