package report

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with testdata/name; -update writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; run with -update and read the difference. Got:\n%s", name, text)
	}
}

// body renders what fill adds, without the page around it.
func body(t *testing.T, fill func(*Page)) string {
	t.Helper()
	p := New("t")
	fill(p)
	if p.err != nil {
		t.Fatal(p.err)
	}
	var b strings.Builder
	for _, part := range p.parts {
		b.WriteString(string(part))
	}
	return b.String()
}

func gradient(height, width, channels int) []byte {
	out := make([]byte, height*width*channels)
	for i := range out {
		out[i] = byte(i * 255 / len(out))
	}
	return out
}

func confusion(n int) Matrix {
	m := Matrix{Title: "Confusion matrix"}
	for i := range n {
		m.Classes = append(m.Classes, fmt.Sprintf("class %d", i))
		row := make([]int, n)
		row[i] = 90
		row[(i+1)%n] += 7
		row[(i*i+3)%n] += i % 5
		m.Counts = append(m.Counts, row)
	}
	return m
}

func TestElements(t *testing.T) {
	for name, fill := range map[string]func(*Page){
		"facts": func(p *Page) {
			p.Facts(Fact{Name: "Accuracy", Value: Percent(0.9146), Note: "10,000 images", Tone: Good}, Fact{Name: "Loss", Value: "0.2500"})
		},
		"table": func(p *Page) {
			p.Table(Table{Title: "Classes", Columns: []Column{{Name: "Class"}, {Name: "Size", Unit: "px", Number: true}}, Rows: [][]string{{"a", "1"}, {"b", "2"}}, Marks: map[int]Tone{1: Good}})
			p.Table(Table{Title: "More", Folded: true, Columns: []Column{{Name: "Class"}}, Rows: [][]string{{"a"}}})
		},
		"lines": func(p *Page) {
			p.Lines(LinePlot{Title: "Loss", X: Axis{Name: "epoch"}, Y: Axis{Name: "loss", Zero: true},
				Series: []Series{{Name: "training", Y: []float64{1.5, math.NaN(), 0.5}}, {Name: "validation", Y: []float64{1.75, 1, 0.75}}}, Marks: []Mark{{3, "best"}}})
		},
		"plots": func(p *Page) {
			p.Plots(LinePlot{Title: "Loss", Series: []Series{{Name: "loss", Y: []float64{2, 1}}}}, LinePlot{Title: "Rate", Y: Axis{Log: true}, Series: []Series{{Name: "rate", Y: []float64{0.1, 0.001}}}})
		},
		"scatter": func(p *Page) {
			p.Scatter(ScatterPlot{Title: "Candidates", X: Axis{Name: "FLOPs", Log: true}, Y: Axis{Name: "accuracy", Percent: true}, Groups: []PointGroup{
				{Name: "candidates", Points: []Point{{X: 10, Y: 0.5, Name: "0"}, {X: 100, Y: 0.75}, {X: math.NaN(), Y: 1}}}, {Name: "front", Points: []Point{{X: 10, Y: 0.5}, {X: 100, Y: 0.75}}, Joined: true}}})
			p.Scatter(ScatterPlot{Title: "Embedding", NoTicks: true, Groups: []PointGroup{{Name: "a", Points: []Point{{X: -1, Y: 0}, {X: 1, Y: 1}}}}})
		},
		"bars": func(p *Page) {
			p.Bars(BarChart{Title: "Images", Bars: []Bar{{Name: "a", Value: 30, Text: "30"}, {Name: "b", Value: 60}}})
		},
		"matrix": func(p *Page) {
			p.Matrix(Matrix{Title: "Confusion", Classes: []string{"cat", "dog"}, Counts: [][]int{{9, 1}, {0, 4}}})
		},
		"thumbnails": func(p *Page) {
			p.Thumbnails(Thumbnail{Pixels: gradient(2, 4, 3), Height: 2, Width: 4, Channels: 3, Caption: "cat", Note: "dog", Tone: Bad},
				Thumbnail{Pixels: gradient(200, 100, 1), Height: 200, Width: 100, Channels: 1, Caption: "grey"})
		},
		"text": func(p *Page) { p.Section("A"); p.Text("B"); p.Code("C", "d {\n}") },
	} {
		t.Run(name, func(t *testing.T) { golden(t, name+".html", body(t, fill)) })
	}
}

