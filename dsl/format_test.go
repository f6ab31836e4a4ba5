package dsl

import (
	"bytes"
	"testing"
)

func TestFormat(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"\n\n":                           "",
		"a=1":                            "a = 1\n",
		"x \"y\" {\na=1\nlonger =  2\n}": "x \"y\" {\n  a      = 1\n  longer = 2\n}\n",
		"a = 1   \n\n\n":                 "a = 1\n",
		"a = 1 # why  \n":                "a = 1 # why\n",
		"a = <<E\nkeep   \nE\n":          "a = <<E\nkeep   \nE\n",
		"a = 1\r\nb = 2\r\n":             "a = 1\nb = 2\n",
	} {
		got, diags := Format([]byte(in), "f.hcl")
		if len(diags) > 0 || string(got) != want {
			t.Errorf("Format(%q) = %q, %v", in, got, diags)
		}
	}
	if _, diags := Format([]byte("a = \n"), "f.hcl"); len(diags) == 0 || diags[0].File != "f.hcl" || diags[0].Line != 1 {
		t.Errorf("accepted text that does not parse: %v", diags)
	}
}

// FuzzFormat: what is formatted stays so, and formatting never changes whether text parses.
func FuzzFormat(f *testing.F) {
	f.Add([]byte(plainText))
	f.Add([]byte(sweepText))
	f.Add([]byte("a=1 # x\r\nb = <<-E\n  x  \n  E\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		once, diags := Format(text, "f.hcl")
		if diags.HasErrors() {
			return
		}
		twice, diags := Format(once, "f.hcl")
		if diags.HasErrors() || !bytes.Equal(once, twice) {
			t.Fatalf("%q\nonce:  %q\ntwice: %q\n%v", text, once, twice, diags)
		}
	})
}
