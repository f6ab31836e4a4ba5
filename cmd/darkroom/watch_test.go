package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// A log says how far a stage is when it enters a phase and once a minute while it stays there, not with each report of the stage.
func TestPlainLinesOfProgress(t *testing.T) {
	var out bytes.Buffer
	w := &plainWatcher{a: &app{out: &out}, phase: map[string]string{}, at: map[string]time.Time{}, tails: tails{}}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for second := range 150 { // epoch 1 lasts 100 s
		phase := "epoch 1/2"
		if second >= 100 {
			phase = "epoch 2/2"
		}
		w.event(engine.Event{Event: engine.EventStageProgress, Address: "train.net", Time: start.Add(time.Duration(second) * time.Second),
			Progress: &stages.Progress{Phase: phase, Done: int64(second), Total: 150, Unit: "images"}})
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"train.net: epoch 1/2, 1 of 150 images", "train.net: epoch 1/2, 61 of 150 images", "train.net: epoch 2/2, 100 of 150 images"} {
		if len(lines) != 3 || lines[i] != want {
			t.Fatalf("got %q, want as line %d %q", lines, i+1, want)
		}
	}
}
