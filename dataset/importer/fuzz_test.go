package importer

import (
	"bytes"
	"encoding/binary"
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

// walk reads every record of a source; whatever is wrong must come as an error, and every record must be whole.
func walk(t *testing.T, files map[string][]byte, format string) {
	t.Helper()
	root := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(root, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Open(root, format, Options{Subset: "all"})
	if err != nil {
		return
	}
	for r, err := range m.Records {
		if err == nil && (len(r.Image) != m.Info.ImageSize() || int(r.Label) >= len(m.Info.Classes) || r.Label < 0) {
			t.Fatalf("record %s is not whole", r.ID)
		}
	}
}

func FuzzIDX(f *testing.F) {
	images := binary.BigEndian.AppendUint32(nil, idxImages)
	for _, n := range []uint32{2, 2, 3} {
		images = binary.BigEndian.AppendUint32(images, n)
	}
	images = append(images, make([]byte, 12)...)
	labels := []byte{0, 0, 8, 1, 0, 0, 0, 2, 1, 0}
	f.Add(images, labels)
	f.Add(images[:20], labels)
	f.Add([]byte{0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 64, 0, 0, 0, 64, 0}, labels)
	f.Add([]byte{0x1f, 0x8b, 8, 0}, labels)
	f.Fuzz(func(t *testing.T, images, labels []byte) {
		walk(t, map[string][]byte{"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels}, IDX)
	})
}

func FuzzCIFAR(f *testing.F) {
	f.Add([]byte{}, "a\nb")
	f.Add(make([]byte, 3073), "")
	f.Add(bytes.Repeat([]byte{9}, 2*3073+1), "a b c d e f g h i j")
	f.Fuzz(func(t *testing.T, batch []byte, names string) {
		walk(t, map[string][]byte{"data_batch_1.bin": batch, "batches.meta.txt": []byte(names)}, CIFAR)
	})
}

func FuzzPicture(f *testing.F) {
	f.Add([]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"))
	f.Add([]byte("BM\x1e\x00\x00\x00\x00\x00\x00\x00\x1a\x00\x00\x00\x0c\x00\x00\x00"))
	f.Add([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\x00\x00\x00"))
	info := dataset.Info{Height: 4, Width: 5, Channels: 3}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, _, err := image.DecodeConfig(bytes.NewReader(b)); err == nil && (c.Width > 512 || c.Height > 512) {
			t.Skip("memory for larger ones is bounded, but slow to fuzz")
		}
		if pixels, err := decode(b, info, false); err == nil && len(pixels) != info.ImageSize() {
			t.Fatalf("%d bytes", len(pixels))
		}
	})
}
