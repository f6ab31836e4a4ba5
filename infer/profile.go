package infer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// NodeTime is how long one node of a graph took in each of several runs. The graph is the one that ONNX Runtime executes: nodes that it
// fused are one node, with the name of one of them.
type NodeTime struct {
	Index    int // place in the order of execution
	Name     string
	Operator string
	Shape    string    // of its first output, "1x16x32x32"; "" when it is not told
	Took     []float64 // milliseconds, sorted, in steps of 0.001
}

// TimeNodes runs the model at path with ONNX Runtime's profiler and returns its nodes in the order of execution. Profiling itself takes
// time, so the nodes' sum is more than what Time says of a run. scratch is a folder for the profiler's file.
func TimeNodes(ctx context.Context, path string, o Options, t TimingOptions, scratch string) ([]NodeTime, error) {
	dir, err := os.MkdirTemp(scratch, "profile-")
	if err != nil {
		return nil, fmt.Errorf("profiling %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	o.profile = filepath.Join(dir, "events")
	s, err := Open(path, o)
	if err != nil {
		return nil, err
	}
	_, err = Time(ctx, s, o.Threads, t)
	s.Close() // the profiler writes its file now
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(o.profile + "*.json")
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("profiling %s: ONNX Runtime wrote %d files of events", path, len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		return nil, fmt.Errorf("profiling %s: %w", path, err)
	}
	defer f.Close()
	nodes, err := readEvents(f, max(1, t.Warmup))
	if err != nil {
		return nil, fmt.Errorf("profiling %s: %w", path, err)
	}
	return nodes, nil
}

// event is one entry of ONNX Runtime's profile.
type event struct {
	Category string  `json:"cat"`
	Name     string  `json:"name"`
	Duration float64 `json:"dur"` // microseconds
	Args     struct {
		Index    string             `json:"node_index"`
		Operator string             `json:"op_name"`
		Outputs  []map[string][]int `json:"output_type_shape"`
	} `json:"args"`
}

// readEvents collects the times of each node, without those of the first runs.
func readEvents(r io.Reader, skip int) ([]NodeTime, error) {
	var events []event
	if err := json.NewDecoder(r).Decode(&events); err != nil {
		return nil, fmt.Errorf("reading the profiler's events: %w", err)
	}
	at := map[string]int{}
	var nodes []NodeTime
	for _, e := range events {
		name, ok := strings.CutSuffix(e.Name, "_kernel_time")
		if e.Category != "Node" || !ok {
			continue
		}
		key := e.Args.Index + " " + name
		i, ok := at[key]
		if !ok {
			i = len(nodes)
			at[key] = i
			nodes = append(nodes, NodeTime{Index: i, Name: name, Operator: e.Args.Operator, Shape: shapeOf(e.Args.Outputs)})
		}
		nodes[i].Took = append(nodes[i].Took, e.Duration/1000)
	}
	for i := range nodes {
		if len(nodes[i].Took) <= skip {
			return nil, fmt.Errorf("the node %s was run %d times, and %d of them are warm-up", nodes[i].Name, len(nodes[i].Took), skip)
		}
		nodes[i].Took = nodes[i].Took[skip:]
		slices.Sort(nodes[i].Took)
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("the profiler saw no node")
	}
	return nodes, nil
}

func shapeOf(outputs []map[string][]int) string {
	for _, o := range outputs {
		for _, shape := range o {
			var parts []string
			for _, d := range shape {
				parts = append(parts, strconv.Itoa(d))
			}
			return strings.Join(parts, "x")
		}
	}
	return ""
}
