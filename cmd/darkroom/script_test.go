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
	small, err := filepath.Abs(filepath.Join("..", "..", "testdata", "small.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		UpdateScripts:       os.Getenv("DARKROOM_UPDATE") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("SMALL", small)
			if libraryErr == nil {
				env.Setenv(ort.PathVariable, library)
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "onnxruntime" {
				return libraryErr == nil, nil
			}
			return false, errUnknownCondition(name)
		},
		Cmds: scriptCommands(),
	})
}
