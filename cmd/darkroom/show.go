package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/cmd/live"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/all"
)

// recordJSON is `show ADDRESS --json`.
type recordJSON struct {
	Address  string                  `json:"address"`
	Key      artifact.Digest         `json:"key"`
	Kind     string                  `json:"kind"`
	Pipeline string                  `json:"pipeline"`
	Current  bool                    `json:"current"` // whether the stage, as it is written now, has this record
	Outputs  map[string]artifact.Ref `json:"outputs"`
	Values   map[string]any          `json:"values"`
	Measured map[string]float64      `json:"measured"`
	Started  time.Time               `json:"started"`
	TookS    float64                 `json:"took_s"`
	Device   *stages.Device          `json:"device"`
	Host     string                  `json:"host"`
	Runner   string                  `json:"runner"`
	On       []string                `json:"on,omitempty"` // GPUs that it had
	Attempts int                     `json:"attempts"`
	Reasons  []cache.Reason          `json:"reasons"`
	Manifest string                  `json:"manifest"`
}

func (a *app) showCommand() *cobra.Command {
	var log, manifest bool
	cmd := &cobra.Command{
		Use:   "show ADDRESS or HASH",
		Short: "Shows a stage's record, an artifact or an experiment: outputs, values, log, lineage",
		Long: `Shows what is known of a stage of the pipeline (train.net), of one of its outputs (train.net.model), or of a record,
an artifact or an experiment by the first digits of its hash. @1 is the newest experiment, @2 the one before.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAddress,
		RunE: func(cmd *cobra.Command, args []string) error {
			if hexadecimal.MatchString(args[0]) || strings.HasPrefix(args[0], "@") {
				return a.showHash(args[0], log, manifest)
			}
			f, err := a.findStage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer f.cache.Close()
			return a.showFound(f, log, manifest)
		},
	}
	cmd.Flags().BoolVar(&log, "log", false, "print the stage's log alone")
	cmd.Flags().BoolVar(&manifest, "manifest", false, "print the text that the key is made from alone")
	a.variableFlags(cmd)
	return cmd
}

func (a *app) showHash(prefix string, log, manifest bool) error {
	c, err := a.openExisting()
	if err != nil {
		return err
	}
	defer c.Close()
	x, err := findExperiment(c, prefix)
	if err == nil {
		return a.showExperiment(x)
	}
	if !errors.Is(err, cache.ErrMissing) {
		return err
	}
	f, err := a.findDigest(c, prefix)
	if err != nil {
		return err
	}
	if f == nil {
		return wrongf("nothing here has a hash that begins with %s", prefix)
	}
	return a.showFound(f, log, manifest)
}

func (a *app) showFound(f *found, log, manifest bool) error {
	switch {
	case log:
		return a.showLog(f)
	case manifest:
		_, err := fmt.Fprint(a.out, f.record.Manifest)
		return err
	case f.output != "":
		return a.showArtifact(f)
	case a.json:
		return a.printJSON(recordDocument(f))
	}
	a.noteStale(f)
	a.printRecord(f.record)
	return nil
}

func recordDocument(f *found) recordJSON {
	r := f.record
	doc := recordJSON{Address: r.Address, Key: r.Key, Kind: r.Kind, Pipeline: r.Pipeline, Current: !f.stale, Outputs: r.Outputs,
		Values: r.Values, Measured: r.Measured, Started: r.Started, TookS: r.TookS, Host: r.Host, Runner: r.Runner, On: r.On, Attempts: r.Attempts,
		Reasons: r.Reasons, Manifest: r.Manifest}
	if !r.Device.IsZero() {
		doc.Device = &r.Device
	}
	if doc.Outputs == nil {
		doc.Outputs = map[string]artifact.Ref{}
	}
	if doc.Values == nil {
		doc.Values = map[string]any{}
	}
	if doc.Measured == nil {
		doc.Measured = map[string]float64{}
	}
	if doc.Reasons == nil {
		doc.Reasons = []cache.Reason{}
	}
	return doc
}

func (a *app) showLog(f *found) error {
	if f.record.Log.IsZero() {
		return nil
	}
	b, err := f.cache.ReadBlob(f.record.Log.Digest)
	if err != nil {
		return fmt.Errorf("reading the log of %s: %w", f.record.Address, err)
	}
	if a.json {
		return a.printJSON(map[string]any{"address": f.record.Address, "log": strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")})
	}
	_, err = a.out.Write(b)
	return err
}

// showArtifact prints one artifact and where it comes from.
func (a *app) showArtifact(f *found) error {
	var summary *dataset.Summary
	if f.ref.Type == artifact.Dataset && !f.ref.Tree {
		s, err := f.summarize()
		if err != nil {
			return err
		}
		summary = &s
	}
	if a.json {
		document := map[string]any{"type": f.ref.Type, "digest": f.ref.Digest, "size": f.ref.Size, "folder": f.ref.Tree,
			"address": f.record.Address, "output": f.output, "key": f.record.Key, "inputs": lineage(f.record.Manifest)}
		if summary != nil {
			document["dataset"] = summary
		}
		return a.printJSON(document)
	}
	a.noteStale(f)
	table(a.out, "", [][]string{
		{a.paint(a.out, bold, f.name)},
		{"type", string(f.ref.Type)},
		{"digest", string(f.ref.Digest)},
		{"size", bytesText(f.ref.Size)},
		{"made by", f.record.Address + ", output " + f.output + ", record " + f.record.Key.Short()},
	})
	if summary != nil {
		fmt.Fprintln(a.out)
		a.printSummary(*summary)
	}
	return nil
}

// lineage lists the inputs that a manifest names.
func lineage(manifest string) []string {
	inputs := []string{}
	for _, line := range strings.Split(manifest, "\n") {
		if text, ok := strings.CutPrefix(line, "input "); ok {
			inputs = append(inputs, text)
		}
	}
	return inputs
}

func (a *app) printRecord(r *cache.Record) {
	head := func(title string) { fmt.Fprintf(a.out, "\n%s\n", a.paint(a.out, bold, title)) }
	fmt.Fprintf(a.out, "%s  %s\n", a.paint(a.out, bold, r.Address), a.paint(a.out, dim, "record "+r.Key.Short()))
	rows := [][]string{
		{"kind", r.Kind},
		{"pipeline", r.Pipeline},
		{"started", r.Started.Local().Format("2006-01-02 15:04:05")},
		{"took", secondsText(r.TookS)},
	}
	if !r.Device.IsZero() {
		rows = append(rows, []string{"device", fmt.Sprintf("%s, %s, %s, %s, %s", r.Device.Backend, r.Device.Version, r.Device.ISA, r.Device.Precision, plural(r.Device.Threads, "thread"))})
	}
	for _, on := range r.On {
		rows = append(rows, []string{"on", on})
	}
	if r.Attempts > 1 {
		rows = append(rows, []string{"attempts", fmt.Sprint(r.Attempts)})
	}
	table(a.out, "  ", rows)
	if inputs := lineage(r.Manifest); len(inputs) > 0 {
		head("inputs")
		for _, text := range inputs {
			fmt.Fprintln(a.out, "  "+shortDigests(text))
		}
	}
	if len(r.Outputs) > 0 {
		head("outputs")
		rows = nil
		for _, name := range sortedKeys(r.Outputs) {
			ref := r.Outputs[name]
			rows = append(rows, []string{name, string(ref.Type), bytesText(ref.Size), a.paint(a.out, dim, ref.Digest.Short())})
		}
		table(a.out, "  ", rows)
	}
	a.printValues("values", r.Values)
	measured := map[string]any{}
	units := measurementUnits(r.Kind)
	for name, v := range r.Measured {
		measured[name] = withUnit(v, unitOf(units, name))
	}
	a.printValues("measured", measured)
	if len(r.Reasons) > 0 {
		head("ran because of")
		for _, x := range r.Reasons {
			fmt.Fprintln(a.out, "  "+cacheReason(x))
		}
	}
}

// measurementUnits are the units in which a kind measures, by name.
func measurementUnits(kind string) map[string]string {
	units := map[string]string{}
	if k := all.Catalog().Lookup(kind); k != nil {
		for _, m := range stages.SchemaOf(k.New()).Measurements {
			units[m.Name] = m.Unit
		}
	}
	return units
}

// unitOf is the unit of a measurement: its own, or that of the one whose name it goes on from (latency_batch8: latency).
func unitOf(units map[string]string, name string) string {
	for from := name; ; {
		if unit, ok := units[from]; ok {
			return unit
		}
		at := strings.LastIndexByte(from, '_')
		if at < 0 {
			return ""
		}
		from = from[:at]
	}
}

// withUnit writes a measurement, which is never more exact than four digits.
func withUnit(v float64, unit string) string {
	if unit == "bytes" {
		return bytesText(int64(v))
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		rounded = v
	}
	return strings.TrimSpace(numberText(rounded) + " " + unit)
}

func (a *app) printValues(title string, values map[string]any) {
	if len(values) == 0 {
		return
	}
	fmt.Fprintf(a.out, "\n%s\n", a.paint(a.out, bold, title))
	var rows [][]string
	for _, name := range sortedKeys(values) {
		rows = append(rows, []string{name, summaryText(values[name])})
	}
	table(a.out, "  ", rows)
}

// summaryText writes a value in one line that a terminal holds; --json has it in full.
func summaryText(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case map[string]any:
		for _, e := range v {
			if _, nested := e.(map[string]any); nested {
				return fmt.Sprintf("%d entries: %s", len(v), live.Cut(strings.Join(sortedKeys(v), ", "), 60))
			}
		}
	}
	return live.Cut(live.Clean(valueText(v)), 90)
}

func cacheReason(r cache.Reason) string {
	if r.Old == "" {
		return r.Path + ": " + r.New
	}
	return r.Path + ": " + r.Old + " → " + r.New
}

// shortDigests shortens every digest in a text for people.
func shortDigests(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ' ' })
	for _, w := range words {
		if d := artifact.Digest(w); d.Valid() {
			text = strings.Replace(text, w, d.Short(), 1)
		}
	}
	return text
}

func (a *app) showExperiment(x *cache.Experiment) error {
	if a.json {
		return a.printJSON(x)
	}
	fmt.Fprintf(a.out, "%s  %s\n", a.paint(a.out, bold, "experiment "+x.Hash.Short()), x.Pipeline)
	rows := [][]string{{"hash", string(x.Hash)}, {"created", x.Created.Local().Format("2006-01-02 15:04:05")}, {"seed", fmt.Sprint(x.Seed)}, {"folder", x.Dir}}
	for _, name := range sortedKeys(x.Variables) {
		rows = append(rows, []string{"var." + name, valueText(x.Variables[name])})
	}
	for _, path := range sortedKeys(x.Inputs) {
		rows = append(rows, []string{"source", fmt.Sprintf("%s (%s)", path, x.Inputs[path].Digest.Short())})
	}
	table(a.out, "  ", rows)
	fmt.Fprintf(a.out, "\n%s\n", a.paint(a.out, bold, "stages"))
	rows = nil
	for _, s := range x.Stages {
		rows = append(rows, []string{s.Address, a.paint(a.out, dim, s.Key.Short()), strings.TrimSpace(scalarsText(s.Values))})
	}
	table(a.out, "  ", rows)
	return nil
}
