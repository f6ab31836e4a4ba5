package evaluate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/darkroom-dev/darkroom/report"
)

// picture is the thumbnail of an image.
func (r *result) picture(image int, caption, note string) (report.Thumbnail, error) {
	info := r.data.Info()
	pixels, err := r.data.Pixels(image, nil)
	return report.Thumbnail{Pixels: pixels, Height: info.Height, Width: info.Width, Channels: info.Channels, Caption: caption, Note: note + "\n" + r.data.ID(image)}, err
}

// said is what a model answered for an image, with how sure it was.
func (j *judgement) said(image int) string {
	answer := names(j.classes, j.answers[image], ", ")
	if answer == "" {
		answer = "nothing"
	}
	return answer + " " + report.Percent(j.confidence(image, j.probabilities(image)))
}

// is says what an image truly is, with the probability that the model gave to it.
func (r *result) is(image int) string {
	if r.members != nil {
		if len(r.truth[image]) == 0 {
			return "has no class"
		}
		return "is " + names(r.model.classes, r.truth[image], ", ")
	}
	truth := r.labels[image]
	return fmt.Sprintf("is %s (%s)", r.model.classes[truth], report.Percent(r.model.probabilities(image)[truth]))
}

// mistakesSection shows the images whose true class the model held least probable.
func (r *result) mistakesSection(p *report.Page, worst int) {
	mistakes := r.model.mistakes()
	p.Section("Worst mistakes")
	if len(mistakes) == 0 {
		p.Text("There is none: every answer is right.")
		return
	}
	shown := mistakes[:min(worst, len(mistakes))]
	p.Text(fmt.Sprintf("%s of %s images are answered wrongly. Shown are the %s for which the truth was held least probable.",
		report.Count(len(mistakes)), report.Count(r.data.Len()), report.Count(len(shown))))
	r.pictures(p, shown, func(image int) (string, string) { return r.model.said(image), r.is(image) })
}

// pictures shows images with captions and notes.
func (r *result) pictures(p *report.Page, images []int, text func(image int) (caption, note string)) {
	var list []report.Thumbnail
	for _, i := range images {
		caption, note := text(i)
		picture, err := r.picture(i, caption, note)
		if err != nil {
			p.Text(fmt.Sprintf("The image %s cannot be shown: %v.", r.data.ID(i), err))
			continue
		}
		list = append(list, picture)
	}
	p.Thumbnails(list...)
}

// comparisonSection sets the model against the baseline, image by image.
func (r *result) comparisonSection(p *report.Page, worst int) {
	a := r.agreed
	m, b := r.model, r.baseline
	macro, _, _ := m.averages()
	macroBefore, _, _ := b.averages()
	calibrationError, _ := m.calibration()
	calibrationBefore, _ := b.calibration()
	p.Section("Against the baseline")
	p.Table(report.Table{Columns: []report.Column{{Name: ""}, {Name: "Model", Number: true}, {Name: "Baseline", Number: true}}, Rows: [][]string{
		{"Accuracy", report.Percent(m.accuracy()), report.Percent(b.accuracy())},
		{"Macro F1", report.Percent(macro.F1), report.Percent(macroBefore.F1)},
		{"Loss", report.Number(m.logLoss(), 4), report.Number(b.logLoss(), 4)},
		{"Calibration error", report.Percent(calibrationError), report.Percent(calibrationBefore)},
		{"Size of the file", size(m.size), size(b.size)},
		{"Images that only this one answers rightly", report.Count(a.Gained), report.Count(a.Lost)},
	}})
	verdict := "A difference like this is likely between equally good models, by chance alone"
	if a.Exact < 0.05 {
		verdict = "A difference like this is unlikely between equally good models"
	}
	chance := "p = " + report.Number(a.Exact, 4)
	if a.Exact < 0.0001 {
		chance = "p < 0.0001"
	}
	text := fmt.Sprintf("Both give the same answer for %s of the images (Cohen's κ %s). %s (McNemar's exact test, %s).",
		report.Percent(float64(a.Same)/float64(a.Count)), report.Number(a.Kappa, 3), verdict, chance)
	if i, ok := r.rangeOf("accuracy_drop"); ok {
		text += fmt.Sprintf(" The accuracy differs by %s, and by %s to %s in 95 %% of the resamples.", report.Points(m.accuracy()-b.accuracy()), report.Points(-i.high), report.Points(-i.low))
	}
	p.Text(text)
	r.changedImages(p, worst)
}

// size writes a number of bytes.
func size(bytes int64) string {
	if bytes < 1<<20 {
		return report.Number(float64(bytes)/1024, 1) + "\u00a0KiB"
	}
	return report.Number(float64(bytes)/(1<<20), 2) + "\u00a0MiB"
}

// changedImages shows the images that changed their answer: those that the model lost, those it gained, and those it takes for something else
// that is wrong too; the surest first.
func (r *result) changedImages(p *report.Page, worst int) {
	kinds := []struct {
		title string
		in    func(i int) bool
	}{
		{"Lost: only the baseline was right", func(i int) bool { return !r.model.right[i] && r.baseline.right[i] }},
		{"Gained: only the model is right", func(i int) bool { return r.model.right[i] && !r.baseline.right[i] }},
		{"Changed, and wrong both times", func(i int) bool {
			return !r.model.right[i] && !r.baseline.right[i] && !slices.Equal(r.model.answers[i], r.baseline.answers[i])
		}},
	}
	for _, kind := range kinds {
		var images []int
		for i := range r.truth {
			if kind.in(i) {
				images = append(images, i)
			}
		}
		if len(images) == 0 || worst == 0 {
			continue
		}
		slices.SortStableFunc(images, func(a, b int) int {
			return cmp.Compare(r.model.confidence(b, r.model.probabilities(b)), r.model.confidence(a, r.model.probabilities(a)))
		})
		shown := images[:min(worst, len(images))]
		text := fmt.Sprintf("%s (%s images)", kind.title, report.Count(len(images)))
		if len(images) == 1 {
			text = kind.title + " (1 image)"
		}
		if len(shown) < len(images) {
			text += fmt.Sprintf("; shown are the %d of which the model is surest", len(shown))
		}
		p.Text(text + ".")
		r.pictures(p, shown, func(image int) (string, string) {
			return r.model.said(image), "was " + r.baseline.said(image) + "\n" + r.is(image)
		})
	}
}
