package cpu

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// digestVariable makes this test binary print the digest of a small training step and exit.
const digestVariable = "DARKROOM_CPU_TEST_DIGEST"

// stepDigest computes products, sums and convolutions with gradients and returns the digest of all result bits.
func stepDigest(t testing.TB, threads int) string {
	b := newBackend(t, threads)
	layer := convolution{c: 33, h: 12, w: 12, n: 8, o: 32, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}} // by Winograd's algorithm
	alone := convolution{c: 6, h: 9, w: 8, n: 20, k: 5, stride: 1, dilation: 1, pad: [2]int{2, 2}}
	dimensions := append([][]int{{37, 1031}, {1031, 53}, {5, 3, 19, 23}, {7, 3, 3, 3}}, layer.shapes()...)
	dimensions = append(dimensions, []int{6, 9, 8, 20}, []int{6, 1, 5, 5}, []int{6, 9, 8, 20})
	e := compiled(t, b, dimensions, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		y, err := product(f, p[:2])
		if err != nil {
			return nil, err
		}
		sum, err := f.ReduceSum(p[0], 1)
		if err != nil {
			return nil, err
		}
		all, err := f.ReduceSum(p[1])
		if err != nil {
			return nil, err
		}
		axes := compute.ConvolveAxesConfig{InputBatch: 0, InputChannels: 1, InputSpatial: []int{2, 3}, KernelOutputChannels: 0,
			KernelInputChannels: 1, KernelSpatial: []int{2, 3}, OutputBatch: 0, OutputChannels: 1, OutputSpatial: []int{2, 3}}
		z, err := f.ConvGeneral(p[2], p[3], axes, nil, [][2]int{{1, 1}, {1, 1}}, nil, nil, 1, 1)
		if err != nil {
			return nil, err
		}
		s, err := f.Exp(sum)
		if err != nil {
			return nil, err
		}
		trained, err := layer.build(f, p[4:7])
		if err != nil {
			return nil, err
		}
		channels, err := alone.channelwise(t)(f, p[7:])
		if err != nil {
			return nil, err
		}
		trained = append(trained, channels...)
		return append([]compute.Value{y[0], sum, all, z, s}, trained...), err
	})
	var inputs []compute.Buffer
	for i, d := range dimensions {
		inputs = append(inputs, ramp(t, b, uint32(i+1), d...))
	}
	out, err := e.Execute(inputs, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, buffer := range out {
		flat, err := buffer.Data()
		if err != nil {
			t.Fatal(err)
		}
		h.Write(dtypes.UnsafeByteSliceFromAny(flat))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestSameBits compares the bits of a step within a process, across processes and across GOMAXPROCS.
func TestSameBits(t *testing.T) {
	first := stepDigest(t, 2)
	if os.Getenv(digestVariable) != "" {
		fmt.Println("digest", first)
		return
	}
	if again := stepDigest(t, 2); again != first {
		t.Fatalf("digest %s and then %s in one process", first, again)
	}
	for _, processors := range []string{"1", "2", "7"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSameBits$")
		cmd.Env = append(os.Environ(), digestVariable+"=1", "GOMAXPROCS="+processors)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(out, []byte("digest "+first)) {
			t.Errorf("GOMAXPROCS=%s gives other bits: %s; want %s", processors, out, first)
		}
	}
}
