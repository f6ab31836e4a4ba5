package importer

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"image/jpeg"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Names of an archive's entries that are no text get one that is, as those of files do.
func TestNamesInArchives(t *testing.T) {
	members := []member{{name: "caf\xe9/a\xff.gif", content: gifImage}, {name: "b/x.gif", content: gifImage}}
	for name, b := range map[string][]byte{"zip": zipOf(t, members...), "tar": tarOf(t, members...)} {
		got, err := importAll(t, archiveFile(t, b), Options{Scratch: t.TempDir()})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := []string{"b/x.gif b", "caf%E9/a%FF.gif caf%E9"}; !slices.Equal(got.samples, want) {
			t.Errorf("%s: %v", name, got.samples)
		}
	}
}

// A JPEG file that ends anywhere is left out and named, wherever it was cut.
func TestCutJPEG(t *testing.T) {
	var whole bytes.Buffer
	m, err := jpegOf(40, 30)
	if err != nil {
		t.Fatal(err)
	}
	whole.Write(m)
	files := map[string]string{"a/whole.jpg": whole.String()}
	var want []string
	for _, n := range []int{1, 20, 200, whole.Len() / 2, whole.Len() - 2} {
		name := fmt.Sprintf("a/cut%d.jpg", n)
		files[name] = whole.String()[:n]
		want = append(want, "damaged_image "+name)
	}
	slices.Sort(want)
	got, err := importAll(t, folderOf(t, files), Options{Size: 8})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.samples, []string{"a/whole.jpg a"}) || !slices.Equal(got.found, want) {
		t.Errorf("read %v, found %v", got.samples, got.found)
	}
}

func jpegOf(w, h int) ([]byte, error) {
	m, err := Decode([]byte(gifImage), dataset.Info{Height: h, Width: w, Channels: 3})
	if err != nil {
		return nil, err
	}
	for i := range m {
		m[i] = byte(i * i)
	}
	var b bytes.Buffer
	err = jpeg.Encode(&b, pixelsOf(m, w, h), &jpeg.Options{Quality: 95})
	return b.Bytes(), err
}

// What changes between the listing and the reading of a source is a damaged record, and never another image.
func TestSourceChangesWhileItIsRead(t *testing.T) {
	pic := greyPNG(t, 10, 8, func(i int) byte { return byte(i * 37) })
	root := folderOf(t, map[string]string{"a/cut.png": pic, "a/gone.png": pic, "a/whole.png": pic, "b/whole.png": pic})
	m, err := Open(root, Folder, Options{Subset: "all"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Truncate(filepath.Join(root, "a/cut.png"), 40); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "a/gone.png")); err != nil {
		t.Fatal(err)
	}
	var read, bad []string
	for r, err := range records(m) {
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		read = append(read, r.ID)
	}
	if fmt.Sprint(read) != "[a/whole.png b/whole.png]" || len(bad) != 2 || !strings.Contains(bad[0], "a/cut.png") || !strings.Contains(bad[1], "a/gone.png") {
		t.Errorf("read %v, refused %q", read, bad)
	}

	at := archiveFile(t, tarOf(t, member{name: "a/1.png", content: pic}, member{name: "b/2.png", content: pic}))
	if m, err = Open(at, Folder, Options{Subset: "all"}); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Truncate(at, 3*512+40); err != nil {
		t.Fatal(err)
	}
	read, bad = nil, nil
	for r, err := range records(m) {
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		read = append(read, r.ID)
	}
	if fmt.Sprint(read) != "[a/1.png]" || len(bad) != 1 || !strings.Contains(bad[0], "b/2.png") {
		t.Errorf("of an archive that was cut: read %v, refused %q", read, bad)
	}
}

