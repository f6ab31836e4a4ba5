package split

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// write writes every output, its images in the order of the data.
func write(ctx context.Context, job *stages.Job, data *dataset.Dataset, outputs []output) error {
	for _, o := range outputs {
		if err := subset(ctx, job.Output(o.name), data, o.takes); err != nil {
			return err
		}
	}
	return nil
}

// subset writes the images that are taken, with everything that is known of them.
func subset(ctx context.Context, path string, data *dataset.Dataset, takes []bool) error {
	w, err := dataset.Create(path, data.Info())
	if err != nil {
		return err
	}
	for i, in := range takes {
		if i%1024 == 0 && ctx.Err() != nil {
			w.Close() //nolint:errcheck // the first error is the one to report
			return ctx.Err()
		}
		if !in {
			continue
		}
		if err := w.AddSample(data.Sample(i)); err != nil {
			w.Close() //nolint:errcheck // the first error is the one to report
			return err
		}
	}
	return w.Close()
}

// validationCounts keeps of folds the number of validation images, under the fold's name.
func validationCounts(counts map[string]int) map[string]int {
	out := map[string]int{}
	for name, n := range counts {
		if rest, ok := strings.CutPrefix(name, "folds."); ok {
			fold, side, _ := strings.Cut(rest, ".")
			if side == "validation" {
				out[fold] = n
			}
			continue
		}
		out[name] = n
	}
	return out
}

// partsText says into which parts a source puts images.
func partsText(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if name != "" {
			parts = append(parts, fmt.Sprintf("%q (%d images)", name, counts[name]))
		}
	}
	if len(parts) == 0 {
		return "It has no parts of its own; use ratio."
	}
	return "It has " + strings.Join(parts, ", ") + "."
}
