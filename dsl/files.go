package dsl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// textFile is one file of the pipeline, or of variables.
type textFile struct {
	name  string // relative to the pipeline's folder, forward slashes
	text  []byte
	body  *hclsyntax.Body // nil when it could not be parsed, or for a file of variables
	split []string
}

func (f *textFile) lines() []string {
	if f.split == nil {
		f.split = strings.Split(string(f.text), "\n")
		for i, line := range f.split {
			f.split[i] = strings.ToValidUTF8(strings.TrimSuffix(line, "\r"), "\uFFFD")
		}
	}
	return f.split
}

// locate returns the pipeline's folder and the names of its files in it.
func (l *loader) locate(path string) (dir string, names []string) {
	fail := func(summary, format string, args ...any) (string, []string) {
		l.problemf(hcl.Range{}, summary, format, args...)
		return "", nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fail("Pipeline cannot be read", "The path %s cannot be resolved: %v.", path, err)
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("Pipeline not found", "There is no file or folder %s. Name a pipeline file, or a folder with .hcl files; `darkroom init` writes a first one.", path)
	case err != nil:
		return fail("Pipeline cannot be read", "%s cannot be opened: %v.", path, plain(err))
	case !info.IsDir():
		return filepath.Dir(abs), []string{filepath.Base(abs)}
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return fail("Pipeline cannot be read", "The folder %s cannot be listed: %v.", path, plain(err))
	}
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".hcl") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return fail("Folder without a pipeline", "The folder %s holds no .hcl file. Name another folder or a file; `darkroom init` writes a first pipeline.", path)
	}
	return abs, names
}

// defaultName is the pipeline's name where it gives itself none.
func defaultName(path string, names []string) string {
	if len(names) == 1 && filepath.Base(path) == names[0] {
		return strings.TrimSuffix(names[0], ".hcl")
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Base(path)
}

// plain drops the operation and path that a file system error repeats.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (l *loader) readFile(name string) {
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.problemf(hcl.Range{Filename: name}, "Pipeline cannot be read", "The file %s cannot be read: %v.", name, plain(err))
		return
	}
	l.addText(name, text)
}

// addText parses one file of the pipeline.
func (l *loader) addText(name string, text []byte) {
	f := &textFile{name: name, text: lineBreaks(text)}
	l.files[name] = f
	if l.checkText(f) {
		parsed, diags := hclsyntax.ParseConfig(f.text, name, hcl.InitialPos)
		l.addHCL(syntaxErrors(diags), "")
		if !diags.HasErrors() {
			f.body = parsed.Body.(*hclsyntax.Body)
			l.checkNumbers(f)
		}
	}
}

// lineBreaks makes a text that was saved with the line breaks of Windows mean the same, here-documents included.
func lineBreaks(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) }

// maxNesting bounds how deep brackets, blocks, templates and operators may nest. The parser recurses, so that a file
// of opening brackets alone would end the process.
const maxNesting = 100

// checkText refuses text that must not reach the parser.
func (l *loader) checkText(f *textFile) bool {
	if !utf8.Valid(f.text) {
		at := firstInvalid(f.text)
		l.problem(rangeAt(f, at), "", "Not UTF-8 text", "The file holds bytes that are not UTF-8. Save it as UTF-8; a binary file named by mistake can look like this too.")
		return false
	}
	if bytes.HasPrefix(f.text, []byte("\xef\xbb\xbf")) {
		l.problem(rangeAt(f, 0), "", "Byte order mark", "The file begins with a byte order mark. Save it as UTF-8 without one.")
		return false
	}
	if at, deep := tooDeep(f.text, f.name); deep {
		l.problem(at, "", "Nesting too deep", fmt.Sprintf("Brackets, blocks or operators nest more than %d levels deep here. Use locals to give names to the parts.", maxNesting))
		return false
	}
	return true
}

func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(text)
}

