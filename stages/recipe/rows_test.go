package recipe

import (
	"reflect"
	"testing"

	"github.com/darkroom-dev/darkroom/stages"
)

type listed struct {
	layers map[string]string
	widths []int
	share  float64
}

func (l *listed) Declare(s *stages.Schema) {
	s.StringMap(&l.layers, "layers", "Pairs.")
	s.Ints(&l.widths, "widths", nil, "Numbers.")
	s.Float(&l.share, "share", 0.5, "A number.")
}

func TestArgumentTexts(t *testing.T) {
	for _, c := range []struct {
		written map[string]any
		want    []string
	}{
		{nil, []string{"share 0.5"}},
		{map[string]any{"layers": map[string]any{"b": "y", "a": "x"}, "widths": []any{1.0, 2.0}}, []string{"layers a: x; b: y", "widths [1 2]", "share 0.5"}},
	} {
		if got := argumentTexts(&listed{}, stages.Args{Values: c.written}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
