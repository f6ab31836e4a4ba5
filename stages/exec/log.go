package exec

import (
	"bytes"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/stages"
)

const maxLine = 4096

// drain is how long to wait for the last output of processes that have left the program's group.
const drain = 2 * time.Second

// capture passes what a program prints to the job's log. It reads a pipe of its own, so that a child that keeps the
// pipe open does not keep the stage waiting.
type capture struct {
	read, write *os.File
	done        chan struct{}
}

func captureOutput(cmd *osexec.Cmd, job *stages.Job) (*capture, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for the program's output: %w", err)
	}
	c := &capture{read: r, write: w, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, w
	go func() {
		defer close(c.done)
		lines := &lineWriter{job: job}
		_, _ = io.Copy(lines, r) // ends with the pipe or its deadline
		lines.flush()
	}()
	return c, nil
}

// finish waits for the rest of the output, but not for ever.
func (c *capture) finish() {
	c.write.Close()
	_ = c.read.SetReadDeadline(time.Now().Add(drain)) // a pipe has deadlines on every system that we build for
	<-c.done
	c.read.Close()
}

// lineWriter cuts what is written to it into log lines; an endless line is cut into pieces. One goroutine uses it.
type lineWriter struct {
	job *stages.Job
	buf []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.buf = append(w.buf, b...)
	for {
		i := bytes.IndexByte(w.buf, '\n')
		if i < 0 && len(w.buf) < maxLine {
			return len(b), nil
		}
		if i < 0 || i > maxLine {
			w.emit(w.buf[:maxLine])
			w.buf = w.buf[maxLine:]
			continue
		}
		w.emit(w.buf[:i])
		w.buf = w.buf[i+1:]
	}
}

func (w *lineWriter) emit(line []byte) {
	w.job.Logf("%s", strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD"))
}

func (w *lineWriter) flush() {
	if len(w.buf) > 0 {
		w.emit(w.buf)
		w.buf = nil
	}
}
