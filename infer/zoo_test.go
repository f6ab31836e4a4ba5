package infer

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// Every architecture passes ONNX Runtime's full checks, says what it was built for, and answers an image the same alone
// as among others.
func TestZooModels(t *testing.T) {
	needLibrary(t)
	for _, name := range zoo.Names() {
		const size, count = 32, 5
		classes := []string{"a", "b", "c"}
		n, err := zoo.Parameters(name, len(classes), 3, size, size)
		if err != nil {
			t.Fatal(err)
		}
		if n > 6_000_000 {
			continue // the larger ones of a family are made of the same parts
		}
		m, err := zoo.Build(name, zoo.Options{Classes: classes, Channels: 3, Height: size, Width: size, Mean: []float64{0.5, 0.4, 0.3}, Std: []float64{0.2, 0.2, 0.2}, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{Threads: 2, Batch: 4})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		defer s.Close()
		info := s.Info()
		if !reflect.DeepEqual(info.Classes, classes) || info.Outputs != 3 || info.Channels != 3 || info.Height != size || !reflect.DeepEqual(info.Mean, []float64{0.5, 0.4, 0.3}) {
			t.Errorf("%s: %+v", name, info)
		}
		images := pixels(count * 3 * size * size)
		all, err := s.Logits(t.Context(), images, count)
		if err != nil {
			t.Fatal(err)
		}
		one, err := s.Logits(t.Context(), images[2*3*size*size:3*3*size*size], 1)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one, all[2*3:3*3]) {
			t.Errorf("%s: alone %v, among others %v", name, one, all[2*3:3*3])
		}
	}
}
