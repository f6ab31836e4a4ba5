package recipe

import (
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/learn"
)

func TestMemoryText(t *testing.T) {
	for _, c := range []struct {
		fits, batch int
		want        string
	}{{16, 64, "write batch = 16, or keep the batch and write accumulate = 4."}, {0, 64, "Not even one fits"}, {8, 20, "accumulate = 4."}} {
		if got := memoryText(&learn.MemoryError{Batch: c.batch, Fits: c.fits}, c.batch); !strings.Contains(got, c.want) {
			t.Errorf("%q does not say %q", got, c.want)
		}
	}
}
