package zoo

import (
	"slices"
	"testing"
)

// A new classifier has the classes that are asked for; everything else of the model is kept.
func TestReplaceHead(t *testing.T) {
	for _, name := range Names() {
		if name != "resnet8" && name != "mobilenet_v3_small" && name != "vit_tiny_patch16_224" && name != "resnet18" {
			continue
		}
		size := 32
		m, err := Build(name, Options{Classes: []string{"a", "b", "c"}, Channels: 3, Height: size, Width: size, Seed: 1})
		if err != nil {
			continue // not of this size
		}
		other, names, err := m.ReplaceHead(7, 5)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other.Output().Classes != 7 || len(names) != 2 || len(other.Meta().Classes) != 0 {
			t.Errorf("%s: %d classes, %q are new", name, other.Output().Classes, names)
		}
		for _, i := range m.Graph().Initializer {
			a, ok := m.Tensor(i.Name)
			b, _ := other.Tensor(i.Name)
			if ok && slices.Equal(a.Data, b.Data) == slices.Contains(names, i.Name) {
				t.Errorf("%s: %s is not what it should be", name, i.Name)
			}
		}
		again, _, err := m.ReplaceHead(7, 5)
		if err != nil {
			t.Fatal(err)
		}
		x, _ := other.Bytes()
		y, _ := again.Bytes()
		if !slices.Equal(x, y) {
			t.Errorf("%s: another head for the same seed", name)
		}
	}
}
