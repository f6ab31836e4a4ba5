package tensorrt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// programVariable names the environment variable with the path of trtexec.
const programVariable = "DARKROOM_TRTEXEC"

// wellKnown are the places where packages and images put trtexec.
var wellKnown = []string{"/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec"}

// release is a version of TensorRT.
type release struct{ major, minor, patch int }

func (r release) String() string { return fmt.Sprintf("%d.%d.%d", r.major, r.minor, r.patch) }

// dialect is how one major version's trtexec is spoken to.
type dialect int

const (
	// dialect10 takes precisions as flags; networks are strongly typed when asked.
	dialect10 dialect = 10
	// dialect11 takes the precision from the model's types and Q/DQ nodes alone, uses CUDA graphs and leaves out transfers by default.
	dialect11 dialect = 11
)

func (r release) dialect() (dialect, error) {
	switch r.major {
	case 10:
		return dialect10, nil
	case 11:
		return dialect11, nil
	}
	return 0, fmt.Errorf("TensorRT %s is not among the versions whose command line is known, 10.x and 11.x", r)
}

// errNoProgram says that there is no trtexec on this machine.
var errNoProgram = errors.New("trtexec, the program that builds TensorRT engines, is not installed")

// Installed returns the version of this machine's TensorRT, or an error that says why there is none that can be used.
func Installed(ctx context.Context) (string, error) {
	program, err := findProgram()
	if err != nil {
		return "", err
	}
	r, err := askRelease(ctx, program)
	if err == nil {
		_, err = r.dialect()
	}
	return r.String(), err
}

// findProgram returns the path of trtexec: the variable's, else the one on PATH, else a well-known place.
func findProgram() (string, error) {
	if path := os.Getenv(programVariable); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("%s names %s, which is not a program: %w", programVariable, path, err)
		}
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath("trtexec"); err == nil {
		return filepath.Abs(path)
	}
	for _, path := range wellKnown {
		if _, err := exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	return "", errNoProgram
}

// banner is the first line of whatever trtexec prints: its version in five or six digits, as v100600 for 10.6.0.
var banner = regexp.MustCompile(`(?m)^&&&& RUNNING TensorRT\.trtexec \[TensorRT v(\d{1,2})(\d{2})(\d{2})\]`)

// parseRelease reads the version out of what trtexec prints.
func parseRelease(output []byte) (release, error) {
	m := banner.FindSubmatch(output)
	if m == nil {
		return release{}, errors.New("what it prints does not begin with the line by which trtexec tells its version")
	}
	var r release
	for i, to := range []*int{&r.major, &r.minor, &r.patch} {
		*to, _ = strconv.Atoi(string(m[i+1])) // digits
	}
	return r, nil
}

// askRelease starts the program for its version.
func askRelease(ctx context.Context, program string) (release, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // it loads a library of gigabytes, maybe over a network
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--help")
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runErr := cmd.Run() // some versions end --help with a failure
	r, err := parseRelease(out.Bytes())
	if err != nil {
		return r, fmt.Errorf("asking %s for its version: %w", program, errors.Join(err, runErr))
	}
	return r, nil
}
