package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/dsl"
)

func (a *app) fmtCommand() *cobra.Command {
	var check, diff bool
	cmd := &cobra.Command{
		Use:   "fmt [FILE or FOLDER …]",
		Short: "Rewrites pipelines in the canonical format",
		Long: `Rewrites pipeline files in the canonical format: the files named, the .hcl files of the folders named, or those of
the working folder. - formats standard input to standard output.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "-" {
				return a.formatInput()
			}
			files, err := formatFiles(args)
			if err != nil {
				return err
			}
			changed := []string{}
			for _, file := range files {
				did, err := a.formatFile(file, check || diff, diff)
				if err != nil {
					return err
				}
				if did {
					changed = append(changed, file)
				}
			}
			return a.reportFormatted(changed, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "change nothing; exit with 1 when a file is not formatted")
	cmd.Flags().BoolVar(&diff, "diff", false, "change nothing; show what would change")
	return cmd
}

func (a *app) reportFormatted(changed []string, check bool) error {
	if a.json {
		if err := a.printJSON(map[string]any{"changed": changed}); err != nil {
			return err
		}
	} else {
		for _, file := range changed {
			fmt.Fprintln(a.out, file)
		}
	}
	if check && len(changed) > 0 {
		return told(exitFailed)
	}
	return nil
}

// formatInput formats standard input.
func (a *app) formatInput() error {
	src, err := io.ReadAll(a.in)
	if err != nil {
		return lackingf("reading standard input: %w", err)
	}
	out, diagnostics := dsl.Format(src, "<stdin>")
	a.printDiagnostics(diagnostics)
	if diagnostics.HasErrors() {
		return told(exitWrong)
	}
	_, err = a.out.Write(out)
	return err
}

// formatFiles lists the .hcl files that args name, in order.
func formatFiles(args []string) ([]string, error) {
	if len(args) == 0 {
		args = []string{"."}
	}
	var files []string
	for _, path := range args {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, wrongf("there is no file or folder %s", path)
		case !info.IsDir():
			files = append(files, path)
			continue
		}
		found, err := os.ReadDir(path)
		if err != nil {
			return nil, wrongf("looking into %s: %w", path, err)
		}
		for _, e := range found {
			if strings.HasSuffix(e.Name(), ".hcl") {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	return files, nil
}

// formatFile rewrites one file when its format is not canonical, and reports whether it is not. The new text replaces
// the old at once, so that a crash leaves one of the two.
func (a *app) formatFile(path string, keep, diff bool) (bool, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return false, wrongf("reading %s: %w", path, err)
	}
	out, diagnostics := dsl.Format(src, path)
	a.printDiagnostics(diagnostics)
	if diagnostics.HasErrors() {
		return false, told(exitWrong)
	}
	if bytes.Equal(src, out) {
		return false, nil
	}
	if diff && !a.json {
		fmt.Fprint(a.out, a.lineDiff(path, string(src), string(out)))
	}
	if keep {
		return true, nil
	}
	return true, replaceFile(path, out)
}

// replaceFile gives an existing file new contents and keeps its mode.
func replaceFile(path string, contents []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return wrongf("%w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return lackingf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(contents)
	if err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return lackingf("writing %s: %w", path, err)
	}
	return nil
}

// lineDiff shows the lines that differ, with the place of each group. Formatting changes lines one by one, mostly, so
// the common lines are found greedily from a longest common subsequence of the lines.
func (a *app) lineDiff(path, old, formatted string) string {
	x, y := strings.Split(strings.TrimSuffix(old, "\n"), "\n"), strings.Split(strings.TrimSuffix(formatted, "\n"), "\n")
	if len(x)*len(y) > 1<<23 { // the table below would not fit; such files are written by programs
		return fmt.Sprintf("--- %s\n+++ %s, formatted\n@@ too long to show: %d lines @@\n", path, path, len(y))
	}
	common := make([][]int, len(x)+1) // common[i][j]: length of the longest common subsequence of x[i:] and y[j:]
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s, formatted\n", path, path)
	open := false
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			open = false
			i, j = i+1, j+1
			continue
		case !open:
			fmt.Fprintf(&b, "@@ line %d @@\n", i+1)
			open = true
		}
		if j == len(y) || i < len(x) && common[i+1][j] >= common[i][j+1] {
			b.WriteString(a.paint(a.out, red, "-"+x[i]) + "\n")
			i++
		} else {
			b.WriteString(a.paint(a.out, green, "+"+y[j]) + "\n")
			j++
		}
	}
	return b.String()
}
