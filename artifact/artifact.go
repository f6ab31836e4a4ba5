// Package artifact names what flows between stages: immutable files and trees, identified by their content.
//
// Rules of the room: standard library and the digest function only; nothing here knows of stages, caches or engines;
// every type is a value, immutable once made, and has one canonical text form that is safe to put into a key.
package artifact

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/zeebo/blake3"
)

// Type says what an artifact holds, so that a port can refuse what it cannot read.
type Type string

// The artifact types. File and Folder are for artifacts whose meaning darkroom does not know.
const (
	Dataset Type = "dataset"
	Model   Type = "model"
	Engine  Type = "engine"
	Metrics Type = "metrics"
	Table   Type = "table"
	Report  Type = "report"
	Image   Type = "image"
	File    Type = "file"
	Folder  Type = "folder"
)

// Types lists every artifact type in the order in which the documentation shows them.
func Types() []Type {
	return []Type{Dataset, Model, Engine, Metrics, Table, Report, Image, File, Folder}
}

// ParseType returns the type of that name.
func ParseType(name string) (Type, error) {
	for _, t := range Types() {
		if string(t) == name {
			return t, nil
		}
	}
	return "", fmt.Errorf("unknown artifact type %q", name)
}

// Accepts reports whether a port of type t takes an artifact of type from. A file port takes every single-file
// artifact and a folder port every tree; whether the artifact is a tree is checked where its Ref is at hand.
func (t Type) Accepts(from Type) bool {
	return t == from || t == File || t == Folder
}

// Digest is the BLAKE3-256 digest of a blob: 64 lower-case hexadecimal digits. The zero value is "".
type Digest string

// Short returns the first 12 digits, for people.
func (d Digest) Short() string {
	if len(d) < 12 {
		return string(d)
	}
	return string(d[:12])
}

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool {
	if len(d) != 64 {
		return false
	}
	return strings.Trim(string(d), "0123456789abcdef") == ""
}

// DigestBytes returns the digest of b.
func DigestBytes(b []byte) Digest {
	sum := blake3.Sum256(b)
	return Digest(hex.EncodeToString(sum[:]))
}

// buffers are shared, since making one for each costs more than digesting a small file.
var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

// DigestReader returns the digest of everything r yields, and its length in bytes.
func DigestReader(r io.Reader) (Digest, int64, error) {
	h := blake3.New()
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, *buffer)
	if err != nil {
		return "", n, err
	}
	return Digest(hex.EncodeToString(h.Sum(nil))), n, nil
}

// DigestFile returns the digest and length of the regular file at path.
func DigestFile(path string) (Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	d, n, err := DigestReader(f)
	if err != nil {
		return "", n, fmt.Errorf("reading %s: %w", path, err)
	}
	return d, n, nil
}

// Ref identifies an artifact. Of a tree, Digest is the digest of its manifest's text and Size the sum of its files.
type Ref struct {
	Type   Type   `json:"type"`
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	Tree   bool   `json:"tree,omitempty"`
}

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r.Digest == "" }

// String returns the canonical text, `model:3f2a…`, with the full digest; `model/:…` for a tree.
func (r Ref) String() string {
	tree := ""
	if r.Tree {
		tree = "/"
	}
	return string(r.Type) + tree + ":" + string(r.Digest)
}

// UnmarshalJSON refuses a reference whose type or digest has not the right form.
func (r *Ref) UnmarshalJSON(b []byte) error {
	type plain Ref
	var p plain
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	if _, err := ParseType(string(p.Type)); err != nil {
		return err
	}
	if !p.Digest.Valid() {
		return fmt.Errorf("digest %q is not 64 hexadecimal digits", p.Digest)
	}
	if p.Size < 0 {
		return fmt.Errorf("artifact size %d is negative", p.Size)
	}
	*r = Ref(p)
	return nil
}
