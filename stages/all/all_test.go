package all

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every kind passes the conformance suite, which pins its results per version beside its test.
func TestEveryKindIsPinned(t *testing.T) {
	for _, k := range Catalog().Kinds() {
		paths, err := filepath.Glob(filepath.Join("..", k.Name, "testdata", "pinned*.json"))
		if err != nil || len(paths) == 0 {
			t.Errorf("the kind %s has no pinned digests: its test must call stagetest.Run", k.Name)
			continue
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var pinned map[string]map[string]string
			if err := json.Unmarshal(b, &pinned); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			found := false
			for class := range pinned {
				version, _, _ := strings.Cut(class, ",")
				found = found || version == fmt.Sprintf("version %d", k.Version)
			}
			if !found {
				t.Errorf("%s pins nothing for version %d of the kind %s", path, k.Version, k.Name)
			}
		}
	}
}
