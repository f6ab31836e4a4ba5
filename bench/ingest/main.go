// Command ingest measures what reading a source costs: a folder of many small files a second time, when nothing has changed, and the memory that
// a large source takes. It is run by `make bench-ingest` over the built binary, in a folder that it makes and removes; the large source takes as much
// room on the disk as it is large, and once more for the dataset.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/image/bmp"

	"github.com/darkroom-dev/darkroom/bench/section"
)

type options struct {
	binary, dir, out string
	counts           string
	rounds, gigabyte int
}

// row is one line of the table.
type row struct{ what, result, asked, verdict string }

func main() {
	var o options
	flag.StringVar(&o.binary, "darkroom", "bin/darkroom", "the binary")
	flag.StringVar(&o.dir, "dir", "", "folder to work in (default: one of the system's)")
	flag.StringVar(&o.out, "out", "", "file whose section on ingesting is rewritten, such as bench/RESULTS.md (default: none)")
	flag.StringVar(&o.counts, "files", "100000,1000000", "numbers of small files, separated by commas; empty: none")
	flag.IntVar(&o.rounds, "rounds", 5, "runs over unchanged files")
	flag.IntVar(&o.gigabyte, "gigabytes", 10, "size of the large source in 10⁹ bytes; 0: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench/ingest:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) (err error) {
	if o.rounds < 1 || o.gigabyte < 0 {
		return errors.New("-rounds must be above 0 and -gigabytes not below it")
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "darkroom-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var rows []row
	for _, text := range strings.FieldsFunc(o.counts, func(r rune) bool { return r == ',' }) {
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil || n < 1 {
			return fmt.Errorf("-files: %q is not a number above 0", text)
		}
		r, err := unchanged(ctx, o, filepath.Join(dir, "files-"+text), n)
		if err != nil {
			return fmt.Errorf("%d files: %w", n, err)
		}
		rows = append(rows, r)
		fmt.Println(r.what+":", r.result)
	}
	if o.gigabyte > 0 {
		r, err := large(ctx, o, filepath.Join(dir, "large"))
		if err != nil {
			return fmt.Errorf("a large source: %w", err)
		}
		rows = append(rows, r)
		fmt.Println(r.what+":", r.result)
	}
	if o.out == "" {
		return nil
	}
	return write(o.out, rows)
}

// unchanged ingests n small files, and again with nothing changed.
func unchanged(ctx context.Context, o options, dir string, n int) (row, error) {
	if err := smallFiles(filepath.Join(dir, "source"), n); err != nil {
		return row{}, err
	}
	defer os.RemoveAll(dir) // before the next count needs the room; bench reports what stays
	first, _, err := run(ctx, o, dir, "")
	if err != nil {
		return row{}, err
	}
	var again []float64
	for range o.rounds {
		took, _, err := run(ctx, o, dir, "")
		if err != nil {
			return row{}, err
		}
		again = append(again, took.Seconds())
	}
	limit := 0.5
	if n > 100_000 {
		limit = 4
	}
	median := section.Median(again)
	return row{fmt.Sprintf("%d files of 8×8 pixels, nothing changed", n), fmt.Sprintf("%.2f s, the whole process, median of %d; the first time %.1f s", median, o.rounds, first.Seconds()),
		fmt.Sprintf("≤ %g s", limit), verdict(median <= limit)}, nil
}

// large ingests pictures of 5 MB each.
func large(ctx context.Context, o options, dir string) (row, error) {
	size, err := bigFiles(filepath.Join(dir, "source"), int64(o.gigabyte)*1e9)
	if err != nil {
		return row{}, err
	}
	took, peak, err := run(ctx, o, dir, "store = \"encoded\"\n")
	if err != nil {
		return row{}, err
	}
	return row{fmt.Sprintf("memory while ingesting %.1f GB of pictures of 1,400×1,200 pixels", float64(size)/1e9), fmt.Sprintf("%d MB of the largest process, in %.0f s", peak/1e6, took.Seconds()),
		"≤ 500 MB", verdict(peak <= 500e6)}, nil
}

func verdict(kept bool) string {
	if kept {
		return "kept"
	}
	return "missed"
}

// run runs the pipeline over dir/source and returns how long it took, and the peak memory of the largest of its processes in bytes.
func run(ctx context.Context, o options, dir, arguments string) (time.Duration, int64, error) {
	text := fmt.Sprintf("pipeline { name = \"bench\" }\ningest \"many\" {\n  source = \"source\"\n%s}\n", arguments)
	if err := os.WriteFile(filepath.Join(dir, "bench.hcl"), []byte(text), 0o666); err != nil {
		return 0, 0, err
	}
	command := exec.CommandContext(ctx, o.binary, "run", "bench.hcl", "--cache", "cache")
	command.Dir = dir
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	begin := time.Now()
	if err := command.Run(); err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, said.Bytes()[max(0, said.Len()-2000):])
	}
	took := time.Since(begin)
	usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return took, 0, errors.New("the system does not tell the memory of a process that ended")
	}
	return took, usage.Maxrss << 10, nil // of the binary and of the workers that it waited for
}

// smallFiles writes n different pictures in ten classes.
func smallFiles(dir string, n int) error {
	for class := range 10 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("class-%d", class)), 0o777); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	picture := image.NewGray(image.Rect(0, 0, 8, 8))
	for i := range n {
		for p := range picture.Pix {
			picture.Pix[p] = byte(i >> (8 * (p % 4)) * (1 + p/4)) //nolint:gosec // the low byte is meant
		}
		b.Reset()
		if err := encoder.Encode(&b, picture); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("class-%d", i%10), fmt.Sprintf("%07d.png", i)), b.Bytes(), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// bigFiles writes different pictures of 5 MB each, without compression, until they are total bytes.
func bigFiles(dir string, total int64) (written int64, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "one"), 0o777); err != nil {
		return 0, err
	}
	picture := image.NewRGBA(image.Rect(0, 0, 1400, 1200))
	for i := range picture.Pix {
		picture.Pix[i] = byte(i * 7 >> 3)
	}
	for i := 3; i < len(picture.Pix); i += 4 {
		picture.Pix[i] = 255
	}
	var b bytes.Buffer
	for i := 0; written < total; i++ {
		picture.SetRGBA(i%1400, i/1400, color.RGBA{byte(i), byte(i >> 8), 1, 255})
		b.Reset()
		if err := bmp.Encode(&b, picture); err != nil {
			return written, err
		}
		if err := os.WriteFile(filepath.Join(dir, "one", fmt.Sprintf("%05d.bmp", i)), b.Bytes(), 0o666); err != nil {
			return written, err
		}
		written += int64(b.Len())
	}
	return written, nil
}

var marks = section.Marks{Begin: "<!-- reading sources: written by `make bench-ingest` -->", End: "<!-- end of reading sources -->"}

func write(out string, rows []row) error {
	old, err := os.ReadFile(filepath.Clean(out))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## Reading sources\n\n%s, %s, %s. Command: `make bench-ingest`.\n\n| what | measured | asked | verdict |\n| --- | --- | --- | --- |\n",
		time.Now().UTC().Format("2006-01-02"), section.Machine(), runtime.Version())
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.what, r.result, r.asked, r.verdict)
	}
	return os.WriteFile(filepath.Clean(out), []byte(section.Replace(string(old), marks, b.String())), 0o666)
}
