// Command quantize compares our int8 models with those of onnxruntime.quantization (quantize_static, with each of its calibrators), on the same model and the
// same images: accuracy and speed, all run by the same ONNX Runtime. It is run by `make bench-quantize`, which installs the peer first.
//
// Cases: trained models given by -model with their images (accuracy and speed), and architectures of the zoo at 224×224 with fresh weights (speed alone).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

type options struct {
	python, peer, out string
	threads, rounds   int
	images            int
}

// subject is a model with its images.
type subject struct {
	name              string
	model             string // path
	calibration, test string // paths of datasets; "" for made-up images
}

func main() {
	var o options
	model := flag.String("model", "", "a trained model, or several separated by commas")
	calibration := flag.String("calibration", "", "the calibration images of each, datasets separated by commas")
	test := flag.String("test", "", "the labelled images of each, datasets separated by commas")
	architectures := flag.String("architectures", "resnet18,mobilenet_v3_small", "architectures whose speed is measured at 224×224")
	flag.StringVar(&o.python, "python", "python3", "the Python that has onnxruntime and onnx")
	flag.StringVar(&o.peer, "peer", "bench/quantize/peer.py", "the peer's script")
	flag.StringVar(&o.out, "out", "", "file whose section on quantization is rewritten, such as bench/RESULTS.md (default: none)")
	flag.IntVar(&o.threads, "threads", 2, "threads")
	flag.IntVar(&o.rounds, "rounds", 15, "timed runs of each model, in turns")
	flag.IntVar(&o.images, "images", 1024, "calibration images")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, list(*model), list(*calibration), list(*test), list(*architectures)); err != nil {
		fmt.Fprintln(os.Stderr, "bench quantize:", err)
		os.Exit(1)
	}
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func run(ctx context.Context, o options, models, calibrations, tests, architectures []string) error {
	if len(models) != len(calibrations) || len(models) != len(tests) {
		return errors.New("-model, -calibration and -test must name as many files each")
	}
	work, err := os.MkdirTemp("", "bench-quantize-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	var subjects []subject
	for i, m := range models {
		subjects = append(subjects, subject{strings.TrimSuffix(filepath.Base(m), ".onnx"), m, calibrations[i], tests[i]})
	}
	for _, name := range architectures {
		path := filepath.Join(work, name+"-224.onnx")
		if err := fresh(name, path); err != nil {
			return err
		}
		subjects = append(subjects, subject{name: name + " 224×224", model: path})
	}
	var rows []row
	for i, s := range subjects {
		folder := filepath.Join(work, fmt.Sprint(i))
		if err := os.Mkdir(folder, 0o777); err != nil {
			return err
		}
		r, err := compare(ctx, o, s, folder)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, line := range r {
			fmt.Println(line.text())
		}
		rows = append(rows, r...)
	}
	return writeSection(o, rows)
}

// fresh writes an architecture for 1,000 classes with fresh weights.
func fresh(name, path string) error {
	classes := make([]string, 1000)
	for i := range classes {
		classes[i] = fmt.Sprintf("class%d", i)
	}
	m, err := zoo.Build(name, zoo.Options{Classes: classes, Channels: 3, Height: 224, Width: 224, Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}, Seed: 1})
	if err != nil {
		return err
	}
	return (*onnx.Model).Save(m, path)
}
