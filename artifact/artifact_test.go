package artifact

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var digestA, digestB = DigestBytes([]byte("a")), DigestBytes([]byte("b"))

func TestDigestIsBLAKE3(t *testing.T) {
	// Test vector of the BLAKE3 specification: the empty input.
	if got := DigestBytes(nil); got != "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262" {
		t.Fatalf("digest of nothing = %s", got)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, n, err := DigestFile(path)
	if err != nil || d != digestA || n != 1 {
		t.Fatalf("DigestFile = %s, %d, %v", d, n, err)
	}
}

func TestTreeRoundTrip(t *testing.T) {
	tree, err := NewTree([]Entry{{"b/c", digestB, 1, true}, {"a", digestA, 1, false}})
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseTree(tree.Text())
	if err != nil || !reflect.DeepEqual(tree, back) {
		t.Fatalf("ParseTree = %v, %v", back, err)
	}
	if r := tree.Ref(Metrics); !r.Tree || r.Size != 2 || r.Digest != DigestBytes(tree.Text()) {
		t.Fatalf("Ref = %+v", r)
	}
}

func TestTreeRefusals(t *testing.T) {
	for name, es := range map[string][]Entry{
		"parent":          {{"../a", digestA, 1, false}},
		"absolute":        {{"/a", digestA, 1, false}},
		"newline":         {{"a\nb", digestA, 1, false}},
		"twice":           {{"a", digestA, 1, false}, {"a", digestB, 1, false}},
		"file and folder": {{"a", digestA, 1, false}, {"a-b", digestB, 1, false}, {"a/b", digestB, 1, false}},
		"digest":          {{"a", "xyz", 1, false}},
	} {
		if _, err := NewTree(es); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	tree, _ := NewTree([]Entry{{"b/c", digestB, 1, true}, {"a", digestA, 1, false}})
	f.Add(tree.Text())
	f.Add([]byte(treeHeader))
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, err := ParseTree(text)
		if err == nil && string(tree.Text()) != string(text) {
			t.Fatal("accepted text that is not canonical")
		}
	})
}

func TestRefJSON(t *testing.T) {
	r := Ref{Type: Model, Digest: digestA, Size: 3}
	b, _ := json.Marshal(r)
	var back Ref
	if err := json.Unmarshal(b, &back); err != nil || back != r {
		t.Fatalf("%s → %+v, %v", b, back, err)
	}
	for _, bad := range []string{`{"type":"modle","digest":"` + string(digestA) + `"}`, `{"type":"model","digest":"00"}`, strings.Replace(string(b), "3}", "-3}", 1)} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestWalkNamesALinkThatLeadsNowhere(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("missing", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	err := Walk(dir, func(string, fs.FileInfo) error { return nil })
	if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "link is a symbolic link that leads nowhere") {
		t.Errorf("error %v", err)
	}
}
