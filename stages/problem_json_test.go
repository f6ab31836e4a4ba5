package stages

import (
	"encoding/json"
	"testing"
)

// Programs read problems in the events of a run, where names are lower-case.
func TestProblemAsJSON(t *testing.T) {
	got, err := json.Marshal(Problem{Arg: "epochs", Summary: "S", Detail: "D"})
	if want := `{"arg":"epochs","summary":"S","detail":"D"}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}
