package importer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// gifImage is a picture of 1×1 pixels.
const gifImage = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// xzTar is a tar archive of a/x.gif and b/y.gif, compressed with the delta filter by Python's lzma:
// lzma.compress(tar, filters=[{"id": FILTER_DELTA, "dist": 3}, {"id": FILTER_LZMA2, "preset": 6}]).
const xzTar = "/Td6WFoAAATm1rRGAgEDAQIhARby6M1E4Cf/AKJdADCLywzrQ3OJ3kO96MdyybLk4G6J+P5O7/7PqRgixJgT/aLwUnoNHv1UGYVGl7HFLeepQtHGrJ96Y9M8J480gBrrkXtnDA7g7HeNJEUyvW3ATNphhoyAwqX4I7zYmz+bHQoMirnUPOLa+0UbhNR4R5WdqOWPAbr35+LKlhJVBoNJ3JeFpkx//zKWYn9MZKFUtkjcfwkVljI2fi1sqzB4PmvuQAAAACSkz+pu5kfPAAG+AYBQAADjFxBfscRn+wIAAAAABFla"

// member is a file of an archive.
type member struct {
	name, content string
	link          string // where a link leads
}

var twoClasses = []member{{name: "a/x.gif", content: gifImage}, {name: "b/y.gif", content: gifImage}}

func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), Typeflag: tar.TypeReg}
		if m.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		content := m.content
		if m.link != "" {
			h.SetMode(os.ModeSymlink | 0o777)
			content = m.link
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t *testing.T, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(content, nil)
}

// archiveFile writes the bytes of an archive and returns its path; the name tells nothing.
func archiveFile(t *testing.T, b []byte) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "photos.bin")
	if err := os.WriteFile(at, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

func TestArchivesAreReadInPlace(t *testing.T) {
	plain := tarOf(t, twoClasses...)
	xz, err := base64.StdEncoding.DecodeString(xzTar)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"zip": zipOf(t, twoClasses...), "tar": plain, "tar.gz": gzipped(t, plain), "tar.zst": zstandard(t, plain), "tar.xz with a delta filter": xz,
	} {
		t.Run(name, func(t *testing.T) {
			scratch := t.TempDir()
			o := Options{Subset: "all", Scratch: scratch}
			at := archiveFile(t, b)
			format, err := Detect(at, o)
			if err != nil || format != Folder {
				t.Fatalf("detected %q: %v", format, err)
			}
			m, err := Open(at, format, o)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			for range 2 { // records can be walked twice
				var got []string
				for r, err := range records(m) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, fmt.Sprintf("%s %d %v", r.ID, r.Label, r.Image))
				}
				if s := strings.Join(got, ", "); s != "a/x.gif 0 [0 0 0], b/y.gif 1 [0 0 0]" {
					t.Errorf("got %s", s)
				}
			}
			if left, _ := os.ReadDir(scratch); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestHostileArchives(t *testing.T) {
	big := gifImage + strings.Repeat("0", 1<<20-len(gifImage))
	lying := zipOf(t, member{name: "a/x.gif", content: big})
	for i := range len(lying) - 4 { // both headers declare 100 bytes for what expands to 1 MiB
		if bytes.Equal(lying[i:i+4], []byte{0, 0, 0x10, 0}) {
			copy(lying[i:], []byte{100, 0, 0, 0})
		}
	}
	encrypted := zipOf(t, twoClasses...)
	for i := range len(encrypted) - 10 {
		if bytes.Equal(encrypted[i:i+4], []byte("PK\x01\x02")) {
			encrypted[i+8] |= 1
		}
	}
	cut := tarOf(t, member{name: "a/x.gif", content: big})
	for _, c := range []struct {
		about string
		b     []byte
		err   string
	}{
		{"zip with ..", zipOf(t, member{name: "../x.gif", content: gifImage}), `leads out of the archive`},
		{"zip with an inner ..", zipOf(t, member{name: "a/../../x.gif", content: gifImage}), `leads out of the archive`},
		{"zip with an absolute name", zipOf(t, member{name: "/etc/x.gif", content: gifImage}), `leads out of the archive`},
		{"zip with a drive", zipOf(t, member{name: `c:x.gif`, content: gifImage}), `leads out of the archive`},
		{"zip with a backslash", zipOf(t, member{name: `..\x.gif`, content: gifImage}), `leads out of the archive`},
		{"tar with ..", tarOf(t, member{name: "../x.gif", content: gifImage}), `leads out of the archive`},
		{"tar with an absolute name", tarOf(t, member{name: "/x.gif", content: gifImage}), `leads out of the archive`},
		{"zip with a link", zipOf(t, member{name: "a/x.gif", link: "/etc/passwd"}), `is a link or a device`},
		{"tar with a link", tarOf(t, member{name: "a/x.gif", link: "/etc/passwd"}), `is a link or a device`},
		{"zip with a name twice", zipOf(t, twoClasses[0], twoClasses[0]), `holds the file a/x.gif twice`},
		{"tar with a name twice", tarOf(t, twoClasses[0], twoClasses[0]), `holds the file a/x.gif twice`},
		{"a zip that lies about sizes", lying, `none of the 1 pictures can be read`},
		{"an encrypted zip", encrypted, `is encrypted`},
		{"a cut zip", zipOf(t, twoClasses...)[:100], `cannot be read`},
		{"a cut tar", cut[:len(cut)/2], `ends within the entry "a/x.gif"`},
		{"a cut tar.gz", gzipped(t, cut)[:1000], `unexpected EOF`},
		{"an empty zip", zipOf(t), `holds 0 files`},
	} {
		at := archiveFile(t, c.b)
		o := Options{Subset: "all", Scratch: t.TempDir()}
		_, err := Detect(at, o)
		if err == nil {
			var m *Images
			if m, err = Open(at, Folder, o); err == nil {
				for _, e := range records(m) {
					err = e
				}
				m.Close()
			}
		}
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.about, err)
		}
	}
}

