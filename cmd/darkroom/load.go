package main

import (
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages/all"
)

// variableFlags adds the flags of verbs that load a pipeline.
func (a *app) variableFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&a.vars, "var", nil, "set a variable, as `NAME=VALUE`; may be repeated")
	cmd.Flags().StringArrayVar(&a.varFiles, "var-file", nil, "read variables from this `FILE` (.hcl or .json); may be repeated")
}

// load reads the pipeline that args, --pipeline or the working folder name, prints what is wrong with it, and fails
// when that is more than warnings.
func (a *app) load(args []string) (*engine.Pipeline, error) {
	path, err := a.findPipeline(args)
	if err != nil {
		return nil, err
	}
	p, diagnostics := a.loadPath(path)
	a.printDiagnostics(diagnostics)
	if diagnostics.HasErrors() {
		return nil, told(exitWrong)
	}
	return p, nil
}

func (a *app) loadPath(path string) (*engine.Pipeline, dsl.Diagnostics) {
	return dsl.Load(path, dsl.Options{Catalog: all.Catalog(), Vars: a.vars, VarFiles: a.varFiles, Environ: os.Environ()})
}

// printDiagnostics prints problems for people on stderr; with --json as one document on stdout, unless there are only
// warnings, which would not be what the verb's reader expects there.
func (a *app) printDiagnostics(diagnostics dsl.Diagnostics) {
	if a.json && diagnostics.HasErrors() {
		_ = a.printJSONLine(map[string]any{"error": diagnostics.Error(), "exit_code": exitWrong, "diagnostics": diagnostics})
		return
	}
	if len(diagnostics) > 0 {
		_ = dsl.Print(a.err, diagnostics, dsl.PrintOptions{Color: a.colored(a.err), Width: min(width(a.err), 110)})
	}
}

// loadQuietly is load without warnings, for completion and for verbs that can do without a pipeline.
func (a *app) loadQuietly() *engine.Pipeline {
	path, err := a.findPipeline(nil)
	if err != nil {
		return nil
	}
	p, diagnostics := a.loadPath(path)
	if diagnostics.HasErrors() {
		return nil
	}
	return p
}

// machineThreads is how many threads a stage computes with unless something says otherwise.
func machineThreads() int { return runtime.NumCPU() }

// relative shortens a path for people when it lies below the working folder.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(r) {
		return r
	}
	return path
}
