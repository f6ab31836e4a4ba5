package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed templates/*.hcl
var templates embed.FS

func templateNames() []string { return []string{"surfaces", "folder"} }

func (a *app) initCommand() *cobra.Command {
	var template string
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Writes a commented first pipeline",
		Long: `Writes darkroom.hcl, a commented first pipeline, into the folder (default: the working folder). It never overwrites
a pipeline that is there.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			folder := "."
			if len(args) > 0 {
				folder = args[0]
			}
			text, err := templates.ReadFile("templates/" + template + ".hcl")
			if err != nil {
				return wrongf("there is no template %q; the templates are %s", template, strings.Join(templateNames(), ", "))
			}
			path := filepath.Join(folder, "darkroom.hcl")
			if err := writeNew(path, text); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"pipeline": path, "template": template})
			}
			where := "" // for the verbs that come next
			if len(args) > 0 && filepath.Clean(folder) != "." {
				where = " " + path
			}
			fmt.Fprintf(a.out, "Wrote %s. Next: `darkroom plan%s` says what it would run, `darkroom run%s` runs it.\n", path, where, where)
			return nil
		},
	}
	cmd.Flags().StringVar(&template, "template", "surfaces", "what to start from, a `NAME`: surfaces (generated images) or folder (your images, a folder for each class)")
	_ = cmd.RegisterFlagCompletionFunc("template", cobra.FixedCompletions(templateNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return lackingf("making the folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return wrongf("%s is there already; nothing was written", path)
	}
	if err != nil {
		return lackingf("writing the pipeline: %w", err)
	}
	_, err = f.Write(text)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return lackingf("writing the pipeline: %w", err)
	}
	return nil
}
