package ort

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/cpuid/v2"
)

// realLibrary returns the installed library, or skips: these tests need the one that `make setup` brings.
func realLibrary(t *testing.T) string {
	t.Helper()
	path, err := Find()
	if err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
	return path
}

func TestFindPrefersTheVariableAndDoesNotLookElsewhere(t *testing.T) {
	dir := t.TempDir()
	named := filepath.Join(dir, "mine.so")
	t.Setenv(PathVariable, named)
	if path, err := Find(); err == nil || !strings.Contains(err.Error(), PathVariable) || !strings.Contains(err.Error(), named) {
		t.Fatalf("Find with the variable naming no file = %q, %v; want an error that names both", path, err)
	}
	if err := os.WriteFile(named, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if path, err := Find(); err != nil || path != named {
		t.Fatalf("Find = %q, %v; want %q", path, err, named)
	}
}

func TestFindUsesTheCacheFolderAndNamesThePlaces(t *testing.T) {
	cache := t.TempDir()
	t.Setenv(PathVariable, "")
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	install, err := InstallPath()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Find(); err != nil {
		for _, want := range []string{install, "make setup", PathVariable} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not name %q", err, want)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(install), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(install, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if path, err := Find(); err != nil || path != install {
		t.Fatalf("Find = %q, %v; want %q", path, err, install)
	}
}

func TestCheckLibraryRefusesWhatWouldCrash(t *testing.T) {
	library := realLibrary(t)
	dir := t.TempDir()
	truncated := filepath.Join(dir, "truncated.so")
	copyHead(t, library, truncated, 8<<20)
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.so")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{truncated, "truncated"},
		{text, "not a shared library"},
		{empty, "not a shared library"},
		{filepath.Join(dir, "absent.so"), "no such file"},
		{os.Args[0], "OrtGetApiBase"},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			err := checkLibrary(c.path)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %q does not contain %q", err, c.want)
			}
		})
	}
	if err := checkLibrary(library); err != nil {
		t.Fatalf("the installed library is refused: %v", err)
	}
}

func copyHead(t *testing.T, from, to string, bytes int64) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(out, in, bytes); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestInit also shows that a failed Init can be tried again, and that concurrent callers all see it done.
func TestInit(t *testing.T) {
	library := realLibrary(t)
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv(PathVariable, text)
	if err := Init(); err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("Init with a text file = %v; want an error that names it", err)
	}
	t.Setenv(PathVariable, library)
	before := Version()
	var wait sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wait.Go(func() { errs[i] = Init() })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if after := Version(); after != before || !strings.HasPrefix(after, "onnxruntime 1.") {
		t.Fatalf("Version is %q by the file and %q once loaded; want the same, onnxruntime 1.x", before, after)
	}
}

func TestClass(t *testing.T) {
	core := []cpuid.FeatureID{cpuid.AVX, cpuid.AVX2, cpuid.FMA3, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL}
	for _, c := range []struct {
		arch string
		has  []cpuid.FeatureID
		want string
	}{
		{"amd64", nil, "sse"},
		{"amd64", []cpuid.FeatureID{cpuid.AVX}, "avx"},
		{"amd64", []cpuid.FeatureID{cpuid.AVX, cpuid.AVX2}, "avx"},
		{"amd64", core[:3], "avx2"},
		{"amd64", append(slices.Clone(core[:3]), cpuid.AVXVNNI), "avx_vnni"},
		{"amd64", core[:4], "avx512"},
		{"amd64", core, "avx512"},
		{"amd64", append(slices.Clone(core), cpuid.AVX512VNNI), "avx512_vnni"},
		{"amd64", append(slices.Clone(core), cpuid.AVX512VNNI, cpuid.AMXTILE, cpuid.AMXINT8), "amx"},
		{"arm64", nil, "arm64"},
		{"arm64", []cpuid.FeatureID{cpuid.ASIMDDP}, "arm64_dot"},
		{"arm64", []cpuid.FeatureID{cpuid.ASIMDDP, cpuid.I8MM}, "arm64_i8mm"},
		{"riscv64", nil, "riscv64"},
	} {
		has := func(ids ...cpuid.FeatureID) bool {
			for _, id := range ids {
				if !slices.Contains(c.has, id) {
					return false
				}
			}
			return true
		}
		if got := class(c.arch, has); got != c.want {
			t.Errorf("class(%s, %v) = %q; want %q", c.arch, c.has, got, c.want)
		}
	}
}

func TestTwoBuildsOfOneReleaseAreTwoVersions(t *testing.T) {
	library, err := Find()
	if err != nil {
		t.Skip(err)
	}
	id := buildID(library)
	if id == "" {
		t.Skip("the library has no build identity")
	}
	b, err := os.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, append([]byte("GNU\x00"), raw...))
	if at < 0 {
		t.Fatal("the build identity is not where it was read from")
	}
	b[at+4] ^= 0xff
	other := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(other, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := buildID(other); got == id || len(got) != 8 {
		t.Errorf("another build has the identity %q, this one %q", got, id)
	}
	if !IsRelease("onnxruntime "+Release+"+"+id) || !IsRelease("onnxruntime "+Release) || IsRelease("onnxruntime 1.2.3+"+id) {
		t.Error("the release is not told from the build")
	}
}
