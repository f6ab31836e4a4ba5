package local

import (
	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// message is one line of JSON that the worker writes to descriptor 3. Exactly one field is set; the last message of a
// worker that came to an end is Done.
type message struct {
	Progress *stages.Progress `json:"progress,omitempty"`
	Log      *string          `json:"log,omitempty"`
	Value    *namedValue      `json:"value,omitempty"`
	Measure  *namedMeasure    `json:"measure,omitempty"`
	Part     *partQuestion    `json:"part,omitempty"`
	Done     *answer          `json:"done,omitempty"`
}

// partQuestion asks the run for a part of the stage's work, or hands it over (stages.Memory). The run answers with a partAnswer
// of the same number, one line of JSON on the pipe that the job came through.
type partQuestion struct {
	Number   int             `json:"number"`
	Key      artifact.Digest `json:"key"`
	Path     string          `json:"path"`               // where to put it, or where it is
	Remember bool            `json:"remember,omitempty"` // else recall
	Manifest string          `json:"manifest,omitempty"`
}

type partAnswer struct {
	Number int    `json:"number"`
	Found  bool   `json:"found,omitempty"`
	Error  string `json:"error,omitempty"`
}

type namedValue struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

type namedMeasure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// answer is how a job ended. All fields empty: well.
type answer struct {
	Problem *stages.Problem `json:"problem,omitempty"` // the user can mend it
	Error   string          `json:"error,omitempty"`   // with Problem, the whole chain of words around it
	Died    string          `json:"died,omitempty"`    // how the stage ended without an answer, or a defect
}
