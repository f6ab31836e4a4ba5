package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// printResult is what a run leaves on the terminal: counts, time, and the reports as files to open.
func (a *app) printResult(w *workspace, done engine.Finished, took time.Duration, reports []string) {
	word := a.paint(a.out, bold+green, "Done")
	if !done.OK {
		word = a.paint(a.out, bold+red, "Failed")
	}
	fmt.Fprintf(a.out, "\n%s in %s: %s.\n", word, secondsText(took.Seconds()), countsText(done))
	if done.Experiment != "" {
		fmt.Fprintf(a.out, "Experiment %s\n", done.Experiment.Short())
	}
	for _, path := range reports {
		fmt.Fprintf(a.out, "Report: %s\n", path)
	}
}
