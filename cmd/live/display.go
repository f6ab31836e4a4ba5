// Package live draws what is running on a terminal: a block of lines, one for each running stage, redrawn in place, below
// the lines that stay.
//
// Rules of the room: it knows stages.Progress and a terminal, nothing else; it never writes a line wider than the
// terminal, so that a redraw always finds the block where it left it; whatever happens, Close leaves the cursor visible.
package live

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/darkroom-dev/darkroom/stages"
)

// Options are what a Display needs to know of the terminal.
type Options struct {
	Color bool
	Size  func() (columns, rows int) // asked anew for every redraw, so that a resize is followed
	Now   func() time.Time           // nil: the clock
}

// Display draws the block. Its methods may be called from several goroutines.
type Display struct {
	w    io.Writer
	o    Options
	stop chan struct{}
	end  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	rows   map[string]*row
	footer func() string
	drawn  []int // widths of the lines of the block on the screen, top first
	frame  int
	closed bool
}

// row is one running stage.
type row struct {
	address  string
	started  time.Time
	progress stages.Progress
}

// New starts a display on w, which must be a terminal. Close ends it.
func New(w io.Writer, o Options) *Display {
	d := newDisplay(w, o)
	d.end.Add(1)
	go func() {
		defer d.end.Done()
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-d.stop:
				return
			case <-ticker.C:
				d.tick()
			}
		}
	}()
	return d
}

func newDisplay(w io.Writer, o Options) *Display {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Display{w: w, o: o, stop: make(chan struct{}), rows: map[string]*row{}}
}

// Start adds a stage to the block.
func (d *Display) Start(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows[address] = &row{address: address, started: d.o.Now()}
}

// Update sets how far a stage is; the next redraw shows it.
func (d *Display) Update(address string, p stages.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.rows[address]; r != nil {
		r.progress = p
	}
}

// End takes a stage out of the block.
func (d *Display) End(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.rows, address)
}

// Footer sets what makes the last line of the block, anew for every redraw.
func (d *Display) Footer(text func() string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.footer = text
}

// Print writes lines that stay, above the block.
func (d *Display) Print(lines ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draw(lines)
}

func (d *Display) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frame++
	d.draw(nil)
}

// Close removes the block and gives the terminal back. Further calls do nothing but Print.
func (d *Display) Close() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.closed = true
	close(d.stop)
	d.rows, d.footer = map[string]*row{}, nil
	d.draw(nil)
	fmt.Fprint(d.w, "\x1b[?25h")
	d.mu.Unlock()
	d.end.Wait()
}

// draw replaces the block on the screen by the given lines followed by the block anew, in one write. It is called with
// mu held.
func (d *Display) draw(above []string) {
	columns, rows := d.o.Size()
	columns, rows = max(columns, 10), max(rows, 4)
	var b strings.Builder
	if up := d.height(columns); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r\x1b[J")
	for _, line := range above {
		b.WriteString(line + "\n")
	}
	d.drawn = d.drawn[:0]
	if lines := d.block(columns-1, rows-2); len(lines) > 0 && !d.closed {
		b.WriteString("\x1b[?25l")
		for _, line := range lines {
			b.WriteString(line + "\n")
			d.drawn = append(d.drawn, Width(line))
		}
	}
	_, _ = io.WriteString(d.w, b.String()) // a terminal that is gone is no reason to end the run
}

// height is how many rows of the terminal the drawn block takes: more than its lines when the terminal has become
// narrower since.
func (d *Display) height(columns int) int {
	h := 0
	for _, w := range d.drawn {
		h += max(1, (w+columns-1)/columns)
	}
	return h
}

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// block returns the lines to draw, none wider than columns, at most most of them.
func (d *Display) block(columns, most int) []string {
	running := make([]*row, 0, len(d.rows))
	for _, r := range d.rows {
		running = append(running, r)
	}
	sort.Slice(running, func(i, j int) bool {
		a, b := running[i], running[j]
		return a.started.Before(b.started) || a.started.Equal(b.started) && a.address < b.address
	})
	longest := 0
	for _, r := range running {
		longest = max(longest, Width(r.address))
	}
	longest = min(longest, max(columns/3, 12))
	var lines []string
	for i, r := range running {
		if len(lines) == most-2 && i < len(running)-1 {
			lines = append(lines, Cut(fmt.Sprintf("  … and %d more", len(running)-i), columns))
			break
		}
		mark := string(spinner[(d.frame+i)%len(spinner)])
		lines = append(lines, d.line(mark, r, longest, columns))
	}
	if d.footer != nil {
		lines = append(lines, Cut(d.footer(), columns))
	}
	return lines
}