// rangeAt is the one-character range at byte offset at.
func rangeAt(f *textFile, at int) hcl.Range {
	before := f.text[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	start := hcl.Pos{Line: line, Column: column, Byte: at}
	return hcl.Range{Filename: f.name, Start: start, End: hcl.Pos{Line: line, Column: column + 1, Byte: at + 1}}
}

// tooDeep reports where nesting passes maxNesting. Besides brackets it counts runs of prefix and conditional operators,
// for which the parser recurses too.
func tooDeep(text []byte, name string) (hcl.Range, bool) {
	if n := bytes.Count(text, []byte("(")) + bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{")) +
		bytes.Count(text, []byte("!")) + bytes.Count(text, []byte("-")) + bytes.Count(text, []byte("?")); n <= maxNesting {
		return hcl.Range{}, false
	}
	tokens, _ := hclsyntax.LexConfig(text, name, hcl.InitialPos)
	depth, prefixes, conditions := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
			depth = max(0, depth-1)
		case hclsyntax.TokenQuestion:
			conditions++
		case hclsyntax.TokenNewline:
			conditions = 0
		}
		if t.Type == hclsyntax.TokenBang || t.Type == hclsyntax.TokenMinus {
			prefixes++
		} else {
			prefixes = 0
		}
		if depth > maxNesting || prefixes > maxNesting || conditions > maxNesting {
			return t.Range, true
		}
	}
	return hcl.Range{}, false
}

// Names in Sources that are not files of the pipeline but what loading it has read besides.
const nameReading = "name()"

func isReading(name string) bool { return strings.HasSuffix(name, ")") && strings.Contains(name, "(") }

func fileReading(name string) string { return "file(" + name + ")" }
func globReading(name string) string { return "glob(" + name + ")" }

// readings answers file() and glob() and remembers the answers, so that the same text gives the same pipeline later and
// elsewhere.
type readings struct {
	dir    string
	stored bool
	known  map[string][]byte // by fileReading or globReading
}

// newReadings reads from dir, or, when sources are given, from what an earlier load has remembered.
func newReadings(dir string, sources map[string][]byte) *readings {
	r := &readings{dir: dir, stored: sources != nil, known: map[string][]byte{}}
	for name, text := range sources {
		if isReading(name) && name != nameReading {
			r.known[name] = text
		}
	}
	return r
}

// errNotStored says that a stored pipeline asks for a file that it did not read when it was loaded first.
var errNotStored = errors.New("its content was not stored with the pipeline: a path given to file() or glob() must not depend on the values of stages")

const maxReading = 16 << 20

func (r *readings) file(name string) ([]byte, error) {
	if text, ok := r.known[fileReading(name)]; ok {
		return text, nil
	}
	if r.stored {
		return nil, errNotStored
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.dir, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s; paths are relative to the pipeline's folder", name)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", name, plain(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", name)
	case info.Size() > maxReading:
		return nil, fmt.Errorf("%s is larger than 16 MiB; give large files to a stage as a source", name)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, plain(err))
	}
	r.known[fileReading(name)] = text
	return text, nil
}

// literally makes a path a pattern that matches it alone.
var literally = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)

// glob returns the matching paths as they would be written in the pipeline, sorted.
func (r *readings) glob(pattern string) ([]string, error) {
	text, ok := r.known[globReading(pattern)]
	if !ok {
		if r.stored {
			return nil, errNotStored
		}
		full := pattern
		if !filepath.IsAbs(full) {
			full = literally.Replace(r.dir) + string(filepath.Separator) + pattern
		}
		paths, err := filepath.Glob(full)
		if err != nil {
			return nil, fmt.Errorf("%q is not a pattern: * stands for any part of a name, ? for one character, [a-z] for one of several", pattern)
		}
		for i, p := range paths {
			if rel, err := filepath.Rel(r.dir, p); err == nil && !filepath.IsAbs(pattern) {
				paths[i] = filepath.ToSlash(rel)
			}
		}
		sort.Strings(paths)
		text = []byte(strings.Join(paths, "\n"))
		r.known[globReading(pattern)] = text
	}
	if len(text) == 0 {
		return nil, nil
	}
	return strings.Split(string(text), "\n"), nil
}

// sources is what LoadSources needs to make the pipeline again.
func (l *loader) sources(name string) map[string][]byte {
	out := map[string][]byte{nameReading: []byte(name)}
	for _, f := range l.files {
		if f.body != nil {
			out[f.name] = f.text
		}
	}
	for key, text := range l.reads.known {
		out[key] = text
	}
	return out
}
