package ingest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/image/bmp"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func TestConformanceGenerator(t *testing.T) {
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Args: stages.Args{Values: map[string]any{"generator": "surfaces", "count": 300.0, "size": 24.0}}})
}

func TestConformanceFolder(t *testing.T) {
	stagetest.Run(t, stagetest.Fixture{
		Kind: Kind, PinFile: "testdata/pinned_folder.json",
		Args: stages.Args{Values: map[string]any{"size": 8.0, "on_error": "skip"}},
		Inputs: func(t *testing.T, dir string) map[string][]stages.Input {
			root := filepath.Join(dir, "photos")
			for name, b := range pictures(t) {
				put(t, root, name, b)
			}
			return map[string][]stages.Input{"source": {{Path: root, Ref: artifact.Ref{Type: artifact.Folder}}}}
		},
	})
}

// gradient is a coloured gradient of that size.
func gradient(w, h int) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{byte(20 * x), byte(20 * y), 200, 255})
		}
	}
	return m
}

func encoded(t *testing.T, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngOf(t *testing.T, m image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) })
}

// pictures are a small folder with every format that the standard library writes, and one damaged file.
func pictures(t *testing.T) map[string][]byte {
	m := gradient(10, 12)
	whole := pngOf(t, m)
	return map[string][]byte{
		"cat/a.png":        whole,
		"cat/deep/b.JPG":   encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, m, nil) }),
		"cat/cut.png":      whole[:len(whole)/2],
		"dog/c.gif":        encoded(t, func(b *bytes.Buffer) error { return gif.Encode(b, m, nil) }),
		"dog/d.bmp":        encoded(t, func(b *bytes.Buffer) error { return bmp.Encode(b, m) }),
		"dog/notes.txt":    []byte("not a picture"),
		"dog/.hidden.png":  []byte("nor this"),
		"bird/e.png":       pngOf(t, image.NewGray(image.Rect(0, 0, 4, 4))),
		"readme.md":        []byte("nor this"),
		"bird/Thumbs.db":   []byte{0},
		"dog/deeper/f.PNG": whole,
	}
}

