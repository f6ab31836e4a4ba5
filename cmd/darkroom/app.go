package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is one execution of the command: its streams and the flags that every verb shares.
type app struct {
	in       io.Reader
	out, err io.Writer

	json     bool
	color    string // auto, always, never
	pipeline string // file or folder; "" to look for one
	cacheDir string
	vars     []string // NAME=VALUE
	varFiles []string
}

// execute runs the verb that args name and returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return a.report(ctx, root.ExecuteContext(ctx))
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "darkroom",
		Short: "Develops image-recognition models in stages, each one reproducible",
		Long: `darkroom develops image-recognition models the way a darkroom develops film: in stages, in order, each one
reproducible. A pipeline is written in HCL; only what changed runs; every result is kept by its content and can be
rebuilt from its hash, bit for bit.

Exit codes: 0 done, 1 the pipeline or a requirement failed, 2 the text or the flags are wrong, 3 the environment
lacks something, 130 interrupted.`,
		// Letters that may differ before a verb is no longer suggested.
		SuggestionsMinimumDistance: 2,

		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.color != "auto" && a.color != "always" && a.color != "never" {
				return wrongf("--color is %q; it takes auto, always or never", a.color)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return wrongf("there is no verb %q%s; see darkroom --help", args[0], suggestion(cmd.SuggestionsFor(args[0])))
			}
			return cmd.Help()
		},
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "print for programs instead of people")
	flags.StringVar(&a.color, "color", "auto", "colour, `WHEN`: auto, always or never; NO_COLOR is obeyed")
	flags.StringVarP(&a.pipeline, "pipeline", "p", "", "the `PATH` of the pipeline: a file, or a folder of .hcl files (default darkroom.hcl, or the only .hcl file here)")
	flags.StringVar(&a.cacheDir, "cache", "", "the cache `FOLDER` (default $DARKROOM_CACHE, or the nearest .darkroom upward from the pipeline)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return wrongf("%s", flagMistake(err)) })
	root.AddCommand(a.commands()...)
	root.InitDefaultCompletionCmd()
	if cmd, _, err := root.Find([]string{"completion"}); err == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return wrongf("there is no completion for the shell %q; there is one for bash, zsh, fish and powershell", args[0])
			}
			return cmd.Help()
		}
	}
	for _, cmd := range root.Commands() {
		refuseArguments(cmd)
	}
	return root
}

// commands lists the verbs in the order of the reference.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.initCommand(),
		a.validateCommand(),
		a.fmtCommand(),
		a.planCommand(),
		a.runCommand(),
		a.statusCommand(),
		a.whyCommand(),
		a.showCommand(),
		a.getCommand(),
		a.predictCommand(),
		a.logCommand(),
		a.diffCommand(),
		a.reproduceCommand(),
		a.graphCommand(),
		a.stagesCommand(),
		a.cacheCommand(),
		a.doctorCommand(),
		a.workerCommand(),
		a.versionCommand(),
	}
}

// refuseArguments makes a wrong number of arguments a mistake of the user's, with the usage line as the way out.
func refuseArguments(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return wrongf("%v; usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		refuseArguments(sub)
	}
}

// flagMistake is what was wrong with a flag, without the name of the function that found it.
func flagMistake(err error) string {
	text := err.Error()
	before, cause, found := strings.Cut(text, ": strconv.")
	if !found {
		return text
	}
	switch {
	case strings.HasPrefix(cause, "ParseBool"):
		return before + ": it takes true or false"
	case strings.HasSuffix(cause, "out of range"):
		return before + ": the number is too large"
	case strings.HasPrefix(cause, "ParseFloat"):
		return before + ": it takes a number"
	}
	return before + ": it takes a whole number"
}

func suggestion(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names, " or ") + "?"
}

// colored reports whether w gets colour.
func (a *app) colored(w io.Writer) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns the columns of the terminal that w is, or 100.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	return 100
}

// interrupted reports whether err is the answer to the user's signal.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled))
}
