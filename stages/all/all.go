// Package all is the catalog: the one explicit list of the kinds that darkroom knows. Only the command line and tests
// import it.
package all

import (
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/augment"
	"github.com/darkroom-dev/darkroom/stages/distill"
	"github.com/darkroom-dev/darkroom/stages/evaluate"
	"github.com/darkroom-dev/darkroom/stages/exec"
	"github.com/darkroom-dev/darkroom/stages/ingest"
	"github.com/darkroom-dev/darkroom/stages/nas"
	"github.com/darkroom-dev/darkroom/stages/pretrain"
	"github.com/darkroom-dev/darkroom/stages/profile"
	"github.com/darkroom-dev/darkroom/stages/prune"
	"github.com/darkroom-dev/darkroom/stages/quantize"
	choose "github.com/darkroom-dev/darkroom/stages/select"
	"github.com/darkroom-dev/darkroom/stages/split"
	"github.com/darkroom-dev/darkroom/stages/summary"
	"github.com/darkroom-dev/darkroom/stages/tensorrt"
	"github.com/darkroom-dev/darkroom/stages/train"
)

// Catalog returns every kind, in the order of the reference.
func Catalog() *stages.Catalog {
	c, err := stages.NewCatalog(
		ingest.Kind,
		split.Kind,
		augment.Kind,
		pretrain.Kind,
		nas.Kind,
		train.Kind,
		distill.Kind,
		prune.Kind,
		quantize.Kind,
		tensorrt.Kind,
		evaluate.Kind,
		profile.Kind,
		choose.Kind,
		summary.Kind,
		exec.Kind,
	)
	if err != nil {
		panic(err) // a defect of the list, found by the first test that runs
	}
	return c
}
