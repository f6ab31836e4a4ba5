package engine

import (
	"encoding/json"
	"testing"
)

func TestFinishedEventIsFlat(t *testing.T) {
	b, err := json.Marshal(Event{Event: EventFinished, Finished: &Finished{Took: 2.5, Ran: 1}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"0001-01-01T00:00:00Z","event":"finished","experiment":"","ok":false,"ran":1,"reused":0,"failed":0,"skipped":0,"took_s":2.5}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}
