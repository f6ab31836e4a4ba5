package stages

import "fmt"

// Problem is a mistake of the user, as data. The language layer points it at the line; the edge prints it.
type Problem struct {
	// Arg is the path of the argument or block: epochs, loss[0].gamma, rotate[2]. The number in brackets is the
	// block's place among all nested blocks of its level, in order of the text. Empty: the stage as a whole.
	Arg string `json:"arg"`
	// Summary is fixed text without names of the user's; Detail says in full sentences what is wrong, why and what to do.
	Summary string `json:"summary"`
	Detail  string `json:"detail"`
	Warning bool   `json:"warning,omitempty"`
	// Lacking says that nothing is wrong with the pipeline: the machine lacks something that the stage needs.
	Lacking bool `json:"lacking,omitempty"`

	// Given and Options, when set, are a name that is not known and the names that are, for a "did you mean".
	Given   string   `json:"given,omitempty"`
	Options []string `json:"options,omitempty"`
}

// Error makes a Problem usable as an error; a stage returns one from Run when the user can mend it.
func (p Problem) Error() string {
	at := ""
	if p.Arg != "" {
		at = p.Arg + ": "
	}
	if p.Detail == "" {
		return at + p.Summary
	}
	return at + p.Summary + ": " + p.Detail
}

// Problemf returns a problem of the argument arg whose detail is formatted.
func Problemf(arg, summary, detail string, args ...any) Problem {
	return Problem{Arg: arg, Summary: summary, Detail: fmt.Sprintf(detail, args...)}
}
