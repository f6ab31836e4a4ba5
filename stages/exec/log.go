package exec

import (
	"bytes"
	"strings"
	"sync"

	"github.com/darkroom-dev/darkroom/stages"
)

const maxLine = 4096

// lineWriter passes what a program prints to the job's log, line by line; an endless line is cut into pieces.
type lineWriter struct {
	job *stages.Job
	mu  sync.Mutex // guards buf
	buf []byte
}

func newLineWriter(job *stages.Job) *lineWriter { return &lineWriter{job: job} }

// Write implements io.Writer.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
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
	w.job.Logf("%s", strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "�"))
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.emit(w.buf)
		w.buf = nil
	}
}
