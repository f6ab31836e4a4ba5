package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/darkroom-dev/darkroom/infer/ort"
)

// TestMain lets the test binary be the command, its workers included.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"darkroom": main})
}

// TestScripts runs the user stories in testdata/script over the command. DARKROOM_UPDATE=1 rewrites what they expect.
func TestScripts(t *testing.T) {
	library, libraryErr := ort.Find()
	if libraryErr == nil {
		var err error
		if library, err = filepath.Abs(library); err != nil {
			t.Fatal(err)
		}
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	data := os.Getenv("DARKROOM_DATA")
	if data == "" {
		data = filepath.Join(root, "..", "shared", "data")
	}
	_, dataErr := os.Stat(data)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join(root, "testdata", "script"),
		UpdateScripts:       os.Getenv("DARKROOM_UPDATE") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("SMALL", filepath.Join(root, "testdata", "small.hcl"))
			env.Setenv("EXAMPLES", filepath.Join(root, "pipelines"))
			env.Setenv("DATA", data)
			if libraryErr == nil {
				env.Setenv(ort.PathVariable, library)
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "onnxruntime":
				return libraryErr == nil, nil
			case "data": // the real data sets, which are not part of the repository
				return dataErr == nil, nil
			}
			return false, errUnknownCondition(name)
		},
		Cmds: scriptCommands(),
	})
}
