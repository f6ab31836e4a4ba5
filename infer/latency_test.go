package infer

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestLatencyTable(t *testing.T) {
	rows := []Latency{NewLatency([]float64{1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 11}, 8, 2), {Node: "a, \"b\"", Layer: "a", Index: 4, Operator: "Conv", Shape: "8x3", Batch: 8, Threads: 2, Width: 0.5, MACs: 70, Runs: 3, Median: 0.5, P10: 0.25, P90: 1}}
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
		{"scope,", "scop,"}, {"\nmodel,", "\nmodels,"}, {",8,2,0.5,4,", ",0,2,0.5,4,"}, {",8,2,0.5,4,", ",8,2,0.5,-1,"}, {",0.5,4,", ",0,4,"}, {",0.5,4,", ",1.5,4,"}, {",0.5,4,", ",NaN,4,"}, {",70,", ",-70,"}, {"0.500000", "NaN"}, {"0.500000", "-1"}, {"0.500000", "1e999"}, {",Conv,", ","},
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
	f.Add("scope,batch,threads,width,index,node,layer,operator,shape,macs,runs,median_ms,p10_ms,p90_ms\nmodel,1,1,1,,,,,,7,5,1.0,1.0,1.0\n")
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
