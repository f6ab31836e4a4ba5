package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"testing"
)

// packages lists every package of the module with what it imports outside of its tests.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", Module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	list := map[string][]string{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list[p.ImportPath] = p.Imports
	}
}

func TestArchitecture(t *testing.T) {
	list := packages(t)
	if len(list) < 5 {
		t.Fatalf("go list found only %d packages", len(list))
	}
	for pkg, imports := range list {
		for _, imported := range imports {
			for _, rule := range Rules() {
				if rule.Forbids(pkg, imported) {
					t.Errorf("%s must not import %s: %s", pkg, imported, rule.Why)
				}
			}
		}
	}
}

// TestRulesBite holds the rules themselves: each of these imports must be refused, or allowed.
func TestRulesBite(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		forbidden     bool
	}{
		{"artifact", Module + "/stages", true},
		{"stages", Module + "/artifact", false},
		{"stages", Module + "/engine", true},
		{"stages/train", Module + "/engine", true},
		{"stages/train", Module + "/learn", false},
		{"stages/train", Module + "/stages/split", true},
		{"stages/nas", Module + "/learn/cpu", true},
		{"stages/nas", Module + "/learn/device", false},
		{"stages/exec", Module + "/cache", true},
		{"engine", Module + "/dsl", true},
		{"engine", Module + "/runners/local", true},
		{"engine", Module + "/cache", false},
		{"cache", Module + "/engine", true},
		{"dsl", Module + "/cache", true},
		{"dsl", "github.com/hashicorp/hcl/v2", false},
		{"engine", "github.com/zclconf/go-cty/cty", true},
		{"dataset", Module + "/stages", true},
		{"learn", "github.com/gomlx/gomlx/core/graph", false},
		{"onnx", "github.com/gomlx/gomlx/core/graph", true},
		{"onnx", "github.com/gomlx/compute-onnx/support/protos", false},
		{"report", "github.com/gomlx/compute-onnx/support/protos", true},
		{"learn", "github.com/yalue/onnxruntime_go", true},
		{"learn/cpu", "github.com/yalue/onnxruntime_go", false},
		{"infer/ort", "github.com/yalue/onnxruntime_go", false},
		{"engine", Module + "/stages/all", true},
		{"cmd/darkroom", Module + "/stages/all", false},
		{"engine", "github.com/dgraph-io/badger/v4", true},
		{"engine", Module + "/cmd/darkroom", true},
	} {
		forbidden := false
		for _, rule := range Rules() {
			forbidden = forbidden || rule.Forbids(Module+"/"+c.pkg, c.imported)
		}
		if forbidden != c.forbidden {
			t.Errorf("%s importing %s: forbidden = %v, want %v", c.pkg, c.imported, forbidden, c.forbidden)
		}
	}
}
