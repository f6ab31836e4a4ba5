// Command accept runs the full-size checks of what darkroom promises and writes what it measured to bench/RESULTS.md.
// It drives the built binary as a user would: files, commands, exit codes, JSON. It is run by `make accept` from the
// root of the repository and takes about a quarter of an hour on two cores.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// check is one promise.
type check struct {
	name string
	asks string // what the promise is, for the table
	run  func(ctx context.Context, e *environment) (measured string, err error)
}

// result is what a check came to. Err says in which way the promise is not kept.
type result struct {
	check
	measured string
	took     time.Duration
	err      error
	skipped  string
}

// skip is the error of a check that cannot be made here.
type skip string

func (s skip) Error() string { return string(s) }

func main() {
	only := flag.String("only", "", "run only the checks whose names contain one of these words, separated by commas")
	out := flag.String("out", "bench/RESULTS.md", "file to write; - for the terminal alone")
	keep := flag.Bool("keep", false, "keep the working folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := accept(ctx, *only, *out, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "accept:", err)
		os.Exit(1)
	}
}

func accept(ctx context.Context, only, out string, keep bool) error {
	e, err := newEnvironment()
	if err != nil {
		return err
	}
	if keep {
		fmt.Println("working folder:", e.dir)
	} else {
		defer os.RemoveAll(e.dir)
	}
	var results []result
	failed := 0
	for _, c := range checks() {
		if !selected(c.name, only) {
			continue
		}
		fmt.Printf("%-28s ", c.name)
		r := measure(ctx, e, c)
		results = append(results, r)
		fmt.Printf("%-8s %6.1f s  %s\n", r.verdict(), r.took.Seconds(), r.text())
		if r.err != nil {
			failed++
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if out != "-" {
		if err := writeResults(out, results); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(results))
	}
	return nil
}

func measure(ctx context.Context, e *environment, c check) result {
	start := time.Now()
	text, err := c.run(ctx, e)
	r := result{check: c, measured: text, took: time.Since(start), err: err}
	if s, ok := err.(skip); ok {
		r.err, r.skipped = nil, string(s)
	}
	return r
}

func (r result) verdict() string {
	switch {
	case r.skipped != "":
		return "skipped"
	case r.err != nil:
		return "FAILED"
	}
	return "kept"
}

func (r result) text() string {
	switch {
	case r.skipped != "":
		return r.skipped
	case r.err != nil && r.measured != "":
		return r.measured + "; " + r.err.Error()
	case r.err != nil:
		return r.err.Error()
	}
	return r.measured
}

func selected(name, only string) bool {
	if only == "" {
		return true
	}
	for _, word := range strings.Split(only, ",") {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

const marker = "<!-- below: written by `make accept` -->"

// writeResults replaces what an earlier run wrote; what stands above the marker is kept.
func writeResults(path string, results []result) error {
	head := "# Measured\n\n"
	if b, err := os.ReadFile(path); err == nil {
		before, _, _ := strings.Cut(string(b), marker)
		head = strings.TrimRight(before, "\n") + "\n\n"
	}
	var b strings.Builder
	b.WriteString(head + marker + "\n\n## Acceptance\n\n")
	fmt.Fprintf(&b, "%s, %s. Command: `make accept`.\n\n", time.Now().UTC().Format("2006-01-02"), machine())
	b.WriteString("| check | asked | measured | verdict | took |\n| --- | --- | --- | --- | ---: |\n")
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.0f s |\n", r.name, cell.Replace(r.asks), cell.Replace(r.text()), r.verdict(), r.took.Seconds())
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o666)
}
