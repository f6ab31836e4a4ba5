package recipe

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
)

// MemoryLimit returns the most that a stage may take, in bytes: what its resources block claims, no more than the machine has and the control group of the process allows.
// 0: the system does not tell.
func MemoryLimit(job *stages.Job) int64 {
	limit := job.Resources.Memory
	lower := func(bytes int64) {
		if bytes > 0 && (limit == 0 || bytes < limit) {
			limit = bytes
		}
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		lower(int64(info.Totalram) * int64(info.Unit))
	}
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} { // versions 2 and 1; "max" is no number
		if b, err := os.ReadFile(path); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
				lower(n)
			}
		}
	}
	return limit
}

// MeasureMemory reports what was estimated before a training; nil: nothing was.
func MeasureMemory(job *stages.Job, m *learn.Memory) {
	if m != nil {
		job.Measure("memory_estimate", float64(m.Total()))
	}
}

// DeclareMemory declares what MeasureMemory reports.
func DeclareMemory(s *stages.Schema) {
	s.Measures("memory_estimate", "bytes", "What the training was expected to take at most, before its first step; absent on a GPU.")
}

// memoryText says what to do about a batch that does not fit into memory.
func memoryText(e *learn.MemoryError, batch int) string {
	text := fmt.Sprintf("There is not enough memory for a step with %d images at once.", e.Batch)
	how := "which was tried"
	if e.Err == nil {
		text += fmt.Sprintf(" It takes about %s, and the stage may have %s.", humanize.Bytes(uint64(e.Needs)), humanize.Bytes(uint64(e.Limit)))
		how = "by the same estimate"
	}
	if e.Fits == 0 {
		return text + " Not even one fits: give the stage more memory in its resources block, or take a smaller model or smaller images."
	}
	text += fmt.Sprintf(" %d fit, %s: write batch = %d", e.Fits, how, e.Fits)
	for parts := 2; parts <= batch; parts++ {
		if batch%parts == 0 && batch/parts <= e.Fits {
			return text + fmt.Sprintf(", or keep the batch and write accumulate = %d.", parts)
		}
	}
	return text + "."
}
