package recipe

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// Rows are the arguments of the recipe as names and values, for a report: those that always matter, and those that were written. args is what the user
// wrote in the stage's block.
func (r *Recipe) Rows(args stages.Args) [][]string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	rows := [][]string{{"epochs", strconv.Itoa(r.Epochs)}, {"batch", strconv.Itoa(r.Batch)}, {"learning_rate", number(r.Rate)}}
	add := func(name, value string, when bool) {
		if when {
			rows = append(rows, []string{name, value})
		}
	}
	add("accumulate", strconv.Itoa(r.Accumulate), r.Accumulate > 1)
	rows = append(rows, ChosenRow(args, "optimizer", r.optimizer), ChosenRow(args, "schedule", r.schedule))
	for _, b := range []struct {
		name string
		body stages.Declarer
		when bool
	}{{"clip", clipArgs{&r.clip}, r.clip != learn.Clip{}}, {"freeze", &r.freeze, r.freeze.Share > 0 || len(r.freeze.Patterns) > 0}, {"ema", &r.ema, r.averages},
		{"rates", &r.rates, r.rates.bottom > 0 || r.rates.decay > 0 || len(r.rates.match) > 0},
		{"swa", swaArgs{&r.swa}, r.means}, {"early_stopping", stoppingArgs{&r.stopping}, r.stops}} {
		add(b.name, strings.Join(argumentTexts(b.body, block(args, b.name)), ", "), b.when)
	}
	add("monitor", r.monitor, r.monitor != "accuracy")
	add("dropout", number(r.dropout), r.dropout > 0)
	add("drop_path", number(r.dropPath), r.dropPath > 0)
	return rows
}

// Epochs counts epochs in words.
func Epochs(n int) string {
	if n == 1 {
		return "1 epoch"
	}
	return report.Count(n) + " epochs"
}

// block returns what the user wrote in a block.
func block(args stages.Args, name string) stages.Args {
	for _, b := range args.Blocks {
		if b.Type == name {
			return b.Args
		}
	}
	return stages.Args{}
}

// ChosenRow is a chosen block with its arguments.
func ChosenRow(args stages.Args, name string, c stages.Chosen) []string {
	return []string{name, strings.Join(append([]string{c.Name}, argumentTexts(c.Body, block(args, name))...), ", ")}
}

// argumentTexts are the values of a block's arguments, as they were written or else by default.
func argumentTexts(d stages.Declarer, written stages.Args) []string {
	var out []string
	for _, a := range stages.SchemaOf(d).Args {
		v, ok := written.Values[a.Name]
		if !ok {
			v = a.Default
		}
		switch list := v.(type) {
		case nil:
			continue
		case []any:
			if len(list) == 0 {
				continue
			}
		case map[string]any:
			if len(list) == 0 {
				continue
			}
		}
		out = append(out, fmt.Sprintf("%s %v", a.Name, v))
	}
	return out
}
