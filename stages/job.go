package stages

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Device is the device class of a stage that computes: everything about the machine that can change the bits.
type Device struct {
	Backend   string `json:"backend"`   // cpu, cuda
	Version   string `json:"version"`   // of the backend's library, "onnxruntime 1.30.0"; of cuda also of the driver
	ISA       string `json:"isa"`       // what its kernels choose by: the instruction class, "avx512_vnni", or the GPU
	Precision string `json:"precision"` // fp32, bf16, fp16
	Threads   int    `json:"threads"`   // of the compute library; at least 1
}

// IsZero reports whether d names no device, as for kinds that do not compute.
func (d Device) IsZero() bool { return d == Device{} }

// Resources is what a stage claims of its runner while it runs, and the limits that the worker passes on.
type Resources struct {
	CPUs   int   `json:"cpus"`             // at least 1
	Memory int64 `json:"memory,omitempty"` // bytes; 0 means no claim and no limit
	GPUs   int   `json:"gpus,omitempty"`
}

// Input is one artifact on a port: where it lies for this job, read only.
type Input struct {
	Name string       `json:"name,omitempty"` // its name or index on a port that takes many
	Ref  artifact.Ref `json:"ref"`
	Path string       `json:"path"` // a file, or a folder when Ref.Tree
}

// Job is one execution of a stage. It is serializable: the same job runs in this process, in a worker, or elsewhere.
type Job struct {
	Kind    string             `json:"kind"`
	Version int                `json:"version"`
	Address string             `json:"address"` // for messages only; no result may depend on it
	Args    Args               `json:"args"`
	Inputs  map[string][]Input `json:"inputs,omitempty"` // by port, in order

	// OutDir is an empty folder; the output name is the file or folder OutDir/name.
	OutDir string `json:"out_dir"`
	// ScratchDir belongs to the key and survives attempts: a stage keeps its checkpoints there and must be able to
	// start from whatever it finds, including files torn by a crash.
	ScratchDir string    `json:"scratch_dir"`
	Seed       uint64    `json:"seed"`
	Device     Device    `json:"device"`
	Resources  Resources `json:"resources"`

	reporter Reporter
}

// Reporter takes what a running stage says. Its methods may be called from several goroutines.
type Reporter interface {
	Progress(Progress)
	Log(line string)
	Value(name string, v any)
	Measure(name string, v float64)
}

// Progress is a snapshot of how far a stage is. Zero fields are not known.
type Progress struct {
	Phase   string        `json:"phase,omitempty"` // "epoch 2/5"
	Done    int64         `json:"done"`
	Total   int64         `json:"total,omitempty"`
	Unit    string        `json:"unit,omitempty"` // of Done, Total and Rate: "images"
	Rate    float64       `json:"rate,omitempty"` // units a second
	Left    time.Duration `json:"left_ns,omitempty"`
	Metrics []Metric      `json:"metrics,omitempty"` // loss, accuracy; in the order to show them
}

// Metric is a named number of a Progress.
type Metric struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// WithReporter returns a copy of j that reports to r.
func (j *Job) WithReporter(r Reporter) *Job {
	c := *j
	c.reporter = r
	return &c
}

// Input returns the only artifact of a port, and whether it is connected.
func (j *Job) Input(port string) (Input, bool) {
	in := j.Inputs[port]
	if len(in) == 0 {
		return Input{}, false
	}
	return in[0], true
}

// Output returns the path at which the stage writes the named output, a file or a folder that does not exist yet.
func (j *Job) Output(name string) string { return filepath.Join(j.OutDir, name) }

// Progress reports how far the stage is. Calls are cheap; the runner thins them out.
func (j *Job) Progress(p Progress) {
	if j.reporter != nil {
		j.reporter.Progress(p)
	}
}

// Logf writes a line to the stage's log.
func (j *Job) Logf(format string, args ...any) {
	if j.reporter != nil {
		j.reporter.Log(fmt.Sprintf(format, args...))
	}
}

// Value reports a declared value: a bool, number, string, list or map, which must follow from the inputs alone.
func (j *Job) Value(name string, v any) {
	if j.reporter != nil {
		j.reporter.Value(name, v)
	}
}

// Measure reports a declared measurement.
func (j *Job) Measure(name string, v float64) {
	if j.reporter != nil {
		j.reporter.Measure(name, v)
	}
}

// NormalValue brings a value into the form in which it is stored and compared: nil, bool, float64, string, []any or
// map[string]any. It refuses what JSON cannot hold, infinite and not-a-number values among them.
func NormalValue(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("a value must be a finite number, text, truth value, list or map: %w", err)
	}
	var out any
	err = json.Unmarshal(b, &out)
	return out, err
}