func TestEverythingIsEscaped(t *testing.T) {
	const evil = `</title><script>alert("x")</script>'"&`
	p := New(evil)
	p.Subtitle(evil)
	p.Facts(Fact{evil, evil, evil, Plain})
	p.Section(evil)
	p.Text(evil)
	p.Code(evil, evil)
	p.Table(Table{Title: evil, Columns: []Column{{Name: evil, Unit: evil}}, Rows: [][]string{{evil}}})
	p.Lines(LinePlot{Title: evil, X: Axis{Name: evil}, Y: Axis{Name: evil}, Series: []Series{{Name: evil, Y: []float64{1}}}, Marks: []Mark{{1, evil}}})
	p.Bars(BarChart{Title: evil, Bars: []Bar{{Name: evil, Value: 1, Text: evil}}})
	p.Matrix(Matrix{Title: evil, Classes: []string{evil}, Counts: [][]int{{1}}})
	p.Thumbnails(Thumbnail{Pixels: []byte{1}, Height: 1, Width: 1, Channels: 1, Caption: evil, Note: evil})
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "<script") || strings.Contains(b.String(), `"x"`) {
		t.Error("a text reached the page as it was")
	}
	for _, outside := range []string{"http://", "https://", "src=\"/", "url("} {
		if strings.Contains(b.String(), outside) {
			t.Errorf("the page refers to something outside itself: %s", outside)
		}
	}
}

func TestLargePicturesAreScaledDown(t *testing.T) {
	for _, channels := range []int{1, 3} {
		noise := make([]byte, 1000*600*channels)
		for i := range noise {
			noise[i] = byte(i * i >> 7)
		}
		html := body(t, func(p *Page) {
			p.Thumbnails(Thumbnail{Pixels: noise, Height: 1000, Width: 600, Channels: channels})
		})
		if len(html) > 250_000 || !strings.Contains(html, `width="67" height="112"`) {
			t.Errorf("%d channels: a picture of 1000×600 makes %d bytes of HTML", channels, len(html))
		}
	}
}

func TestMistakesOfCallers(t *testing.T) {
	for name, c := range map[string]struct {
		fill func(*Page)
		want string
	}{
		"row":    {func(p *Page) { p.Table(Table{Columns: []Column{{Name: "a"}}, Rows: [][]string{{"1", "2"}}}) }, "2 cells for 1 columns"},
		"series": {func(p *Page) { p.Lines(LinePlot{Series: []Series{{X: []float64{1}, Y: []float64{1, 2}}}}) }, "1 positions for 2 values"},
		"bar":    {func(p *Page) { p.Bars(BarChart{Bars: []Bar{{Name: "a", Value: -1}}}) }, "at least 0"},
		"matrix": {func(p *Page) { p.Matrix(Matrix{Classes: []string{"a"}, Counts: [][]int{{1, 2}}}) }, "2 cells for 1 classes"},
		"pixels": {func(p *Page) {
			p.Thumbnails(Thumbnail{Pixels: []byte{1}, Height: 1, Width: 1, Channels: 3, Caption: "x"})
		}, "1 bytes are not an image"},
	} {
		p := New("t")
		c.fill(p)
		p.Text("later calls do not hide the mistake")
		path := filepath.Join(t.TempDir(), "r.html")
		err := p.WriteFile(path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a broken report was written", name)
		}
	}
}

func TestMatrixSizes(t *testing.T) {
	for _, n := range []int{1, 2, 10, 11, 20, 21, 60, 61, 100, 700} {
		html := body(t, func(p *Page) { p.Matrix(confusion(n)) })
		if drawn := strings.Count(html, `<rect x=`); n <= matrixDrawn && drawn < n || n > matrixDrawn && drawn != 0 {
			t.Errorf("%d classes: %d cells drawn", n, drawn)
		}
		if picture := strings.Contains(html, "data:image/png"); picture != (n > matrixDrawn) {
			t.Errorf("%d classes: picture is %v", n, picture)
		}
		if len(html) > 1<<20 {
			t.Errorf("%d classes: %d bytes of HTML", n, len(html))
		}
	}
}

