package report

import (
	"fmt"
	"math"
)

// BarChart compares a few quantities by horizontal bars from 0.
type BarChart struct {
	Title string
	Bars  []Bar
	// Max is the value of a full bar; 0 means the largest value given.
	Max float64
}

// Bar is one quantity, at least 0. Text is what stands behind the bar; empty means the value.
type Bar struct {
	Name  string
	Value float64
	Text  string
	Tone  Tone
}

// Bars adds a bar chart.
func (p *Page) Bars(c BarChart) {
	type shown struct {
		Bar
		Share string // per cent of a full bar
	}
	full := c.Max
	for _, b := range c.Bars {
		if math.IsNaN(b.Value) || math.IsInf(b.Value, 0) || b.Value < 0 {
			p.fail(fmt.Errorf("bar chart %q: the value of %q is %v; bars take finite values of at least 0", c.Title, b.Name, b.Value))
			return
		}
		if c.Max == 0 {
			full = max(full, b.Value)
		}
	}
	var list []shown
	for _, b := range c.Bars {
		s := shown{Bar: b, Share: "0"}
		if full > 0 {
			s.Share = decimal(100 * min(1, b.Value/full))
		}
		if s.Text == "" {
			s.Text = (&scale{whole: b.Value == math.Trunc(b.Value)}).text(b.Value)
		}
		list = append(list, s)
	}
	p.add("bars", map[string]any{"Title": c.Title, "Bars": list})
}
