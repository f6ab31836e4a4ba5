// Package engine turns a pipeline into work: manifests and keys, a plan with reasons, a schedule over resource pools,
// a run with events, experiments by hash.
//
// Rules of the room: it imports artifact, stages and cache, never the language, a runner or a kind. A Pipeline and its
// nodes are immutable once loaded; what changes during a run lives in the scheduler alone. One walk makes both the key
// and its explanation (Manifest), so the two cannot disagree.
package engine

import (
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// Pipeline is a loaded pipeline: for_each and matrix are expanded, references resolved, cycles refused.
type Pipeline struct {
	Name  string
	Seed  uint64
	Nodes []*Node // sorted by ID
	// Dir is the folder that relative paths of the pipeline are relative to.
	Dir string
	// Sources are the texts it was loaded from by file name relative to Dir, besides what the language read on the way
	// under names that are no files, such as file(notes.txt), and Variables the resolved values of its variables: with
	// both, the same pipeline can be loaded again elsewhere.
	Sources   map[string][]byte
	Variables map[string]any
	Catalog   *stages.Catalog
}

// Node is one stage of a pipeline.
type Node struct {
	ID   string // its address: train.teacher, train.sweep["lr=0.1"]
	Kind *stages.Kind

	// Args are the arguments, complete unless Binder is set. Inputs that carry artifacts are in Inputs, not here.
	Args stages.Args
	// Binder, when set, makes the arguments once the values of Waits are known.
	Binder Binder
	// Waits are the IDs of the nodes whose values the arguments need.
	Waits []string

	Inputs []Edge   // in order of the kind's ports
	After  []string // depends_on: IDs of nodes that must finish first, without any data
	// Schema is the declaration with its ports shaped by the arguments; nil while Binder is set and the kind is a Shaper.
	Schema *stages.Schema

	Seed      *uint64 // nil: the pipeline's
	Threads   int     // pinned number of compute threads; 0: taken from resources, else the machine
	Resources stages.Resources
	Runner    RunnerRef
	Retry     Retry
	Timeout   time.Duration // 0: none
	NoCache   bool          // cache = false: run every time
	Requires  []Requirement
	Pos       Position
}

// RunnerRef names the runner that a node asks for; the zero value is the local one.
type RunnerRef struct {
	Type, Name string         // gpu, default
	Args       map[string]any // of the runner block
}

// Retry says how often a failed stage is tried again. Attempts counts all tries; Backoff is the pause before the
// second, doubled before each further one.
type Retry struct {
	Attempts int
	Backoff  time.Duration
}

// Edge connects an input: to another node's output, or to a path of the project.
type Edge struct {
	Port string
	Name string        // the name or index on a port that takes many
	Type artifact.Type // what arrives
	From OutputRef     // the zero value for a source
	// Source is the path of a source as written, relative to the pipeline's Dir unless absolute.
	Source string
}

// IsSource reports whether the edge is a path of the project.
func (e Edge) IsSource() bool { return e.From.Node == "" }

// OutputRef names an output of a node.
type OutputRef struct {
	Node   string
	Output string // as in the schema: model, folds.0.train
}

// Values holds the values that stages reported: node ID → value name → value (normal form, see stages.NormalValue).
type Values map[string]map[string]any

// Binder makes a node's arguments from the values of other nodes. The language implements it.
type Binder interface {
	// Bind returns the complete arguments, or what is wrong with them.
	Bind(Values) (stages.Args, []stages.Problem)
}

// Requirement is a judgement over a finished stage: it is not in the key and is checked after the record is committed.
type Requirement interface {
	// Check judges the node's own values and those of other nodes. ok is false when the condition does not hold; then
	// message says so. err is a problem with the condition itself.
	Check(self map[string]any, values Values) (ok bool, message string, err error)
	// Needs are the IDs of other nodes whose values the condition reads.
	Needs() []string
	// Text is the condition as written.
	Text() string
	Position() Position
}

// Position is where something is written.
type Position struct {
	File         string // relative to the pipeline's Dir
	Line, Column int    // from 1
	EndLine      int
}
