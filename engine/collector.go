package engine

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// collector takes what one attempt reports, and keeps its parts. It implements stages.Reporter and stages.Memory.
type collector struct {
	*parts
	x *execution

	mu       sync.Mutex // guards all below
	log      bytes.Buffer
	cut      bool
	values   map[string]any
	measured map[string]float64
	shown    time.Time // when progress was last handed on
	phase    string
}

const (
	maxLog        = 8 << 20                // bytes of a log that are kept
	progressEvery = 100 * time.Millisecond // progress in between is dropped, but for a new phase and the end
)

func newCollector(x *execution) *collector {
	return &collector{parts: &parts{x: x, leases: map[artifact.Digest]heldPart{}}, x: x, values: map[string]any{}, measured: map[string]float64{}}
}

func (c *collector) event(e Event) {
	e.Address, e.Key = c.x.res.node.ID, c.x.res.key
	c.x.run.events.emit(e)
}

// Progress implements stages.Reporter.
func (c *collector) Progress(p stages.Progress) {
	c.mu.Lock()
	now := time.Now()
	due := now.Sub(c.shown) >= progressEvery || p.Phase != c.phase || p.Total > 0 && p.Done == p.Total
	if due {
		c.shown, c.phase = now, p.Phase
	}
	c.mu.Unlock()
	if due {
		c.event(Event{Event: EventStageProgress, Progress: &p})
	}
}

// Log implements stages.Reporter.
func (c *collector) Log(line string) {
	c.mu.Lock()
	cut := c.cut
	switch {
	case cut: // a shorter line would seem to follow where others are missing
	case c.log.Len()+len(line) < maxLog:
		c.log.WriteString(line)
		c.log.WriteByte('\n')
	default:
		c.cut = true
		c.log.WriteString("… the log is cut here: it is longer than 8 MiB\n")
	}
	c.mu.Unlock()
	if !cut {
		c.event(Event{Event: EventStageLog, Line: line})
	}
}

// Value implements stages.Reporter.
func (c *collector) Value(name string, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[name] = v
}

// Measure implements stages.Reporter.
func (c *collector) Measure(name string, v float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.measured[name] = v
}

func (c *collector) logText() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.log.Bytes())
}

// check returns the values and measurements when they are what the schema declares.
func (c *collector) check(s *stages.Schema) (map[string]any, map[string]float64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var wrong []string
	for name, v := range c.values {
		normal, err := stages.NormalValue(v)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("the value %q cannot be stored: %v", name, err))
		case s.Value(name) == nil && !s.OpenValues:
			wrong = append(wrong, fmt.Sprintf("the value %q is not declared", name))
		}
		c.values[name] = normal
	}
	for _, v := range s.Values {
		if _, ok := c.values[v.Name]; !ok {
			wrong = append(wrong, fmt.Sprintf("the declared value %q was not reported", v.Name))
		}
	}
	if len(wrong) > 0 {
		sort.Strings(wrong)
		return nil, nil, fmt.Errorf("the stage is at odds with its declaration: %s", strings.Join(wrong, "; "))
	}
	return c.values, c.measured, nil
}
