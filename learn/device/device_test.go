package device

import (
	"strings"
	"testing"

	"github.com/gomlx/compute/gobackend"

	"github.com/darkroom-dev/darkroom/learn/xla"
)

// Nothing is put in the place of a device that cannot be had.
func TestOpenRefuses(t *testing.T) {
	t.Setenv(xla.PathVariable, "/nowhere/plugin.so")
	for _, c := range []struct {
		class Class
		want  string
	}{
		{Class{Backend: "cpu", Precision: "bf16"}, "fp32 only"},
		{Class{Precision: "fp16"}, "fp32 only"},
		{Class{Backend: "cuda"}, "/nowhere/plugin.so"},
		{Class{Backend: "cuda", Precision: "bf16"}, "/nowhere/plugin.so"},
		{Class{Backend: "tpu"}, "the devices are cpu and cuda"},
	} {
		if b, err := Open(c.class); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, %v", c.class, b, err)
		}
	}
}

func TestNarrow(t *testing.T) {
	inner, err := gobackend.New("")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Narrow(inner, "bf16"); err != nil || !strings.Contains(b.Description(), "BFloat16") {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := Narrow(inner, "int8"); err == nil || !strings.Contains(err.Error(), "fp32, bf16 and fp16") {
		t.Error(err)
	}
}
