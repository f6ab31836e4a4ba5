package engine

// Action is what a plan holds for a stage.
type Action string

// The actions.
const (
	Reuse     Action = "reuse"
	RunIt     Action = "run"
	Undecided Action = "undecided" // it depends on what a stage before it yields
)
