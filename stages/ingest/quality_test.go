package ingest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// runFiles executes the kind on files and returns the JSON and the page.
func runFiles(t *testing.T, files map[string][]byte, args map[string]any) (q jsonQuality, page string, err error) {
	t.Helper()
	root := t.TempDir()
	for name, b := range files {
		put(t, root, name, b)
	}
	stage := Kind.New()
	if _, problems := stages.Decode(stage, stages.Args{Values: args}, map[string]bool{"source": true}); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	job := (&stages.Job{OutDir: t.TempDir(), ScratchDir: t.TempDir(), Inputs: map[string][]stages.Input{"source": {{Path: root}}}}).WithReporter(&spoken{values: map[string]any{}})
	if err := stage.Run(t.Context(), job); err != nil {
		return q, "", err
	}
	b, err := os.ReadFile(job.Output("quality"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &q); err != nil {
		t.Fatal(err)
	}
	html, err := os.ReadFile(job.Output("report"))
	if err != nil {
		t.Fatal(err)
	}
	return q, string(html), nil
}

func counted(q jsonQuality) string {
	var out []string
	for _, f := range q.Findings {
		out = append(out, fmt.Sprintf("%s:%d", f.Kind, f.Count))
	}
	return strings.Join(out, " ")
}

func TestQuality(t *testing.T) {
	same, other := pngOf(t, gradient(10, 12)), pngOf(t, gradient(12, 10))
	files := map[string][]byte{
		"train/cat/a.png": same, "train/cat/b.png": other, "train/dog/a.png": same, "test/cat/c.png": same, "test/dog/d.png": pngOf(t, gradient(9, 9)), "test/dog/torn.png": same[:40],
	}
	q, page, err := runFiles(t, files, map[string]any{"size": 16.0, "on_error": "skip"})
	if err != nil {
		t.Fatal(err)
	}
	if got := counted(q); got != "damaged_image:1 label_conflict:1 identical_images:2 duplicates_across_splits:2" {
		t.Errorf("findings %s", got)
	}
	if q.Images != 5 || q.Skipped != 1 || fmt.Sprint(q.Splits) != "map[test:2 train:3]" || q.Classes[1].Name != "dog" || q.Classes[1].Images != 2 || q.Sizes[0].Images != 3 || len(q.Channels) != 3 {
		t.Errorf("quality %+v", q)
	}
	for _, want := range []string{"test/dog/torn.png", "Identical images with different annotations: 1", "cat and dog", "Images by part of the source"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if _, _, err = runFiles(t, files, map[string]any{"size": 16.0, "on_error": "skip", "strict": true}); err == nil || !strings.Contains(err.Error(), "Identical images: 2, such as test/cat/c.png") {
		t.Errorf("strict: %v", err)
	}
	clean := map[string][]byte{"cat/b.png": other, "dog/a.png": same}
	if q, _, err = runFiles(t, clean, map[string]any{"size": 16.0, "strict": true}); err != nil || counted(q) != "" {
		t.Errorf("a clean source: %v, %s", err, counted(q))
	}
}

// An annotation without an image fails, and is counted and listed where that is asked for.
func TestAnnotationWithoutImage(t *testing.T) {
	files := map[string][]byte{"a.png": pngOf(t, gradient(10, 12)), "list.csv": []byte("path,label\na.png,x\ngone.png,x\n")}
	if _, _, err := runFiles(t, files, nil); err == nil || !strings.Contains(err.Error(), "gone.png") {
		t.Errorf("error %v", err)
	}
	q, _, err := runFiles(t, files, map[string]any{"on_error": "skip"})
	if err != nil || q.Skipped != 1 || counted(q) != "annotation_without_image:1" || q.Findings[0].Records[0].Record != "gone.png" {
		t.Errorf("%+v, %v", q.Findings, err)
	}
}

// Two images of one id fail, and the second is counted and listed where that is asked for. Bytes that are no text make ids alike.
func TestTwoImagesOfOneID(t *testing.T) {
	files := map[string][]byte{"a/x\xff.png": pngOf(t, gradient(10, 12)), "a/x%FF.png": pngOf(t, gradient(12, 10)), "b/y.png": pngOf(t, gradient(9, 9))}
	args := map[string]any{"size": 8.0}
	if _, _, err := runFiles(t, files, args); err == nil || !strings.Contains(err.Error(), "a/x%FF.png: another image has the same id") {
		t.Errorf("error %v", err)
	}
	args["on_error"] = "skip"
	q, _, err := runFiles(t, files, args)
	if err != nil || q.Images != 2 || q.Skipped != 1 || counted(q) != "same_id:1" || q.Findings[0].Records[0].Record != "a/x%FF.png" {
		t.Errorf("%+v, %v", q, err)
	}
}

// Images are kept as files, and read as they would have been decoded.
func TestEncodedIsDecoded(t *testing.T) {
	root := t.TempDir()
	for name, b := range pictures(t) {
		put(t, root, name, b)
	}
	args := map[string]any{"size": 8.0, "on_error": "skip"}
	plain, _, err := run(t, root, args)
	if err != nil {
		t.Fatal(err)
	}
	args["store"] = "encoded"
	kept, _, err := run(t, root, args)
	if err != nil || !kept.Info().Encoded || kept.Len() != plain.Len() {
		t.Fatal(err)
	}
	for i := range kept.Len() {
		got, err := kept.Pixels(i, nil)
		if err != nil || string(got) != string(plain.Image(i)) || kept.ID(i) != plain.ID(i) {
			t.Errorf("image %d differs: %v", i, err)
		}
	}
}

// A full disk is an error that names the file, and what was written is no dataset. A child runs it, whose files are limited instead.
func TestFullDisk(t *testing.T) {
	if os.Getenv("FULL_DISK") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFullDisk$")
		cmd.Env = append(os.Environ(), "FULL_DISK="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	stage := Kind.New()
	if _, problems := stages.Decode(stage, stages.Args{Values: map[string]any{"generator": "surfaces", "count": 2000.0, "size": 64.0}}, nil); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	job := (&stages.Job{OutDir: os.Getenv("FULL_DISK"), ScratchDir: os.Getenv("FULL_DISK")}).WithReporter(&spoken{values: map[string]any{}})
	err := stage.Run(t.Context(), job)
	if err == nil || !strings.Contains(err.Error(), job.Output("dataset")) {
		t.Errorf("error %v", err)
	}
	if _, err := dataset.Open(job.Output("dataset")); err == nil {
		t.Error("what was written is a dataset")
	}
	if _, err := os.Stat(filepath.Join(job.OutDir, "report")); err == nil {
		t.Error("there is a report of it")
	}
}

// A thumbnail shows the outlines of its class, and those that lie partly outside too.
func TestOutline(t *testing.T) {
	pixels := make([]byte, 5*6*3)
	outline(pixels, 5, 6, dataset.Polygon{Rings: [][]float32{{2, 2, 12, 2, 12, 10, 2, 10}, {-8, 4, -2, 4, -2, 6}}}, 0.5, 0.5)
	var rows []string
	for y := range 5 {
		row := ""
		for x := range 6 {
			row += string(".#"[b2i(pixels[3*(6*y+x)+2] == 255)])
		}
		rows = append(rows, row)
	}
	if got := strings.Join(rows, " "); got != "...... .##### .#...# .#...# .#####" {
		t.Error(got)
	}
}
