package live

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/stages"
)

// part is a piece of a stage's line. Parts with a higher cost go first when the line is too wide.
type part struct {
	text string
	cost int
}

// line draws a stage: spinner, address, bar, phase, metrics, rate, time left. What matters least is left out until the
// rest fits.
func (d *Display) line(mark string, r *row, longest, columns int) string {
	address := CutMiddle(Clean(r.address), longest)
	address += strings.Repeat(" ", max(0, longest-Width(address)))
	cells := 12 // of the bar
	if columns < 100 {
		cells = 8
	}
	parts := d.parts(r, cells)
	for {
		text := mark + " " + address
		for _, p := range parts {
			text += "  " + p.text
		}
		if Width(text) <= columns || len(parts) == 0 {
			return Cut(d.colour("\x1b[34m", mark)+text[len(mark):], columns)
		}
		worst := 0
		for i, p := range parts {
			if p.cost >= parts[worst].cost {
				worst = i
			}
		}
		parts = append(parts[:worst:worst], parts[worst+1:]...)
	}
}

func (d *Display) parts(r *row, cells int) []part {
	p := r.progress
	var parts []part
	if p.Total > 0 {
		share := math.Min(1, float64(p.Done)/float64(p.Total))
		parts = append(parts, part{d.bar(share, cells), 3}, part{fmt.Sprintf("%3.0f%%", math.Floor(100*share)), 2})
	} else if p.Done > 0 {
		parts = append(parts, part{strings.TrimSpace(Count(float64(p.Done)) + " " + Clean(p.Unit)), 3})
	}
	if p.Phase != "" {
		parts = append(parts, part{Clean(p.Phase), 1})
	}
	for i, m := range p.Metrics {
		parts = append(parts, part{Clean(m.Name) + " " + strconv.FormatFloat(m.Value, 'g', 4, 64), 4 + 2*i})
	}
	if p.Rate > 0 {
		parts = append(parts, part{Count(p.Rate) + " " + unit(p.Unit) + "/s", 5})
	}
	if p.Left > 0 {
		parts = append(parts, part{Clock(p.Left) + " left", 0})
	} else {
		parts = append(parts, part{Clock(d.o.Now().Sub(r.started)), 0})
	}
	return parts
}

func unit(name string) string {
	if name == "" {
		return "steps"
	}
	return Clean(name)
}

func (d *Display) bar(share float64, cells int) string {
	full := int(share * float64(cells))
	return d.colour("\x1b[32m", strings.Repeat("━", full)) + d.colour("\x1b[2m", strings.Repeat("─", cells-full))
}

func (d *Display) colour(attribute, text string) string {
	if !d.o.Color || text == "" {
		return text
	}
	return attribute + text + "\x1b[0m"
}

// Clock writes a duration as people read it off a clock: 0:07, 12:34, 1:02:03.
func Clock(t time.Duration) string {
	s := int(t.Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// Count writes a number with thousands separated: 12,345; with one decimal below ten.
func Count(f float64) string {
	if f < 10 && f != math.Trunc(f) {
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(math.Round(f), 'f', -1, 64)
	var b strings.Builder
	for i, r := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Summary writes a progress as one plain line, for output that is not a terminal.
func Summary(p stages.Progress) string {
	var parts []string
	if p.Phase != "" {
		parts = append(parts, Clean(p.Phase))
	}
	if p.Total > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s %s", Count(float64(p.Done)), Count(float64(p.Total)), unit(p.Unit)))
	} else if p.Done > 0 {
		parts = append(parts, fmt.Sprintf("%s %s", Count(float64(p.Done)), unit(p.Unit)))
	}
	for _, m := range p.Metrics {
		parts = append(parts, Clean(m.Name)+" "+strconv.FormatFloat(m.Value, 'g', 4, 64))
	}
	if p.Rate > 0 {
		parts = append(parts, Count(p.Rate)+" "+unit(p.Unit)+"/s")
	}
	if p.Left > 0 {
		parts = append(parts, Clock(p.Left)+" left")
	}
	return strings.Join(parts, ", ")
}
