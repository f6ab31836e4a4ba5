package dataset

import (
	"bytes"
	"testing"
)

// What a policy's text says is what is written back: the text is canonical, so it can stand in a digest.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(`{"operations":[]}`))
	f.Add([]byte(`{"operations":[{"name":"crop","args":{"padding":2}},{"name":"flip","args":{"horizontal":1,"p":0.5,"vertical":0}}]}`))
	f.Add([]byte(`{"operations":[{"name":"rotate","args":{"limit":1e99,"p":1}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := ParsePolicy(p.JSON())
		if err != nil || !bytes.Equal(again.JSON(), p.JSON()) {
			t.Fatalf("%s is read as %v (%v)", p.JSON(), again, err)
		}
		info := Info{Classes: []string{"a"}, Height: 3, Width: 4, Channels: 1}
		if len(p.Operations()) < 16 {
			for _, v := range NewAugmenter(p, info).Apply(make([]byte, 12), 1, 2, 3) {
				if !(v >= 0 && v <= 1) {
					t.Fatalf("%s gives %v", p.JSON(), v)
				}
			}
		}
	})
}

func TestPolicyRefusals(t *testing.T) {
	for _, text := range []string{
		`[]`, `{"operations":[{"name":"spin","args":{}}]}`, `{"operations":[{"name":"crop","args":{}}]}`,
		`{"operations":[{"name":"crop","args":{"padding":-1}}]}`, `{"operations":[{"name":"crop","args":{"padding":1,"p":1}}]}`,
		`{"operations":[],"more":1}`,
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}

// BenchmarkAugment is the cost of one image of 28×28 pixels with a full policy, on one core.
func BenchmarkAugment(b *testing.B) {
	p, err := NewPolicy([]Operation{
		{"flip", map[string]float64{"horizontal": 1, "vertical": 0, "p": 0.5}}, {"rotate", map[string]float64{"limit": 15, "p": 1}},
		{"crop", map[string]float64{"padding": 2}}, {"brightness_contrast", map[string]float64{"brightness": 0.2, "contrast": 0.2, "p": 1}},
		{"gaussian_noise", map[string]float64{"sigma": 0.05, "p": 1}},
	})
	if err != nil {
		b.Fatal(err)
	}
	g, image := NewAugmenter(p, Info{Classes: []string{"a"}, Height: 28, Width: 28, Channels: 1}), make([]byte, 28*28)
	n := uint64(0)
	for b.Loop() {
		g.Apply(image, 1, 0, n)
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "images/s")
}
