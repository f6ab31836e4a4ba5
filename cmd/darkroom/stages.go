package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/all"
)

func (a *app) stagesCommand() *cobra.Command {
	var markdown string
	cmd := &cobra.Command{
		Use:   "stages [KIND]",
		Short: "Shows the reference of every kind of stage, from its schema",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return all.Catalog().Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			catalog := all.Catalog()
			switch {
			case markdown != "":
				return writeReference(markdown, catalog)
			case len(args) == 0:
				return a.listKinds(catalog)
			}
			kind := catalog.Lookup(args[0])
			if kind == nil {
				return wrongf("there is no kind %q; the kinds are %s", args[0], strings.Join(catalog.Names(), ", "))
			}
			reference := stages.NewReference(kind)
			if a.json {
				return a.printJSON(reference)
			}
			fmt.Fprintf(a.out, "%s\n\n%s", a.paint(a.out, bold, kind.Name), reference.Text(min(width(a.out), 110)))
			return nil
		},
	}
	cmd.Flags().StringVar(&markdown, "markdown", "", "write one Markdown page for each kind into this `FOLDER`")
	return cmd
}

// listKinds prints every kind with the first sentence of its description.
func (a *app) listKinds(catalog *stages.Catalog) error {
	if a.json {
		list := []stages.Reference{}
		for _, k := range catalog.Kinds() {
			list = append(list, stages.NewReference(k))
		}
		return a.printJSON(list)
	}
	const names = 10 // columns
	for _, k := range catalog.Kinds() {
		lines := wrapped(firstSentence(k.Doc), min(width(a.out), 110)-names)
		fmt.Fprintf(a.out, "%s%*s%s\n", a.paint(a.out, bold, k.Name), names-len(k.Name), "", lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(a.out, "%*s%s\n", names, "", line)
		}
	}
	fmt.Fprintln(a.out, "\ndarkroom stages KIND shows one in full.")
	return nil
}

// writeReference writes a page for each kind and an index, and removes the pages of kinds that are gone.
func writeReference(folder string, catalog *stages.Catalog) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return lackingf("making the folder for the reference: %w", err)
	}
	pages := map[string]string{}
	var index strings.Builder
	index.WriteString("# The kinds of stages\n\nGenerated from the schemas by `make docs`; not written by hand.\n\n| kind | what it does |\n| --- | --- |\n")
	for _, k := range catalog.Kinds() {
		pages[k.Name+".md"] = stages.NewReference(k).Markdown()
		fmt.Fprintf(&index, "| [%s](%s.md) | %s |\n", k.Name, k.Name, firstSentence(k.Doc))
	}
	pages["README.md"] = index.String()
	old, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		return wrongf("folder %s: %w", folder, err)
	}
	for _, path := range old {
		if _, kept := pages[filepath.Base(path)]; !kept {
			if err := os.Remove(path); err != nil {
				return lackingf("removing the page of a kind that is gone: %w", err)
			}
		}
	}
	for _, name := range sortedKeys(pages) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(pages[name]), 0o666); err != nil {
			return lackingf("writing the reference: %w", err)
		}
	}
	return nil
}

func firstSentence(doc string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	if first, _, found := strings.Cut(doc, ". "); found {
		return first + "."
	}
	return doc
}