func put(t *testing.T, root, name string, b []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// spoken keeps values.
type spoken struct {
	sync.Mutex
	values map[string]any
}

func (s *spoken) Progress(stages.Progress)     {}
func (s *spoken) Log(string)                   {}
func (s *spoken) Measure(string, float64)      {}
func (s *spoken) Value(name string, value any) { s.Lock(); s.values[name] = value; s.Unlock() }

// run executes the kind on a source and returns the dataset and the values.
func run(t *testing.T, source string, args map[string]any) (*dataset.Dataset, map[string]any, error) {
	t.Helper()
	stage := Kind.New()
	if _, problems := stages.Decode(stage, stages.Args{Values: args}, map[string]bool{"source": source != ""}); stages.HasErrors(problems) {
		return nil, nil, problems[0]
	}
	out := &spoken{values: map[string]any{}}
	job := (&stages.Job{OutDir: t.TempDir(), ScratchDir: t.TempDir()}).WithReporter(out)
	if source != "" {
		job.Inputs = map[string][]stages.Input{"source": {{Path: source}}}
	}
	if err := stage.Run(t.Context(), job); err != nil {
		return nil, nil, err
	}
	d, err := dataset.Open(job.Output("dataset"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, out.values, nil
}

// idx writes n images of 3×2 pixels with labels i modulo 3, and returns both files.
func idx(n int) (images, labels []byte) {
	images = binary.BigEndian.AppendUint32(nil, 0x803)
	for _, v := range []int{n, 2, 3} {
		images = binary.BigEndian.AppendUint32(images, uint32(v))
	}
	labels = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0x801), uint32(n))
	for i := range n {
		for p := range 6 {
			images = append(images, byte(10*i+p))
		}
		labels = append(labels, byte(i%3))
	}
	return images, labels
}

func TestIDX(t *testing.T) {
	root := t.TempDir()
	images, labels := idx(7)
	put(t, root, "train-images-idx3-ubyte", images)
	put(t, root, "train-labels-idx1-ubyte", labels)
	images, labels = idx(4)
	for name, b := range map[string][]byte{"t10k-images-idx3-ubyte.gz": images, "t10k-labels-idx1-ubyte.gz": labels} {
		put(t, root, name, encoded(t, func(to *bytes.Buffer) error {
			z := gzip.NewWriter(to)
			_, err := z.Write(b)
			return errors.Join(err, z.Close())
		}))
	}
	for subset, want := range map[string]int{"train": 7, "test": 4, "all": 11} {
		d, values, err := run(t, root, map[string]any{"subset": subset})
		if err != nil || d.Len() != want || values["count"] != want || fmt.Sprint(values["classes"]) != "[0 1 2]" {
			t.Fatalf("%s: %v, %v", subset, values, err)
		}
		last := d.Image(min(want, 7) - 1)
		if i := min(want, 7) - 1; last[5] != byte(10*i+5) || d.Label(i) != int32(i%3) || d.Info().Width != 3 || d.Info().Height != 2 {
			t.Errorf("%s: image %d is %v of class %d", subset, i, last, d.Label(i))
		}
	}
	d, _, err := run(t, root, map[string]any{"limit": 5.0, "channels": 3.0, "size": 4.0, "classes": []any{"x", "y", "z"}})
	if err != nil || d.Len() != 5 || d.Info().ImageSize() != 48 || d.Info().Classes[2] != "z" {
		t.Errorf("with limit, channels, size and classes: %v", err)
	}
}

func TestDamagedIDX(t *testing.T) {
	images, labels := idx(9)
	wrong := bytes.Clone(labels)
	wrong[8+4] = 9
	for _, c := range []struct {
		about          string
		images, labels []byte
		args           map[string]any
		err            string
		count          int // when skipping
	}{
		{about: "cut in record 7", images: images[:16+7*6+3], labels: labels, err: "Record 7 of train-images-idx3-ubyte: the file is cut off or damaged here, 2 records are lost", count: 7},
		{about: "label out of range", images: images, labels: wrong, args: map[string]any{"classes": []any{"a", "b", "c"}}, err: "Record 4 of train-images-idx3-ubyte: the label 9 is out of range, there are 3 classes", count: 8},
		{about: "a label with a gap before it", images: images, labels: wrong, err: "Record 4 of train-labels-idx1-ubyte has the label 9, but no image has the label 3"},
		{about: "no header", images: images[:7], labels: labels, err: "too short for its header"},
		{about: "not idx", images: append([]byte("GIF8"), images[4:]...), labels: labels, err: "begins with 0x47494638"},
		{about: "labels cut", images: images, labels: labels[:12], err: "ends after 4 of 9 labels"},
		{about: "fewer labels", images: images, labels: append(binary.BigEndian.AppendUint32(bytes.Clone(labels[:4]), 8), labels[8:]...), err: "8 labels for 9 images"},
		{about: "no labels", images: images, err: "have no file of labels"},
		{about: "class without images", images: images, labels: labels, args: map[string]any{"classes": []any{"a", "b", "c", "d"}}, err: `The class "d" has no images`},
	} {
		root := t.TempDir()
		put(t, root, "train-images-idx3-ubyte", c.images)
		if c.labels != nil {
			put(t, root, "train-labels-idx1-ubyte", c.labels)
		}
		args := map[string]any{}
		for k, v := range c.args {
			args[k] = v
		}
		if _, _, err := run(t, root, args); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.about, err)
		}
		args["on_error"] = "skip"
		d, values, err := run(t, root, args)
		if c.count == 0 {
			if err == nil {
				t.Errorf("%s: skipping accepts what is no record", c.about)
			}
			continue
		}
		if err != nil || d.Len() != c.count || values["skipped"] != 1 {
			t.Errorf("%s: when skipping: %v, %v", c.about, values, err)
		}
	}
}

func TestCIFAR(t *testing.T) {
	record := func(labels ...byte) []byte {
		b := labels
		for i := range 3072 {
			b = append(b, byte(i/1024*80+i%7))
		}
		return b
	}
	ten := t.TempDir()
	put(t, ten, "sub/data_batch_1.bin", append(record(0), record(9)...))
	put(t, ten, "sub/data_batch_2.bin", record(3))
	put(t, ten, "sub/test_batch.bin", record(1))
	names := []any{"l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8", "l9"}
	_, _, err := run(t, ten, map[string]any{"subset": "train"})
	if err == nil || !strings.Contains(err.Error(), `The class "automobile" has no images`) {
		t.Errorf("a class without images: %v", err)
	}
	all := t.TempDir()
	var whole []byte
	for l := range byte(10) {
		whole = append(whole, record(l)...)
	}
	put(t, all, "data_batch_1.bin", whole)
	put(t, all, "test_batch.bin", whole)
	d, _, err := run(t, all, map[string]any{"classes": names, "subset": "test"})
	if err != nil || d.Len() != 10 || d.Label(9) != 9 || d.ID(3) != "test_batch/3" {
		t.Fatalf("CIFAR-10: %v", err)
	}
	if p := d.Image(0)[3*8:][:3]; p[0] != 1 || p[1] != byte(80+(1024+8)%7) || p[2] != byte(160+(2048+8)%7) {
		t.Errorf("pixel 8 is %v", p)
	}
	hundred := t.TempDir()
	put(t, hundred, "train.bin", append(record(5, 1), record(5, 0)...))
	if d, _, err = run(t, hundred, map[string]any{"classes": []any{"a", "b"}}); err != nil || d.Label(0) != 1 || d.Label(1) != 0 {
		t.Errorf("CIFAR-100: %v", err)
	}
	put(t, all, "test_batch.bin", whole[:len(whole)-9])
	if _, _, err = run(t, all, map[string]any{"subset": "test"}); err == nil || !strings.Contains(err.Error(), "Record 9 of test_batch.bin: the file ends after 3064 of its 3073 bytes") {
		t.Errorf("a cut file: %v", err)
	}
	whole[3073] = 10
	put(t, all, "test_batch.bin", whole)
	if _, _, err = run(t, all, map[string]any{"subset": "test"}); err == nil || !strings.Contains(err.Error(), "Record 1 of test_batch.bin: the label 10 is out of range") {
		t.Errorf("a wrong label: %v", err)
	}
}

