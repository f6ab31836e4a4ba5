package learn

import (
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// The gradients of ranges are put together where they make up the whole, in whatever order they come, and are added up with zeroes around them where not.
func TestGathered(t *testing.T) {
	for _, c := range []struct {
		name   string
		ranges []sliceRange
		want   []float32
		joined bool
	}{
		{"all", []sliceRange{{0, 1, 2}, {2, 1, 3}}, []float32{1, 2, 3, 4, 5}, true},
		{"backwards", []sliceRange{{2, 1, 3}, {0, 1, 2}}, []float32{4, 5, 1, 2, 3}, true},
		{"a gap", []sliceRange{{0, 1, 2}, {3, 1, 2}}, []float32{1, 2, 0, 3, 4}, false},
		{"twice", []sliceRange{{0, 1, 5}, {1, 1, 1}}, []float32{1, 2 + 6, 3, 4, 5}, false},
		{"every other", []sliceRange{{0, 2, 3}, {1, 2, 2}}, []float32{1, 4, 2, 5, 3}, false},
		{"less", []sliceRange{{1, 1, 2}}, []float32{0, 1, 2, 0, 0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend, err := gobackend.New("")
			if err != nil {
				t.Fatal(err)
			}
			var total *graph.Node
			g := graph.NewGraph(backend, c.name)
			err = build(func() error {
				all := graph.Parameter(g, "all", shapes.Make(dtypes.Float32, 6))
				sums, from := gathered{}, 0
				for _, r := range c.ranges {
					sums.addPiece(7, &piece{0, 5, r}, cut(all, 0, sliceRange{from, 1, r.length}))
					from += r.length
				}
				total = sums.total(7)
				return g.Compile(total)
			})
			if err != nil {
				t.Fatal(err)
			}
			in, err := backend.BufferFromFlatData(0, []float32{1, 2, 3, 4, 5, 6}, shapes.Make(dtypes.Float32, 6))
			if err != nil {
				t.Fatal(err)
			}
			out, err := g.Executable().Execute([]compute.Buffer{in}, []bool{false}, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]float32, 5)
			if err := out[0].ToFlatData(got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v; want %v", got, c.want)
			}
			if joined := total.Type() == graph.NodeTypeConcatenate; joined != c.joined {
				t.Errorf("joined: %v", joined)
			}
		})
	}
	if (gathered{}).total(1) != nil {
		t.Error("nothing is something")
	}
}