func TestWideCounts(t *testing.T) {
	html := body(t, func(p *Page) { p.Matrix(Matrix{Classes: []string{"a", "b"}, Counts: [][]int{{12345678, 0}, {0, 1}}}) })
	if !strings.Contains(html, `width="132" height="132"`) {
		t.Errorf("eight digits need cells of 66 pixels:\n%s", html)
	}
}

func TestManySeriesAreToldApart(t *testing.T) {
	var series []Series
	for i := range seriesColors + 1 {
		series = append(series, Series{Name: fmt.Sprintf("run %d", i), Y: []float64{1, 2}})
	}
	html := body(t, func(p *Page) { p.Lines(LinePlot{Series: series}) })
	if strings.Count(html, "stroke-dasharray") != 1 || !strings.Contains(html, "run 8 (dashed)") {
		t.Error("the ninth line looks like the first one")
	}
}

func TestEmptyClassInMatrix(t *testing.T) {
	html := body(t, func(p *Page) { p.Matrix(Matrix{Classes: []string{"a", "b"}, Counts: [][]int{{0, 0}, {1, 1}}}) })
	if strings.Contains(html, "NaN") {
		t.Error("a class without samples divides by zero")
	}
}

func TestTicks(t *testing.T) {
	for name, c := range map[string]struct {
		axis   Axis
		values []float64
		want   string
	}{
		"epochs":      {Axis{}, []float64{1, 2, 3}, "1 2 3"},
		"many epochs": {Axis{}, []float64{1, 200}, "50 100 150 200"},
		"fractions":   {Axis{}, []float64{0, 0.25}, "0.00 0.05 0.10 0.15 0.20 0.25"},
		"percent":     {Axis{Percent: true}, []float64{0.5, 1}, "50 % 60 % 70 % 80 % 90 % 100 %"},
		"fine":        {Axis{Percent: true}, []float64{0.991, 0.993}, "99.10 % 99.15 % 99.20 % 99.25 % 99.30 %"},
		"negative":    {Axis{}, []float64{-0.5, 0.5}, "−0.4 −0.2 0.0 0.2 0.4"},
		"log":         {Axis{Log: true}, []float64{0.001, 0, 1}, "0.001 0.01 0.1 1"},
		"one value":   {Axis{}, []float64{3}, "2 3 4"},
		"none":        {Axis{}, nil, "0 1"},
		"infinite":    {Axis{}, []float64{math.Inf(1), math.NaN(), 1, 2}, "1 2"},
	} {
		s := newScale(c.axis)
		for _, v := range c.values {
			if s.shows(v) {
				s.include(v)
			}
		}
		s.finish(false)
		var got []string
		for _, tick := range s.ticks(6, false) {
			got = append(got, tick.Text)
		}
		if text := plainSpaces(strings.Join(got, " ")); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}

// plainSpaces turns no-break spaces into spaces, to compare with what is typed.
func plainSpaces(s string) string { return strings.ReplaceAll(s, "\u00a0", " ") }

func TestNumbersForPeople(t *testing.T) {
	for got, want := range map[string]string{
		Percent(0.91456): "91.46 %", Percent(math.NaN()): "–", Points(-0.0042): "−0.42 pp", Points(0.01): "+1.00 pp", Points(-1e-9): "±0.00 pp",
		Count(0): "0", Count(999): "999", Count(1000): "1,000", Count(-1234567): "−1,234,567",
		Share(0.75): "75 %", Share(0.995): "99.5 %", Share(1.0 / 3): "33.3333 %", Counted(1, "epoch"): "1 epoch", Counted(0, "image"): "0 images", Counted(1024, "image"): "1,024 images",
		Number(-1.005, 1): "−1.0", Number(-0.001, 2): "0.00",
	} {
		if plainSpaces(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestSameBytes(t *testing.T) {
	write := func() string {
		p := New("t")
		p.Matrix(confusion(70))
		p.Table(Table{Columns: []Column{{Name: "a"}}, Rows: [][]string{{"1"}, {"2"}}, Marks: map[int]Tone{0: Good, 1: Bad}})
		p.Thumbnails(Thumbnail{Pixels: gradient(8, 8, 3), Height: 8, Width: 8, Channels: 3})
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	first := write()
	for range 5 {
		if write() != first {
			t.Fatal("the same report has other bytes")
		}
	}
}
