package nas

import (
	"fmt"
	"os"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/stages"
)

// The ports with measured tables, which are objectives too.
const (
	latencyPort     = "latency"
	int8LatencyPort = "int8_latency"
)

// openSurveys reads the latency tables that are connected.
func (e *evaluator) openSurveys() error {
	e.surveys = map[string]*infer.Survey{}
	for _, port := range []string{latencyPort, int8LatencyPort} {
		in, ok := e.job.Input(port)
		if !ok {
			continue
		}
		s, err := readSurvey(in.Path)
		if err != nil {
			return stages.Problemf(port, "Latency table does not fit", "It cannot tell how long a network takes: %v. Connect the output \"latency\" of a profile stage.", err)
		}
		e.job.Logf("%s: estimates for %d images a run on %d threads", port, s.Batch, s.Threads)
		e.surveys[port] = s
	}
	return nil
}

func readSurvey(path string) (*infer.Survey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	rows, err := infer.ReadLatencies(f)
	if err != nil {
		return nil, err
	}
	return infer.NewSurvey(rows, 0, 0)
}

// surveyError says that a table cannot tell how long a member takes.
type surveyError struct {
	port, network string
	err           error
}

func (s *surveyError) Error() string { return s.err.Error() }

// estimate adds the latencies of a network, in milliseconds, to its cost.
func (e *evaluator) estimate(c *cost, costs *surgery.Costs, network string) error {
	var layers []infer.Layer
	for _, n := range costs.Nodes {
		if n.MACs == 0 {
			continue
		}
		elements := 1
		for _, d := range n.Output[1:] {
			size, ok := d.At(1)
			if !ok {
				return fmt.Errorf("the size of %s is not known", n.Node.Name)
			}
			elements *= size
		}
		layers = append(layers, infer.Layer{Operator: n.Node.OpType, Elements: elements, MACs: n.MACs})
	}
	for _, port := range e.tables() {
		s, to := e.surveys[port], &c.latency
		if port == int8LatencyPort {
			to = &c.int8Latency
		}
		got, err := s.Estimate(layers)
		if err != nil {
			return &surveyError{port, network, err}
		}
		*to = got.Milliseconds
		e.scaled[port] += got.Scaled
		e.looked[port] += got.Scaled + got.Measured
	}
	return nil
}

// sayEstimates says in the log how many layers were not measured themselves.
func (e *evaluator) sayEstimates() {
	for _, port := range []string{latencyPort, int8LatencyPort} {
		if n := e.looked[port]; n > 0 {
			e.job.Logf("%s: of %d layers of the networks that were looked at, the table has %d; the times of the others follow from the nearest ones", port, n, n-e.scaled[port])
		}
	}
}
