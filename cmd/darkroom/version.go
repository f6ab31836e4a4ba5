package main

import (
	"cmp"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/infer/ort"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the version of darkroom and of what it computes with",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			library := ort.Version()
			if library == "onnxruntime" {
				library = "" // not found
			}
			if a.json {
				return a.printJSON(map[string]string{
					"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "onnxruntime": library,
				})
			}
			fmt.Fprintf(a.out, "darkroom %s (%s, %s/%s, %s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, cmp.Or(library, "no onnxruntime"))
			return nil
		},
	}
}
