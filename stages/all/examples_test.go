package all

import (
	"testing"

	"github.com/darkroom-dev/darkroom/dsl"
)

// fromElsewhere are the problems that an example may have, since it shows one stage of a pipeline.
var fromElsewhere = map[string]bool{"Reference to a missing stage": true, "Unknown name": true, "Unknown variable": true, "Unknown runner": true}

// The example of each kind, shown on its reference page, is a text that the kind itself accepts.
func TestExamplesOfKinds(t *testing.T) {
	catalog := Catalog()
	for _, k := range catalog.Kinds() {
		text := []byte(k.Example + "\n")
		if k.Example == "" {
			t.Errorf("%s has no example", k.Name)
			continue
		}
		_, diagnostics := dsl.LoadSources(map[string][]byte{"example.hcl": text}, nil, t.TempDir(), catalog)
		for _, d := range diagnostics {
			if d.Severity == dsl.SeverityError && !fromElsewhere[d.Summary] {
				t.Errorf("the example of %s, line %d: %s: %s", k.Name, d.Line, d.Summary, d.Detail)
			}
		}
	}
}
