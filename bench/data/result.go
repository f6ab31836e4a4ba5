package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/bench/section"
	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// result are the rates of the turns of a case.
type result struct {
	benchCase
	ours  []float64
	peers map[string][]float64
}

// peer returns the name and the median of the fastest peer.
func (r result) peer() (name string, rate float64) {
	for n, rates := range r.peers {
		if m := section.Median(rates); name == "" || m > rate {
			name, rate = n, m
		}
	}
	return name, rate
}

func (r result) ratio() float64 {
	_, peer := r.peer()
	return section.Median(r.ours) / peer
}

func (r result) text(rate float64) string {
	if r.unit == "GB/s" {
		return fmt.Sprintf("%.2f", rate/1e9)
	}
	return fmt.Sprintf("%.0f", rate)
}

func (r result) line() string {
	name, peer := r.peer()
	return fmt.Sprintf("%-28s ours %9s  peer %9s  ratio %.2f  (%s)", r.name, r.text(section.Median(r.ours)), r.text(peer), r.ratio(), name)
}

// geometricMean of the ratios of the operations.
func geometricMean(results []result) (mean float64, n int) {
	sum := 0.0
	for _, r := range results {
		if r.group == "operations" {
			sum, n = sum+math.Log(r.ratio()), n+1
		}
	}
	return math.Exp(sum / float64(max(n, 1))), n
}

func summary(results []result) string {
	var b strings.Builder
	if mean, n := geometricMean(results); n > 0 {
		fmt.Fprintf(&b, "Geometric mean of the ratios of %d operations: %.2f (asked: 1.0, and no single one below 0.5).\n\n", n, mean)
	}
	b.WriteString("| case | ours | peer | unit | which peer | ratio | asked |\n| --- | ---: | ---: | --- | --- | ---: | ---: |\n")
	for _, r := range results {
		name, peer := r.peer()
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %.2f | %.1f |\n", r.name, r.text(section.Median(r.ours)), r.text(peer), r.unit, named(name), r.ratio(), r.asked)
	}
	return b.String()
}

// named says what a peer is.
func named(peer string) string {
	kind, rest, _ := strings.Cut(peer, " ")
	switch kind {
	case "operation":
		return "Albumentations"
	case "loader":
		_, library, _ := strings.Cut(rest, " ")
		return "DataLoader, " + library
	case "decode":
		return "OpenCV"
	}
	return "copy of memory"
}

var marks = section.Marks{Begin: "<!-- data against Albumentations, OpenCV and PyTorch: written by `make bench-data` -->", End: "<!-- end of data against Albumentations, OpenCV and PyTorch -->"}

func writeSection(o options, results []result, versions []string) error {
	old, err := os.ReadFile(o.out)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var flags []string
	flag.Visit(func(f *flag.Flag) {
		if f.Name != "python" {
			flags = append(flags, "-"+f.Name+" "+f.Value.String())
		}
	})
	text := fmt.Sprintf("## Data against Albumentations, OpenCV and PyTorch\n\n%s, %s, %s, kernels %s, JPEG by %s; %s. Command: `make bench-data FLAGS=\"%s\"`. "+
		"Operations: 224×224 RGB bytes, one thread each. Policies: batches of 64 images of 224×224 out of 512 stored ones of 256×256, two threads against two worker processes. "+
		"Decoding: JPEG of 640×480 to 224×224, two threads each. Reading: one thread, against copying memory. Both sides took turns; rates are by processor time, so that what else the machine did counts less; medians of %d.\n\n%s",
		time.Now().UTC().Format("2006-01-02"), section.Machine(), runtime.Version(), pixel.Class(), decoder(), strings.Join(versions, ", "), strings.Join(flags, " "), o.rounds, summary(results))
	return os.WriteFile(filepath.Clean(o.out), []byte(section.Replace(string(old), marks, text)), 0o666)
}
