package tensorrt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// summary is what trtexec says about the speed of an engine. Times are in milliseconds for one query, which is one batch.
type summary struct {
	Throughput  float64         // queries a second
	Min, Max    float64         // latency
	Mean        float64         // latency
	Median      float64         // latency
	Percentiles map[int]float64 // latency by percent
}

var (
	throughputLine = regexp.MustCompile(`(?m)Throughput: ([0-9.e+-]+) qps`)
	latencyLine    = regexp.MustCompile(`(?m)\] Latency: (.*)$`)
	resultLine     = regexp.MustCompile(`(?m)^&&&& (PASSED|FAILED|WAIVED) TensorRT\.trtexec`)
	errorLine      = regexp.MustCompile(`(?m)^\[[^\]\n]*\] \[E\] (.*)$`)
	percentile     = regexp.MustCompile(`^percentile\(([0-9.]+)%\)$`)
)

// passed reports whether the output ends with the line of success.
func passed(output []byte) bool {
	all := resultLine.FindAllSubmatch(output, -1)
	return len(all) > 0 && string(all[len(all)-1][1]) == "PASSED"
}

// complaints returns the lines in which TensorRT says what is wrong, at most n, the first ones, which later ones follow from.
func complaints(output []byte, n int) []string {
	var out []string
	for _, m := range errorLine.FindAllSubmatch(output, n) {
		out = append(out, strings.TrimSpace(string(m[1])))
	}
	return out
}

// parseSummary reads throughput and latency out of what trtexec printed.
func parseSummary(output []byte) (*summary, error) {
	t := throughputLine.FindSubmatch(output)
	l := latencyLine.FindSubmatch(output)
	if t == nil || l == nil {
		return nil, errors.New("the output has no lines for throughput and latency")
	}
	s := &summary{Percentiles: map[int]float64{}}
	var err error
	if s.Throughput, err = strconv.ParseFloat(string(t[1]), 64); err != nil {
		return nil, fmt.Errorf("throughput: %w", err)
	}
	for field := range strings.SplitSeq(string(l[1]), ",") {
		name, text, ok := strings.Cut(strings.TrimSpace(field), " = ")
		v, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(text), " ms"), 64)
		if !ok || err != nil || !(v >= 0) {
			return nil, fmt.Errorf("latency: %q is not a name and a number of milliseconds", strings.TrimSpace(field))
		}
		if to := map[string]*float64{"min": &s.Min, "max": &s.Max, "mean": &s.Mean, "median": &s.Median}[name]; to != nil {
			*to = v
			continue
		}
		if m := percentile.FindStringSubmatch(name); m != nil {
			p, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return nil, fmt.Errorf("latency: %w", err)
			}
			s.Percentiles[int(p)] = v
		}
	}
	return s, nil
}

// layer is one layer of an engine after fusion.
type layer struct {
	Name      string
	Type      string
	Precision string // of its outputs, as TensorRT writes formats; "" where it does not say
}

// parseLayers reads the file of --exportLayerInfo: layers are texts without detailed verbosity, else objects. What the engine
// takes and gives is called Bindings by 10.x and I/O Tensors by 11.x.
func parseLayers(b []byte) ([]layer, []string, error) {
	var file struct {
		Layers    []json.RawMessage `json:"Layers"`
		Bindings  []json.RawMessage `json:"Bindings"`
		IOTensors []json.RawMessage `json:"I/O Tensors"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, nil, fmt.Errorf("the layer information is not JSON: %w", err)
	}
	if file.Layers == nil {
		return nil, nil, errors.New("the layer information has no Layers")
	}
	var layers []layer
	for i, raw := range file.Layers {
		l, err := parseLayer(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
		layers = append(layers, l)
	}
	var ports []string
	for _, raw := range append(file.Bindings, file.IOTensors...) {
		var name string
		if json.Unmarshal(raw, &name) != nil {
			var object struct{ Name string }
			if err := json.Unmarshal(raw, &object); err != nil || object.Name == "" {
				return nil, nil, fmt.Errorf("the input or output %s has no name", raw)
			}
			name = object.Name
		}
		ports = append(ports, name)
	}
	return layers, ports, nil
}

func parseLayer(raw json.RawMessage) (layer, error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`)) {
		var name string
		err := json.Unmarshal(raw, &name)
		return layer{Name: name}, err
	}
	var object struct {
		Name      string `json:"Name"`
		LayerType string `json:"LayerType"`
		Outputs   []struct {
			Format   string `json:"Format/Datatype"`
			DataType string `json:"Datatype"`
		} `json:"Outputs"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return layer{}, err
	}
	l := layer{Name: object.Name, Type: object.LayerType}
	if len(object.Outputs) > 0 {
		l.Precision = object.Outputs[0].Format
		if l.Precision == "" {
			l.Precision = object.Outputs[0].DataType
		}
	}
	return l, nil
}
