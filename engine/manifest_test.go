package engine

import (
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

func sampleManifest() *Manifest {
	seed := uint64(42)
	return &Manifest{
		Kind: "train", Version: 3,
		Args: []stages.Field{{Path: "epochs", Text: "3"}, {Path: "learning_rate", Text: "0x1.999999999999ap-04"}, {Path: "loss.name", Text: `"a b"`}},
		Inputs: []ManifestInput{
			{Port: "data", Ref: artifact.Ref{Type: artifact.Dataset, Digest: artifact.DigestBytes([]byte("d"))}},
			{Port: "from", Name: `lr="0.1" x`, Ref: artifact.Ref{Type: artifact.Folder, Digest: artifact.DigestBytes([]byte("e")), Tree: true}},
		},
		Seed:   &seed,
		Device: stages.Device{Backend: "cpu", Version: "onnxruntime 1.30.0", ISA: "avx2", Precision: "fp32", Threads: 2},
	}
}

func TestManifestRoundTrip(t *testing.T) {
	m := sampleManifest()
	got, err := ParseManifest(m.Text())
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Text())
	}
	if got.Text() != m.Text() || got.Key() != m.Key() || got.Inputs[1].Name != m.Inputs[1].Name {
		t.Fatalf("another manifest came back:\n%s", got.Text())
	}
}

func TestManifestDiff(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Manifest)
		want   string
	}{
		{"nothing", func(*Manifest) {}, ""},
		{"argument", func(m *Manifest) { m.Args[0].Text = "4" }, "epochs: 3 → 4"},
		{"float", func(m *Manifest) { m.Args[1].Text = "0x1p-01" }, "learning_rate: 0.1 → 0.5"},
		{"gone", func(m *Manifest) { m.Args = m.Args[1:] }, "epochs: 3 → none"},
		{"new", func(m *Manifest) { m.Args = append(m.Args, stages.Field{Path: "nesterov", Text: "true"}) }, "nesterov: none → true"},
		{"version", func(m *Manifest) { m.Version = 4 }, "kind version: 3 → 4"},
		{"threads", func(m *Manifest) { m.Device.Threads = 1 }, "device.threads: 2 → 1"},
		{"seed", func(m *Manifest) { s := uint64(7); m.Seed = &s }, "seed: 42 → 7"},
		{"input", func(m *Manifest) { m.Inputs[0].Ref.Digest = artifact.DigestBytes([]byte("f")) },
			"data: dataset " + artifact.DigestBytes([]byte("d")).Short() + " → dataset " + artifact.DigestBytes([]byte("f")).Short()},
		{"order", func(m *Manifest) { m.Inputs[0], m.Inputs[1] = m.Inputs[1], m.Inputs[0] }, "inputs: another order → this order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sampleManifest()
			c.change(m)
			var got []string
			for _, r := range m.Diff(sampleManifest()) {
				got = append(got, r.String())
			}
			if s := strings.Join(got, "\n"); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
			if (m.Key() == sampleManifest().Key()) != (c.want == "") {
				t.Error("the key and its explanation disagree")
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(sampleManifest().Text())
	f.Add(manifestHead)
	f.Add(manifestHead + "kind \"x\"\nversion 1\n")
	f.Add(manifestHead + "input a[\"\\\"\"] file:00\n")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := ParseManifest(text); err == nil && m.Text() != text {
			t.Fatal("accepted a text that is not canonical")
		}
	})
}
