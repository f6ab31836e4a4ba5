package engine

import (
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// Event is something that happened during a run; as JSON it is a line of `run --json`. Fields that an event does not
// have are left out. Events are handed out by one goroutine at a time, in the order in which they happened.
type Event struct {
	Time    time.Time       `json:"time"`
	Event   string          `json:"event"` // one of the Event constants
	Address string          `json:"address,omitempty"`
	Kind    string          `json:"kind,omitempty"`
	Key     artifact.Digest `json:"key,omitempty"`
	Action  Action          `json:"action,omitempty"`
	Reasons []Reason        `json:"reasons,omitempty"`
	Attempt int             `json:"attempt,omitempty"`

	Progress *stages.Progress `json:"progress,omitempty"`
	Line     string           `json:"line,omitempty"` // of the log

	Outputs  map[string]artifact.Ref `json:"outputs,omitempty"`
	Values   map[string]any          `json:"values,omitempty"`
	Measured map[string]float64      `json:"measured,omitempty"`
	Took     float64                 `json:"took_s,omitempty"` // seconds

	Error    string           `json:"error,omitempty"`
	Waiting  string           `json:"waiting,omitempty"` // what for
	Problems []stages.Problem `json:"problems,omitempty"`

	Finished *Finished `json:"-"` // of the last event: written flat, see MarshalJSON
	Pipeline string    `json:"pipeline,omitempty"`
	Run      string    `json:"run,omitempty"` // the run's ID
}

// Finished is what the last event of a run says.
type Finished struct {
	Experiment artifact.Digest `json:"experiment"` // "" unless every stage of the pipeline is done
	OK         bool            `json:"ok"`
	Ran        int             `json:"ran"`
	Reused     int             `json:"reused"`
	Failed     int             `json:"failed"`
	Skipped    int             `json:"skipped"`
	Took       float64         `json:"took_s"` // seconds
}

// The events of a run.
const (
	EventRunStarted        = "run_started"
	EventStageWaiting      = "stage_waiting"
	EventStageReused       = "stage_reused"
	EventStageStarted      = "stage_started"
	EventStageProgress     = "stage_progress"
	EventStageLog          = "stage_log"
	EventStageRetry        = "stage_retry"
	EventStageFinished     = "stage_finished"
	EventStageFailed       = "stage_failed"
	EventStageSkipped      = "stage_skipped"
	EventRequirementFailed = "requirement_failed"
	EventBlobDamaged       = "blob_damaged"
	EventWaitingForLease   = "waiting_for_lease"
	EventWaitingForDevice  = "waiting_for_device"
	EventFinished          = "finished"
)

// MarshalJSON implements json.Marshaler: the fields of Finished stand beside the others, zeros included.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	if e.Finished == nil {
		return marshal(plain(e))
	}
	return marshal(struct {
		plain
		*Finished
		Took float64 `json:"took_s"` // both have one: the outermost wins
	}{plain(e), e.Finished, e.Finished.Took})
}
