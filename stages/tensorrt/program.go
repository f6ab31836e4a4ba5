package tensorrt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/darkroom-dev/darkroom/stages"
)

// maxOutput bounds what is kept of the output for reading results, which stand at its end and its beginning.
const maxOutput = 16 << 20

// runProgram runs trtexec in dir and returns what it printed; each line goes to the log as it comes.
func runProgram(ctx context.Context, job *stages.Job, program string, args []string, dir string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 2 * time.Second // what it leaves running is ended by the worker
	log := &lineLog{job: job}
	cmd.Stdout, cmd.Stderr = log, log
	err := cmd.Run()
	log.end()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	output := log.all.Bytes()
	if err == nil && passed(output) {
		return output, nil
	}
	if said := complaints(output, 3); len(said) > 0 {
		return nil, fmt.Errorf("TensorRT did not build the engine: %s", strings.Join(said, "; "))
	}
	if err == nil {
		return nil, fmt.Errorf("trtexec ended without saying that it passed; its output is in the log")
	}
	return nil, fmt.Errorf("trtexec: %w; its output is in the log", err)
}

// lineLog hands whole lines to the job's log and keeps all of them.
type lineLog struct {
	job *stages.Job

	mu   sync.Mutex // guards all below: stdout and stderr may be copied by two goroutines
	all  bytes.Buffer
	line []byte
}

var _ io.Writer = (*lineLog)(nil)

// Write implements io.Writer.
func (l *lineLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all.Len()+len(b) <= maxOutput {
		l.all.Write(b)
	}
	l.line = append(l.line, b...)
	for {
		line, rest, ok := bytes.Cut(l.line, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.job.Logf("%s", line)
		l.line = rest
	}
}

func (l *lineLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.line) > 0 {
		l.job.Logf("%s", l.line)
		l.line = nil
	}
}
