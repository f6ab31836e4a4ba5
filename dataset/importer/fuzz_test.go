package importer

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"os"
	"path/filepath"
	"testing"
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
	for r, err := range records(m) {
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

// records walks the images as records.
func records(m *Images) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for r, err := range m.Samples(context.Background(), 2) {
			if err == nil {
				err = r.Err
			}
			if !yield(Record{r.Sample.ID, r.Sample.Label, r.Pixels}, err) {
				return
			}
		}
	}
}