func TestFolder(t *testing.T) {
	root := t.TempDir()
	for name, b := range pictures(t) {
		put(t, root, name, b)
	}
	if _, _, err := run(t, root, map[string]any{"size": 8.0}); err == nil || !strings.Contains(err.Error(), "The picture cat/cut.png: it is a damaged png file") {
		t.Errorf("a damaged picture: %v", err)
	}
	d, values, err := run(t, root, map[string]any{"size": 8.0, "on_error": "skip"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(values["classes"], values["counts"], values["skipped"]); got != "[bird cat dog] map[bird:1 cat:2 dog:3] 1" {
		t.Errorf("values %s", got)
	}
	if d.ID(1) != "cat/a.png" || d.Info().Channels != 3 || d.Info().Height != 8 {
		t.Errorf("%s, %+v", d.ID(1), d.Info())
	}
	if _, values, err = run(t, root, map[string]any{"size": 8.0, "classes": []any{"dog", "bird"}}); err != nil || fmt.Sprint(values["counts"]) != "map[bird:1 dog:3]" {
		t.Errorf("chosen classes: %v, %v", values, err)
	}
	for _, c := range []struct {
		about string
		files map[string][]byte
		args  map[string]any
		err   string
	}{
		{"nothing", map[string][]byte{"a/b.txt": nil}, nil, "No images found"},
		{"a picture outside", map[string][]byte{"a.png": pngOf(t, gradient(2, 2))}, nil, "Picture outside of a class folder"},
		{"a class of text", map[string][]byte{"a/b.png": pngOf(t, gradient(2, 2)), "c/d.txt": nil}, nil, `The folder "c" holds files, but no pictures`},
		{"an unknown class", map[string][]byte{"a/b.png": pngOf(t, gradient(2, 2))}, map[string]any{"classes": []any{"z"}}, `There is no folder "z"`},
		{"two sizes", map[string][]byte{"a/b.png": pngOf(t, gradient(2, 2)), "a/c.png": pngOf(t, gradient(3, 2))}, nil, "it has 3×2 pixels, the first one 2×2"},
		{"only damage", map[string][]byte{"a/b.png": {1, 2}}, map[string]any{"on_error": "skip"}, "none of the 1 pictures can be read"},
		{"an empty picture", map[string][]byte{"a/b.png": {}}, map[string]any{"size": 8.0, "channels": 1.0}, "The picture a/b.png: the file is empty"},
		{"no such subset", map[string][]byte{"a/b.png": pngOf(t, gradient(2, 2))}, map[string]any{"subset": "test", "format": "folder"}, `The folder "test/" of the source holds no pictures`},
	} {
		root := t.TempDir()
		for name, b := range c.files {
			put(t, root, name, b)
		}
		if _, _, err := run(t, root, c.args); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.about, err)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args map[string]any
		err  string
	}{
		{map[string]any{"channels": 2.0}, "1 channel (grey) or 3"},
		{map[string]any{"classes": []any{"a", "a"}}, "occurs twice"},
		{map[string]any{"generator": "surfaces", "size": 8.0}, "16 to 1024"},
		{map[string]any{"generator": "surfaces", "classes": []any{"pot"}}, `no class "pot"`},
		{map[string]any{"generator": "surfaces", "subset": "test"}, "exclude each other"},
		{map[string]any{"generator": "surfaces", "count": 0.0}, "out of range"},
		{map[string]any{}, "No source of images"},
	} {
		if _, _, err := run(t, "", c.args); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
	if _, _, err := run(t, t.TempDir(), map[string]any{"generator": "surfaces"}); err == nil || !strings.Contains(err.Error(), "Two sources") {
		t.Errorf("a source and a generator: %v", err)
	}
	d, values, err := run(t, "", map[string]any{"generator": "surfaces", "count": 7.0, "channels": 3.0, "classes": []any{"pit", "none"}})
	if err != nil || d.Len() != 7 || d.Info().Channels != 3 || d.Info().Height != 64 || fmt.Sprint(values["counts"]) != "map[none:3 pit:4]" {
		t.Errorf("the generator: %v, %v", values, err)
	}
}
