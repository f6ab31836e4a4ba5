package local

import (
	"bufio"
	"io"
	"strings"
	"sync"

	"github.com/darkroom-dev/darkroom/stages"
)

// Bounds of what a worker prints: longer lines are broken, and lines beyond the cap are counted, not kept.
const (
	lineBytes = 4 << 10
	logBytes  = 4 << 20
	tailLines = 20
)

// tail hands a worker's output to the log line by line and keeps the last lines for an error.
type tail struct {
	rep stages.Reporter

	mu   sync.Mutex // guards last
	last []string
}

func newTail(rep stages.Reporter) *tail { return &tail{rep: rep} }

// read goes on to the end of the pipe, so that a worker never blocks on what it prints.
func (t *tail) read(r io.Reader) {
	in := bufio.NewReaderSize(r, lineBytes)
	size, cut := 0, false
	for {
		part, err := in.ReadSlice('\n')
		line := strings.ToValidUTF8(strings.TrimRight(string(part), "\r\n"), "\uFFFD")
		if len(part) > 0 {
			t.keep(line)
			size += len(part)
			switch {
			case size <= logBytes:
				t.rep.Log(line)
			case !cut:
				cut = true
				t.rep.Log("… the log is cut here: the stage printed more than 4 MiB")
			}
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (t *tail) keep(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == tailLines {
		copy(t.last, t.last[1:])
		t.last = t.last[:tailLines-1]
	}
	t.last = append(t.last, line)
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.last, "\n")
}
