package tensorrt

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/darkroom-dev/darkroom/report"
)

// page is the report. layers is nil when nothing was built.
func (t *tensorrt) page(b *build, layers []layer) *report.Page {
	p := report.New("TensorRT engine")
	state := "TensorRT " + b.TensorRT
	if b.Provider != "" {
		state = "built by ONNX Runtime"
	}
	if b.Skipped != "" {
		state = "not built"
		p.Subtitle("Skipped: " + b.Skipped)
	} else {
		p.Subtitle(b.Device.Version)
	}
	p.Facts(
		report.Fact{Name: "State", Value: state},
		report.Fact{Name: "Batch", Value: batchText(b.Batch)},
		report.Fact{Name: "Precision", Value: t.precision},
		report.Fact{Name: "Findings", Value: report.Count(len(b.Findings)), Note: "of the linter"},
	)
	if b.Provider != "" {
		p.Code("Options of ONNX Runtime's TensorRT provider", strings.Join(b.optionLines(), "\n"))
	} else {
		p.Code("Command", wrapped(b.Command))
	}
	if len(b.Findings) > 0 {
		p.Section("What TensorRT would refuse or not fuse")
		table := report.Table{Columns: []report.Column{{Name: "Node"}, {Name: "Finding"}}}
		for _, f := range b.Findings {
			table.Rows = append(table.Rows, []string{f.Node, f.Text})
		}
		p.Table(table)
	}
	if layers != nil {
		p.Section("Layers of the engine")
		p.Table(precisions(layers))
		table := report.Table{Title: "Layers", Columns: []report.Column{{Name: "Layer"}, {Name: "Type"}, {Name: "Output"}}, Folded: len(layers) > 30}
		for _, l := range layers {
			table.Rows = append(table.Rows, []string{l.Name, l.Type, l.Precision})
		}
		p.Table(table)
	}
	return p
}

// optionLines are the provider's options in order of their names.
func (b *build) optionLines() []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(b.Options)) {
		lines = append(lines, name+"="+b.Options[name])
	}
	return lines
}

func batchText(b [3]int) string {
	if b[0] == b[2] {
		return fmt.Sprintf("%d, static", b[0])
	}
	return fmt.Sprintf("%d to %d, best at %d", b[0], b[2], b[1])
}

// wrapped writes the command with one argument a line.
func wrapped(command []string) string {
	return strings.ReplaceAll(shellWords(command), " --", " \\\n  --")
}

// precisions counts the layers by the type of their outputs.
func precisions(layers []layer) report.Table {
	counts := map[string]int{}
	for _, l := range layers {
		name := l.Precision
		if name == "" {
			name = "not told"
		}
		counts[name]++
	}
	var names []string
	for n := range counts {
		names = append(names, n)
	}
	sort.Strings(names)
	table := report.Table{Columns: []report.Column{{Name: "Output"}, {Name: "Layers", Number: true}}}
	for _, n := range names {
		table.Rows = append(table.Rows, []string{n, report.Count(counts[n])})
	}
	return table
}
