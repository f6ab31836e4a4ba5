package local

import "github.com/darkroom-dev/darkroom/stages"

// message is one line of JSON that the worker writes to descriptor 3. Exactly one field is set; the last message of a
// worker that came to an end is Done.
type message struct {
	Progress *stages.Progress `json:"progress,omitempty"`
	Log      *string          `json:"log,omitempty"`
	Value    *namedValue      `json:"value,omitempty"`
	Measure  *namedMeasure    `json:"measure,omitempty"`
	Done     *answer          `json:"done,omitempty"`
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
