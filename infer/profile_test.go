package infer

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// What ONNX Runtime 1.30 writes for two runs of two nodes, shortened.
const events = `[
{"cat":"Session","pid":1,"tid":2,"dur":90,"ts":1,"ph":"X","name":"model_loading_uri","args":{}},
{"cat":"Node","dur":50,"ts":5,"ph":"X","name":"conv_kernel_time","args":{"op_name":"Conv","provider":"CPUExecutionProvider","node_index":"3","output_type_shape":[{"float":[1,16,32,32]}]}},
{"cat":"Node","dur":1,"ts":6,"ph":"X","name":"conv_fence_after","args":{"op_name":"Conv"}},
{"cat":"Node","dur":20,"ts":7,"ph":"X","name":"fc_kernel_time","args":{"op_name":"Gemm","node_index":"4","output_type_shape":[{"float":[1,10]}]}},
{"cat":"Node","dur":30,"ts":8,"ph":"X","name":"conv_kernel_time","args":{"op_name":"Conv","node_index":"3","output_type_shape":[{"float":[1,16,32,32]}]}},
{"cat":"Node","dur":10,"ts":9,"ph":"X","name":"fc_kernel_time","args":{"op_name":"Gemm","node_index":"4","output_type_shape":[{"float":[1,10]}]}},
{"cat":"Node","dur":40,"ts":8,"ph":"X","name":"conv_kernel_time","args":{"op_name":"Conv","node_index":"3"}},
{"cat":"Node","dur":8,"ts":9,"ph":"X","name":"fc_kernel_time","args":{"op_name":"Gemm","node_index":"4"}}
]`

func TestEvents(t *testing.T) {
	nodes, err := readEvents(strings.NewReader(events), 1)
	want := []NodeTime{{0, "conv", "Conv", "1x16x32x32", []float64{0.03, 0.04}}, {1, "fc", "Gemm", "1x10", []float64{0.008, 0.01}}}
	if err != nil || !reflect.DeepEqual(nodes, want) {
		t.Errorf("%+v, %v", nodes, err)
	}
	for _, broken := range []string{"", "[", "[]", `{"a":1}`} {
		if _, err := readEvents(strings.NewReader(broken), 1); err == nil {
			t.Errorf("%q was accepted", broken)
		}
	}
	if _, err := readEvents(strings.NewReader(events), 3); err == nil {
		t.Error("nothing is left after the warm-up")
	}
}

func TestLatencyTable(t *testing.T) {
	rows := []Latency{NewLatency([]float64{1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 11}, 8, 2), {Node: "a, \"b\"", Index: 4, Operator: "Conv", Shape: "8x3", Batch: 8, Threads: 2, Runs: 3, Median: 0.5, P10: 0.25, P90: 1}}
	if rows[0].Median != 2 || rows[0].Spread() != 0 {
		t.Errorf("%+v", rows[0])
	}
	var b bytes.Buffer
	if err := WriteLatencies(&b, rows); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := ReadLatencies(strings.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, rows) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range [][2]string{
		{"scope,", "scop,"}, {"\nmodel,", "\nmodels,"}, {",8,2,4,", ",0,2,4,"}, {",8,2,4,", ",8,2,-1,"}, {"0.500000", "NaN"}, {"0.500000", "-1"}, {"0.500000", "1e999"}, {",Conv,", ","},
	} {
		if broken := strings.Replace(text, c[0], c[1], 1); broken == text {
			t.Fatalf("%q does not occur in %s", c[0], text)
		} else if _, err := ReadLatencies(strings.NewReader(broken)); err == nil {
			t.Errorf("%q for %q was accepted", c[1], c[0])
		}
	}
	if _, err := ReadLatencies(strings.NewReader(text[:strings.Index(text, "\n")+1])); err == nil {
		t.Error("a table without rows was accepted")
	}
}

func FuzzReadLatencies(f *testing.F) {
	f.Add("scope,batch,threads,index,node,operator,shape,runs,median_ms,p10_ms,p90_ms\nmodel,1,1,,,,,5,1.0,1.0,1.0\n")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := ReadLatencies(strings.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteLatencies(&b, rows); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLatencies(&b); err != nil {
			t.Errorf("what was written is refused: %v", err)
		}
	})
}