// TestBomb packs 300 MiB of zeroes.
func TestBomb(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("a/zeroes.bmp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, zeroes{}, minExpanded+1); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	at := archiveFile(t, b.Bytes())
	if _, err := Detect(at, Options{Scratch: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "expands too far") {
		t.Errorf("a zip bomb: %v", err)
	}
	if _, err := Detect(at, Options{Scratch: t.TempDir(), MaxExpansion: 2000}); err != nil {
		t.Errorf("with a larger limit: %v", err)
	}
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	head := tarOf(t, twoClasses[0])
	if _, err := io.Copy(g, io.MultiReader(bytes.NewReader(head[:1024]), io.LimitReader(zeroes{}, minExpanded))); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	if _, err := Detect(archiveFile(t, z.Bytes()), Options{Scratch: scratch}); err == nil || !strings.Contains(err.Error(), "max_expansion") {
		t.Errorf("a bomb in tar.gz: %v", err)
	}
	if left, _ := os.ReadDir(scratch); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Names that are no text get one that is, and the plain file wins over its compressed form.
func TestNames(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"caf\xe9/a\xff.gif": gifImage, "b/x.gif": gifImage, "b/x.gif.gz": "damaged", "b/z.gif.gz": string(gzipped(t, []byte(gifImage)))} {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Skipf("the file system refuses such names: %v", err)
		}
	}
	m, err := Open(root, Folder, Options{Subset: "all"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var ids []string
	for r, err := range records(m) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if got := fmt.Sprint(ids, m.Info.Classes); got != "[b/x.gif b/z.gif caf%E9/a%FF.gif] [b caf%E9]" {
		t.Error(got)
	}
}

func FuzzArchive(f *testing.F) {
	t := &testing.T{}
	f.Add(zipOf(t, twoClasses...))
	f.Add(tarOf(t, twoClasses...))
	f.Add(gzipped(t, tarOf(t, twoClasses...)))
	f.Add(zstandard(t, tarOf(t, twoClasses...)))
	x, _ := base64.StdEncoding.DecodeString(xzTar)
	f.Add(x)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		at := filepath.Join(dir, "photos")
		if err := os.WriteFile(at, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := list(at, Options{Scratch: dir})
		if err != nil {
			return
		}
		defer s.Close()
		for _, name := range s.files {
			if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "..") {
				t.Fatalf("the name %q", name)
			}
			if b, err := s.read(name, 1<<16); err == nil {
				_ = crc32.ChecksumIEEE(b)
			}
		}
	})
}

// The real files, where they are present: all 60,000 CIFAR images from their xz files with a delta filter.
func TestCompressedCIFAR(t *testing.T) {
	data := os.Getenv("DARKROOM_DATA")
	if data == "" {
		data = "../../../shared/data"
	}
	data = filepath.Join(data, "cifar-10")
	if _, err := os.Stat(data); err != nil {
		t.Skipf("the data set is not here: %v", err)
	}
	m, err := Open(data, CIFAR, Options{Subset: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	counts := make([]int, 10)
	for r, err := range records(m) {
		if err != nil {
			t.Fatal(err)
		}
		counts[r.Label]++
	}
	if fmt.Sprint(counts) != "[1000 1000 1000 1000 1000 1000 1000 1000 1000 1000]" {
		t.Error(counts)
	}
}