// A compressed archive that does not fit into the scratch folder is an error that names it, and nothing stays there. A child runs it, whose files
// are limited instead of the disk.
func TestFullScratch(t *testing.T) {
	if at := os.Getenv("FULL_SCRATCH"); at != "" {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 16, Max: 1 << 16}); err != nil {
			t.Fatal(err)
		}
		scratch := filepath.Dir(at)
		if _, err := Detect(at, Options{Scratch: scratch}); err == nil || !strings.Contains(err.Error(), "photos.tgz: expanding the archive") || !strings.Contains(err.Error(), "file too large") {
			t.Errorf("error %v", err)
		}
		if left, _ := os.ReadDir(scratch); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
		return
	}
	at := filepath.Join(t.TempDir(), "photos.tgz")
	if err := os.WriteFile(at, gzipped(t, tarOf(t, member{name: "a/x.bmp", content: strings.Repeat("0", 1<<20)})), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestFullScratch$")
	cmd.Env = append(os.Environ(), "FULL_SCRATCH="+at)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A gzip file that lies about what is in it is told by the record, however it ends.
func TestCutCompressedFiles(t *testing.T) {
	pic := greyPNG(t, 10, 8, flat)
	z := string(gzipped(t, []byte(pic)))
	if r, err := gzip.NewReader(strings.NewReader(z)); err != nil {
		t.Fatal(err)
	} else if b, err := io.ReadAll(r); err != nil || string(b) != pic {
		t.Fatal("the file is not whole")
	}
	got, err := importAll(t, folderOf(t, map[string]string{"a/1.png": pic, "a/2.png.gz": z, "a/3.png.gz": z[:len(z)-9], "a/4.png.gz": z[:12], "a/5.png.gz": ""}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.samples, []string{"a/1.png a", "a/2.png a"}) || !slices.Equal(got.found, []string{"damaged_image a/3.png", "damaged_image a/4.png", "damaged_image a/5.png"}) {
		t.Errorf("read %v, found %v", got.samples, got.found)
	}
}

// Masks that cannot be read make their image unusable, which is counted; those of other sizes and values are repaired, which is too.
func TestOddMasks(t *testing.T) {
	pic := greyPNG(t, 10, 8, flat)
	mask := greyPNG(t, 10, 8, func(i int) byte { return byte(i % 2 * 255) })
	got, err := importAll(t, folderOf(t, map[string]string{
		"images/a.png": pic, "masks/a.png": mask,
		"images/cut.png": pic, "masks/cut.png": mask[:len(mask)/2],
		"images/empty.png": pic, "masks/empty.png": "",
		"images/small.png": pic, "masks/small.png": greyPNG(t, 1, 1, func(int) byte { return 255 }),
		"images/grey.png": pic, "masks/grey.png": greyPNG(t, 10, 8, func(i int) byte { return byte(i) }),
		"images/none.png": pic, "masks/of_nothing.png": mask,
	}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"annotation_without_image masks/of_nothing.png", "damaged_annotation images/cut.png", "damaged_annotation images/empty.png",
		"image_without_annotation images/none.png", "mask_not_binary images/grey.png", "mask_size images/small.png"}
	if !slices.Equal(got.found, want) {
		t.Errorf("found %v", got.found)
	}
	if len(got.samples) != 4 || !bytes.Equal(got.masks["images/small.png"], bytes.Repeat([]byte{1}, 80)) {
		t.Errorf("read %v", got.samples)
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte(greyPNG(f, 3, 2, func(i int) byte { return byte(i) })), 3, 2)
	f.Add([]byte(gifImage), 5, 1)
	f.Add([]byte{}, 1, 1)
	f.Fuzz(func(t *testing.T, file []byte, w, h int) {
		if w < 1 || h < 1 || w > 64 || h > 64 {
			return
		}
		root := folderOf(t, map[string]string{"masks/a.png": string(file)})
		s, err := list(root, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []maskReader{{source: s, classes: 2, threshold: 127}, {source: s, classes: 3, ids: true}} {
			mask, _, err := r.mask("masks/a.png", h, w)
			if err != nil {
				continue
			}
			if len(mask) != h*w {
				t.Fatalf("a mask of %d pixels for %d×%d", len(mask), w, h)
			}
			for _, v := range mask {
				if int(v) >= r.classes && v != dataset.Ignore {
					t.Fatalf("the value %d of %d classes", v, r.classes)
				}
			}
		}
	})
}

// Run lengths that are taken give a mask whose outline gives it again.
func FuzzRuns(f *testing.F) {
	f.Add("0170P2", 8, 10, true)
	f.Add("9", 3, 3, false)
	f.Add("e2i0?00000K", 10, 20, true)
	f.Fuzz(func(t *testing.T, text string, h, w int, columns bool) {
		counts, err := cocoCounts(text)
		if err != nil || h > 64 || w > 64 {
			return
		}
		mask, err := runs(counts, h, w, columns)
		if err != nil {
			return
		}
		again := make([]byte, h*w)
		fill(again, h, w, outline(mask, h, w, 0, 0), 1)
		if !bytes.Equal(mask, again) {
			t.Fatalf("%v becomes %v", mask, again)
		}
	})
}

func FuzzWebDataset(f *testing.F) {
	pic := greyPNG(f, 3, 2, flat)
	f.Add("10\n", `{"label": 1, "k": [1.5]}`, "a cat", "x\ny")
	f.Add("", "{", "\xff", "")
	f.Fuzz(func(t *testing.T, class, object, caption, names string) {
		survive(t, map[string]string{"s.tar": string(tarOf(t, member{name: "1.png", content: pic}, member{name: "1.cls", content: class}, member{name: "2.png", content: pic}, member{name: "2.json", content: object},
			member{name: "2.txt", content: caption})), "classes.txt": names}, WebDataset)
	})
}
