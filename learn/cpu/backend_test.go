package cpu

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/support/backendtest"

	"github.com/darkroom-dev/darkroom/infer/ort"
)

// newBackend returns a device with that many threads, or skips where ONNX Runtime is not installed.
func newBackend(t testing.TB, threads int) compute.Backend {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
	b, err := New(Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	return b
}

func TestCompliance(t *testing.T) {
	b := newBackend(t, 2)
	t.Run("BinaryOps", func(t *testing.T) { backendtest.TestBinaryOps(t, b) })
	t.Run("UnaryOps", func(t *testing.T) { backendtest.TestUnaryOps(t, b) })
	t.Run("ConvertDType", func(t *testing.T) { backendtest.TestConvertDType(t, b) })
	t.Run("Bitcast", func(t *testing.T) { backendtest.TestBitcast(t, b) })
	t.Run("Exec", func(t *testing.T) { backendtest.TestExec(t, b) })
	t.Run("Functions", func(t *testing.T) { backendtest.TestFunctions(t, b) })
	t.Run("ConvGeneral", func(t *testing.T) {
		// ONNX Runtime's Conv is for float32 alone.
		backendtest.TestConvGeneral(t, b, &backendtest.AllTestsConfiguration{ConvGeneralDTypes: []dtypes.DType{dtypes.Float32}})
	})
	t.Run("SpecialOps", func(t *testing.T) { backendtest.TestSpecialOps(t, b) })
	t.Run("FusedOps", func(t *testing.T) { backendtest.TestFusedOps(t, b) })
	t.Run("DotGeneral", func(t *testing.T) { backendtest.TestDotGeneral(t, b) })
	t.Run("Barriers", func(t *testing.T) { backendtest.TestBarriers(t, b) })
}
