package infer

import (
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
