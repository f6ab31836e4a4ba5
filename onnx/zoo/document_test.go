package zoo

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/zoo.md anew")

// docs/zoo.md is made from the architectures.
func TestDocumentation(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "zoo.md")
	text := document()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(path); err != nil || string(have) != text {
		t.Errorf("docs/zoo.md is not what the architectures give; run go test ./onnx/zoo -update (%v)", err)
	}
}

func document() string {
	var b strings.Builder
	b.WriteString(`# The zoo

Made from onnx/zoo by ` + "`go test ./onnx/zoo -update`" + `; do not edit.

Each name is an architecture that ` + "`train`" + ` builds with fresh weights, drawn as the reference implementation draws them. **Parameters** is the number
of trained weights for that many classes and images with that side: exactly the published one, which a test holds. **From** is the least side in pixels.

Below 64 pixels the networks for large images keep more of the image: the first convolution has stride 1 (ResNet: 3×3, and no pooling), and ConvNeXt and
Swin cut patches 2 pixels apart. A ViT cuts patches of the largest of 16, 8, 4 and 2 pixels that gives 7 or more on a side.

## Weights from elsewhere
Weights have the names of the reference implementation: ` + "`layer1.0.bn1.running_mean`" + `. So the state dictionary of its pre-trained model, saved as a safetensors file, loads by
name, and so does an ONNX file with such names; what differs in its dimensions (a classifier for other classes, the position embedding of a ViT for another
size), is missing or is not used is listed. One difference is bridged: the matrices of dense layers over tokens are (inputs, outputs) here and (outputs, inputs) in PyTorch.
The tests load the weights of each reference implementation and compare the logits with PyTorch's within 1e-4.
`)
	for _, f := range families {
		fmt.Fprintf(&b, "\n## %s\nReference: %s.\n\n| name | parameters | classes | side | from | dropout |\n| --- | ---: | ---: | ---: | ---: | ---: |\n", f.title, f.reference)
		for _, a := range f.architectures {
			dropout := ""
			if a.dropout > 0 {
				dropout = strconv.FormatFloat(a.dropout, 'g', -1, 64)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %d | %d | %d | %s |\n", a.name, thousands(a.parameters), a.classes, a.size, a.minimum, dropout)
		}
	}
	return b.String()
}

// thousands writes 11,689,512.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
