package tensorrt

import (
	"reflect"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	s, err := parseSummary([]byte(summaryText))
	if err != nil {
		t.Fatal(err)
	}
	want := &summary{Throughput: 1873.16, Min: 0.514648, Max: 0.731201, Mean: 0.535294, Median: 0.533691, Percentiles: map[int]float64{50: 0.533691, 90: 0.541016, 99: 0.569824}}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v", s)
	}
	for _, text := range []string{"", strings.Replace(summaryText, "Throughput", "Speed", 1), strings.Replace(summaryText, "0.514648 ms", "nan ms", 1), strings.Replace(summaryText, "mean = 0.535294 ms", "mean 0.535294", 1)} {
		if s, err := parseSummary([]byte(text)); err == nil {
			t.Errorf("%.60q became %+v", text, s)
		}
	}
}

func TestRelease(t *testing.T) {
	for text, want := range map[string]release{
		"&&&& RUNNING TensorRT.trtexec [TensorRT v100600] [b26] # trtexec --help\n": {10, 6, 0},
		"&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec\n":                {},
		"&&&& RUNNING TensorRT.trtexec [TensorRT v110401] [b1] # trtexec --help\n":  {11, 4, 1},
		"trtexec: not found": {},
	} {
		got, err := parseRelease([]byte(text))
		if got != want || (err == nil) != (want != release{}) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestLayers(t *testing.T) {
	for _, c := range []struct {
		text   string
		layers []layer
		ports  []string
	}{
		{`{"Layers": ["a", "b"], "Bindings": ["image"]}`, []layer{{Name: "a"}, {Name: "b"}}, []string{"image"}},
		{`{"Layers": [{"Name": "a", "LayerType": "conv", "Outputs": [{"Format/Datatype": "Int8 NC/32HW32"}]}], "I/O Tensors": [{"Name": "image"}]}`, []layer{{"a", "conv", "Int8 NC/32HW32"}}, []string{"image"}},
		{`{"Layers": []}`, nil, nil},
	} {
		layers, ports, err := parseLayers([]byte(c.text))
		if err != nil || !reflect.DeepEqual(layers, c.layers) || !reflect.DeepEqual(ports, c.ports) {
			t.Errorf("%s: %v, %v, %v", c.text, layers, ports, err)
		}
	}
	for _, text := range []string{"", "[]", "{}", `{"Layers": [1]}`, `{"Layers": [], "Bindings": [{}]}`} {
		if l, p, err := parseLayers([]byte(text)); err == nil {
			t.Errorf("%s: %v, %v", text, l, p)
		}
	}
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte(summaryText))
	f.Add([]byte(`{"Layers": ["a"], "Bindings": ["image"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseSummary(b)
		_, _, _ = parseLayers(b)
		_, _ = parseRelease(b)
		_ = complaints(b, 3)
	})
}
