package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/infer/ort"
)

func (r row) text() string {
	accuracy := "–"
	if !math.IsNaN(r.accuracy) {
		accuracy = fmt.Sprintf("%.2f %%", 100*r.accuracy)
	}
	return fmt.Sprintf("%-24s %-26s %9d bytes  %8s  batch 1 %8.3f ms  batch %d %9.3f ms %s", r.subject, r.model, r.size, accuracy, r.one, many, r.many, r.problem)
}

const (
	begin   = "<!-- quantization against onnxruntime.quantization: written by `make bench-quantize` -->"
	end     = "<!-- end of quantization against onnxruntime.quantization -->"
	accepts = "<!-- below: written by `make accept` -->" // everything under it belongs to bench/accept
)

// table has one line a model; speeds are as many times float32's.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| model | quantized by | size | accuracy | batch 1 | faster | batch 32 | faster |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	var float row
	for _, r := range rows {
		if r.model == "float32" {
			float = r
		}
		if r.problem != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | | | | | |\n", r.subject, r.model, strings.ReplaceAll(strings.ReplaceAll(r.problem, "|", `\|`), "\n", " "))
			continue
		}
		accuracy := ""
		if !math.IsNaN(r.accuracy) {
			accuracy = fmt.Sprintf("%.2f %%", 100*r.accuracy)
		}
		fmt.Fprintf(&b, "| %s | %s | %.3f× | %s | %.2f ms | %.2f× | %.1f ms | %.2f× |\n", r.subject, r.model, float64(r.size)/float64(float.size), accuracy, r.one, float.one/r.one, r.many, float.many/r.many)
	}
	return b.String()
}

// writeSection replaces the section of an earlier run, or adds it above that of bench/accept.
func writeSection(o options, rows []row) error {
	if o.out == "" {
		return nil
	}
	old, err := os.ReadFile(o.out)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	text := fmt.Sprintf("%s\n\n## Quantization against onnxruntime.quantization\n\n%s, %d cores (%s), %s. `quantize_static` with each calibrator (percentile 99.99, entropy with 2,048 bins), QDQ, uint8 values and int8 weights per channel, after its own pre-processing; the same model, the same calibration images, the same ONNX Runtime with %d threads; medians of %d rounds in turns. The 224×224 models have fresh weights: their speed counts alone.\n\n%s\n%s\n",
		begin, time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), ort.ISA(), ort.Version(), o.threads, o.rounds, table(rows), end)
	return os.WriteFile(filepath.Clean(o.out), []byte(replaceSection(string(old), text)), 0o666)
}

func replaceSection(old, text string) string {
	if from, to := strings.Index(old, begin), strings.Index(old, end); from >= 0 && to > from {
		return old[:from] + strings.TrimSuffix(text, "\n") + old[to+len(end):]
	}
	if at := strings.Index(old, accepts); at >= 0 {
		return old[:at] + text + "\n" + old[at:]
	}
	return old + "\n" + text
}
