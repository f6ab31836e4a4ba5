package dataset

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// op is an operation for tests: its name, and then names and values of arguments.
func op(name string, args ...any) Operation {
	o := Operation{Name: name, Args: map[string]any{}}
	for i := 0; i < len(args); i += 2 {
		v := args[i+1]
		if n, ok := v.(int); ok {
			v = float64(n)
		}
		o.Args[args[i].(string)] = v
	}
	return o
}

func policy(t testing.TB, operations ...Operation) *Policy {
	t.Helper()
	p, err := NewPolicy(operations, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// everyOperation applies all operations that keep the size, each for certain where it can, and then crops to another size. At most three of
// them may need other samples.
func everyOperation(t testing.TB, info Info) *Policy {
	t.Helper()
	var ops []Operation
	for _, k := range OperationKinds() {
		o := op(k.Name)
		for _, p := range k.Parameters {
			if p.Name == "p" {
				o.Args["p"] = 1.0
			}
		}
		switch {
		case k.Name == "normalize" || k.Name == "pad":
			continue
		case k.Nested:
			o.Of = []Operation{op("rotate", "p", 1), op("invert_is_not_one", "p", 1)}
			o.Of[1] = op("solarize", "p", 0.5)
		}
		ops = append(ops, o)
	}
	ops = append(ops, op("pad", "padding", []float64{1, 2}), op("random_crop", "height", info.Height-1), op("normalize"))
	return policy(t, ops...)
}

// What a policy's text says is what is written back: the text is canonical, so it can stand in a digest. And every policy that is taken can be
// applied, or says that it does not fit the size.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(`{"version":2,"operations":[]}`))
	f.Add([]byte(`{"version":2,"min_visibility":0.5,"operations":[{"name":"random_crop","args":{"padding":2}},{"name":"horizontal_flip","args":{}}]}`))
	f.Add([]byte(`{"version":2,"operations":[{"name":"rotate","args":{"limit":1e99,"p":1}}]}`))
	f.Add([]byte(`{"version":2,"operations":[{"name":"one_of","args":{"p":1},"of":[{"name":"mixup","args":{}},{"name":"some_of","args":{"n":2},"of":[{"name":"clahe","args":{"clip_limit":[1,255],"tile_grid_size":[64,64]}}]}]}]}`))
	for _, k := range OperationKinds() {
		f.Add(fmt.Appendf(nil, `{"version":2,"operations":[{"name":%q,"args":{"p":1}}]}`, k.Name))
		f.Add(fmt.Appendf(nil, `{"version":2,"operations":[{"name":%q}]}`, k.Name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := ParsePolicy(p.JSON())
		if err != nil || !bytes.Equal(again.JSON(), p.JSON()) {
			t.Fatalf("%s is read as %v (%v)", p.JSON(), again, err)
		}
		for _, c := range []int{1, 3} {
			info := Info{Classes: []string{"a"}, Height: 3, Width: 4, Channels: c}
			h, w, err := p.Size(3, 4)
			if err != nil || h > 64 || w > 64 || len(text) > 1000 {
				return
			}
			g, err := NewAugmenter(p, info, same{info})
			if err != nil {
				t.Fatal(err)
			}
			out, _, err := g.Apply(make([]byte, 12*c), 1, 2, 3)
			if err != nil || len(out) != h*w*c {
				t.Fatalf("%s gives %d bytes, not %d×%d×%d (%v)", p.JSON(), len(out), h, w, c, err)
			}
		}
	})
}

// same are samples that are all black.
type same struct{ info Info }

func (s same) Len() int                               { return 5 }
func (s same) Pixels(_ int, b []byte) ([]byte, error) { return make([]byte, s.info.ImageSize()), nil }

func TestPolicyRefusals(t *testing.T) {
	for text, says := range map[string]string{
		`[]`:                                     "cannot unmarshal",
		`{"operations":[]}`:                      "version 0",
		`{"version":2,"operations":[]} 1`:        "after the policy",
		`{"version":2,"operations":[],"more":1}`: "unknown field",
		`{"version":2,"min_visibility":2,"operations":[]}`:                                                                                       "0 to 1",
		`{"version":2,"operations":[{"name":"spin","args":{}}]}`:                                                                                 "no operation of that name",
		`{"version":2,"operations":[{"name":"random_crop","args":{"padding":-1}}]}`:                                                              "within 0 to 4096",
		`{"version":2,"operations":[{"name":"random_crop","args":{"padding":1.5}}]}`:                                                             "within 0 to 4096",
		`{"version":2,"operations":[{"name":"random_crop","args":{"p":1}}]}`:                                                                     `no argument "p"`,
		`{"version":2,"operations":[{"name":"random_gamma","args":{"gamma_limit":[120,80]}}]}`:                                                   "120 is above 80",
		`{"version":2,"operations":[{"name":"random_gamma","args":{"gamma_limit":[120]}}]}`:                                                      "2 to 2 numbers",
		`{"version":2,"operations":[{"name":"rotate","args":{"border_mode":"wrap"}}]}`:                                                           "not one of",
		`{"version":2,"operations":[{"name":"one_of","args":{}}]}`:                                                                               "holds no operations",
		`{"version":2,"operations":[{"name":"rotate","args":{},"of":[{"name":"rotate","args":{}}]}]}`:                                            "takes no operations inside",
		`{"version":2,"operations":[{"name":"normalize","args":{}},{"name":"rotate","args":{}}]}`:                                                "must be the last",
		`{"version":2,"operations":[{"name":"one_of","args":{},"of":[{"name":"normalize","args":{}}]}]}`:                                         "cannot stand inside",
		`{"version":2,"operations":[` + strings.Repeat(`{"name":"mosaic","args":{}},`, 3) + `{"name":"mixup","args":{}}]}`:                       "at most 3",
		`{"version":2,"operations":[` + strings.Repeat(`{"name":"to_gray","args":{}},`, 256) + `{"name":"to_gray","args":{}}]}`:                  "more than 256",
		`{"version":2,"operations":[` + strings.Repeat(`{"name":"one_of","args":{},"of":[`, 8) + `{"name":"x"}` + strings.Repeat(`]}`, 8) + `]}`: "nested deeper",
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.90s: %v", text, err)
		}
	}
}

// Operations that change the size do so for what follows; one that does not fit says which and why.
func TestPolicySize(t *testing.T) {
	for _, c := range []struct {
		ops  []Operation
		h, w int
		err  string
	}{
		{[]Operation{op("random_crop", "height", 20, "width", 30), op("pad", "padding", []float64{1, 2, 3, 4}), op("rotate")}, 26, 34, ""},
		{[]Operation{op("resize", "height", 100), op("center_crop", "width", 7)}, 100, 7, ""},
		{[]Operation{op("random_crop", "height", 41)}, 0, 0, "operation 0 (random_crop) on images of 50×40: a window of 50×41 does not fit"},
		{[]Operation{op("random_crop", "padding", 40)}, 0, 0, "must be below 40"},
		{[]Operation{op("pad", "padding", []float64{1, 2, 3})}, 0, 0, "one number, two"},
		{[]Operation{op("pad", "padding", []float64{4096}), op("pad", "padding", []float64{4096}), op("pad", "padding", []float64{4096})}, 0, 0, "within 1 to 16384"},
		{[]Operation{{Name: "one_of", Of: []Operation{op("to_gray"), op("center_crop", "height", 5)}}}, 0, 0, "place it outside"},
	} {
		h, w, err := policy(t, c.ops...).Size(40, 50)
		if h != c.h || w != c.w || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %d×%d, %v", c.ops, w, h, err)
		}
	}
	if _, err := NewAugmenter(policy(t, op("mixup")), small, nil); err == nil {
		t.Error("a mixing policy was taken without other samples")
	}
}
