package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// leastModels is how many networks the suite promises.
const leastModels = 30

// models takes every network of the zoo and files that PyTorch exported through folding, pruning, quantization and 16 bits, and compares the answers in ONNX Runtime.
func models(ctx context.Context, e *environment) (string, error) {
	folder, err := e.folder("models")
	if err != nil {
		return "", err
	}
	peer := exec.CommandContext(ctx, filepath.Join(e.root, "scripts", "peer.sh"), "onnx")
	python, err := peer.Output()
	if err != nil {
		return "", skip("PyTorch, which writes the files, cannot be installed here: " + err.Error())
	}
	write := exec.CommandContext(ctx, strings.TrimSpace(string(python)), filepath.Join(e.root, "onnx", "surgery", "testdata", "export.py"), folder)
	if b, err := write.CombinedOutput(); err != nil {
		return "", fmt.Errorf("writing the files: %w: %s", err, tail(string(b)))
	}
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout", "60m", "-run", "^TestSuite$", "-v", "./onnx/quantization")
	test.Dir = e.root
	test.Env = append(os.Environ(), "DARKROOM_MODELS="+folder)
	b, err := test.CombinedOutput()
	passed, failed := networks(string(b), "PASS"), networks(string(b), "FAIL")
	text := fmt.Sprintf("%d networks go the whole way", len(passed))
	switch {
	case len(failed) > 0:
		return text, fmt.Errorf("%s do not", strings.Join(failed, ", "))
	case err != nil:
		return text, fmt.Errorf("%w: %s", err, tail(string(b)))
	case len(passed) < leastModels:
		return text, fmt.Errorf("misses the number")
	}
	return text, nil
}

// networks are the subtests of the suite that ended so.
func networks(log, verdict string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^ +--- `+verdict+`: TestSuite/(\S+)`).FindAllStringSubmatch(log, -1) {
		names = append(names, m[1])
	}
	return names
}
