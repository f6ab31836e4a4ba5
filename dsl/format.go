package dsl

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format returns the text in canonical form: aligned, indented by two spaces, without blanks at the ends of lines, with
// one line break at the end. Text that does not parse is refused.
func Format(src []byte, filename string) ([]byte, Diagnostics) {
	l := newLoader(nil)
	src = lineBreaks(src)
	f := &textFile{name: filename, text: src}
	l.files[filename] = f
	if !l.checkText(f) {
		return nil, l.finish()
	}
	if _, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos); diags.HasErrors() {
		l.addHCL(syntaxErrors(diags), "")
		return nil, l.finish()
	}
	out := bytes.TrimRight(hclwrite.Format(src), "\n\r\t ")
	if len(out) > 0 {
		out = append(out, '\n')
	}
	return out, nil
}
