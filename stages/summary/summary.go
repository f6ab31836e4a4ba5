// Package summary is the summary kind: the mean and the deviation of numbers that several stages report, such as the folds of a
// cross-validation.
//
// Rules of the room: it works on values alone, so that a run again gives the same bytes, and a stage that changes nothing in its numbers
// reruns nothing behind it.
package summary

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the summary kind.
var Kind = &stages.Kind{
	Name:    "summary",
	Version: 1,
	Doc: "Sums up numbers that several stages report: how they come out on average, and how far they lie apart. Its use is cross-validation, and trainings with several seeds.\n\n" +
		"The deviation is that of a sample, with n-1, and 0 for a single number. The interval is the mean ± the deviation ÷ √n times Student's t for 95 %: where the mean of many more such runs is to be expected, if the numbers are independent, which those of folds are only roughly.",
	Example: `split "cross" {
  data  = ingest.photos.dataset
  folds = 5
}

train "cv" {
  for_each   = split.cross.folds
  data       = each.value.train
  validation = each.value.validation
  model      = "resnet20"
  epochs     = 20
}

summary "cv" {
  of = {
    accuracy = values(train.cv)[*].accuracy
    loss     = values(train.cv)[*].loss
  }
}`,
	New: func() stages.Stage { return &summary{} },
}

type summary struct {
	of any
}

func (s *summary) Declare(d *stages.Schema) {
	d.Any(&s.of, "of", "What to sum up: a map from names to lists of numbers, or from names to maps of numbers, such as { accuracy = values(train.cv)[*].accuracy }.").Required()
	d.Out("metrics", artifact.Metrics, "The numbers and what they come to, as JSON.")
	d.Out("report", artifact.Report, "The same as a table.")
	d.Reports("mean", stages.NumberMap, "The mean, by name.")
	d.Reports("deviation", stages.NumberMap, "The standard deviation of the sample, by name.")
	d.Reports("low", stages.NumberMap, "The lower end of the 95 % interval of the mean, by name.")
	d.Reports("high", stages.NumberMap, "Its upper end.")
	d.Reports("min", stages.NumberMap, "The smallest number, by name.")
	d.Reports("max", stages.NumberMap, "The largest number, by name.")
	d.Reports("count", stages.NumberMap, "How many numbers there are, by name.")
}

// Check implements stages.Checker.
func (s *summary) Check() []stages.Problem {
	if s.of == nil {
		return nil // its absence is reported already
	}
	if _, p := s.numbers(); p != nil {
		return []stages.Problem{*p}
	}
	return nil
}

// series is the numbers of one name, with the names of what reported them where they have any.
type series struct {
	name   string
	values []float64
	labels []string
}

// numbers returns what is to be summed up, by name in order.
func (s *summary) numbers() ([]series, *stages.Problem) {
	wrong := func(format string, args ...any) *stages.Problem {
		p := stages.Problemf("of", "Wrong type of argument", format, args...)
		return &p
	}
	named, ok := s.of.(map[string]any)
	if !ok || len(named) == 0 {
		return nil, wrong("The argument \"of\" takes a map from names to lists of numbers. Write { accuracy = values(train.cv)[*].accuracy }, for instance.")
	}
	var out []series
	for _, name := range slices.Sorted(maps.Keys(named)) {
		one := series{name: name}
		add := func(label string, v any) *stages.Problem {
			n, ok := v.(float64)
			if !ok {
				return wrong("Of %q, element %s is not a number.", name, label)
			}
			one.values, one.labels = append(one.values, n), append(one.labels, label)
			return nil
		}
		switch list := named[name].(type) {
		case []any:
			for i, v := range list {
				if p := add(strconv.Itoa(i), v); p != nil {
					return nil, p
				}
			}
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(list)) {
				if p := add(strconv.Quote(k), list[k]); p != nil {
					return nil, p
				}
			}
		default:
			return nil, wrong("What stands under %q is neither a list nor a map of numbers.", name)
		}
		if len(one.values) == 0 {
			return nil, wrong("There is no number under %q to sum up.", name)
		}
		out = append(out, one)
	}
	return out, nil
}

// Statistics are what the numbers of one name come to.
type Statistics struct {
	Count     int       `json:"count"`
	Mean      float64   `json:"mean"`
	Deviation float64   `json:"deviation"` // of the sample
	Low       float64   `json:"low"`       // of the 95 % interval of the mean
	High      float64   `json:"high"`
	Min       float64   `json:"min"`
	Max       float64   `json:"max"`
	Values    []float64 `json:"values"`
}

// statistics sums up one or more numbers.
func statistics(values []float64) Statistics {
	s := Statistics{Count: len(values), Min: slices.Min(values), Max: slices.Max(values), Values: values}
	for _, v := range values {
		s.Mean += v / float64(len(values))
	}
	squares := 0.0
	for _, v := range values {
		squares += (v - s.Mean) * (v - s.Mean)
	}
	s.Low, s.High = s.Mean, s.Mean
	if n := len(values); n > 1 {
		s.Deviation = math.Sqrt(squares / float64(n-1))
		half := student(n-1) * s.Deviation / math.Sqrt(float64(n))
		s.Low, s.High = s.Mean-half, s.Mean+half
	}
	return s
}

// students are the 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
var students = [...]float64{12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314,
	2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423}

// student returns the 97.5 % quantile; beyond the table by the expansion of Cornish and Fisher.
func student(freedom int) float64 {
	if freedom <= len(students) {
		return students[freedom-1]
	}
	const z = 1.959963985
	n := float64(freedom)
	return z + (z*z*z+z)/(4*n) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*n*n)
}

// Run implements stages.Stage.
func (s *summary) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, p := s.numbers()
	if p != nil {
		return *p
	}
	all := map[string]Statistics{}
	values := map[string]map[string]float64{"mean": {}, "deviation": {}, "low": {}, "high": {}, "min": {}, "max": {}, "count": {}}
	table := report.Table{Title: "What the numbers come to", Columns: []report.Column{{Name: "Of"}, {Name: "Mean"}, {Name: "Deviation"}, {Name: "95 % interval"}, {Name: "Smallest"}, {Name: "Largest"}, {Name: "Count"}}}
	for _, one := range list {
		st := statistics(one.values)
		all[one.name] = st
		for name, v := range map[string]float64{"mean": st.Mean, "deviation": st.Deviation, "low": st.Low, "high": st.High, "min": st.Min, "max": st.Max, "count": float64(st.Count)} {
			values[name][one.name] = v
		}
		number := func(v float64) string { return report.Number(v, 4) }
		table.Rows = append(table.Rows, []string{one.name, number(st.Mean), number(st.Deviation), number(st.Low) + " to " + number(st.High), number(st.Min), number(st.Max), strconv.Itoa(st.Count)})
		job.Logf("%s: %s ± %s (%d numbers)", one.name, number(st.Mean), number(st.Deviation), st.Count)
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the metrics: %w", err)
	}
	if err := os.WriteFile(job.Output("metrics"), append(b, '\n'), 0o666); err != nil {
		return fmt.Errorf("writing the metrics: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		job.Value(name, values[name])
	}
	return page(list, table).WriteFile(job.Output("report"))
}

func page(list []series, table report.Table) *report.Page {
	p := report.New("Summary")
	p.Table(table)
	p.Section("The numbers")
	for _, one := range list {
		t := report.Table{Title: one.name, Columns: []report.Column{{Name: "Of"}, {Name: one.name}}}
		for i, v := range one.values {
			t.Rows = append(t.Rows, []string{one.labels[i], report.Number(v, 6)})
		}
		p.Table(t)
	}
	return p
}
