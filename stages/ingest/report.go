package ingest

import (
	"bytes"
	"fmt"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/importer"
	"github.com/darkroom-dev/darkroom/report"
)

// samplesPerClass and samplesInAll bound the thumbnails of a report; skippedShown its list of skipped records.
const (
	samplesPerClass = 4
	samplesInAll    = 80
	skippedShown    = 500
)

// tally is what the report tells.
type tally struct {
	info     dataset.Info
	counts   []int
	samples  map[int32]int // thumbnails taken by label
	pictures []report.Thumbnail
	skipped  []*importer.RecordError
}

func (t *tally) add(r importer.Record) {
	t.counts[r.Label]++
	if t.samples[r.Label] == samplesPerClass || len(t.pictures) == samplesInAll {
		return
	}
	t.samples[r.Label]++
	t.pictures = append(t.pictures, report.Thumbnail{
		Pixels: bytes.Clone(r.Image), Height: t.info.Height, Width: t.info.Width, Channels: t.info.Channels,
		Caption: t.info.Classes[r.Label], Note: r.ID,
	})
}

// report writes the page.
func (t *tally) report(path string) error {
	total := 0
	bars := report.BarChart{Title: "Images by class"}
	for c, n := range t.counts {
		total += n
		bars.Bars = append(bars.Bars, report.Bar{Name: t.info.Classes[c], Value: float64(n), Text: report.Count(n)})
	}
	p := report.New("Dataset")
	colour := "grey"
	if t.info.Channels == 3 {
		colour = "RGB"
	}
	p.Facts(
		report.Fact{Name: "Images", Value: report.Count(total)},
		report.Fact{Name: "Classes", Value: report.Count(len(t.counts))},
		report.Fact{Name: "Size", Value: fmt.Sprintf("%d × %d", t.info.Width, t.info.Height), Note: colour},
		report.Fact{Name: "Skipped", Value: report.Count(len(t.skipped)), Note: "damaged images"},
	)
	p.Section("Classes")
	p.Bars(bars)
	p.Section("Samples")
	p.Thumbnails(t.pictures...)
	if len(t.skipped) > 0 {
		p.Section("Skipped")
		table := report.Table{Columns: []report.Column{{Name: "Record"}, {Name: "File"}, {Name: "Reason"}}}
		for _, s := range t.skipped[:min(len(t.skipped), skippedShown)] {
			record := s.Record
			if record == "" {
				record = "the picture"
			}
			table.Rows = append(table.Rows, []string{record, s.File, s.Err.Error()})
		}
		if n := len(t.skipped) - skippedShown; n > 0 {
			p.Text(fmt.Sprintf("The first %d are listed; %d more are in the log.", skippedShown, n))
		}
		p.Table(table)
	}
	return p.WriteFile(path)
}
