package cache

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	"github.com/zeebo/blake3"

	"github.com/darkroom-dev/darkroom/artifact"
)

// A snapshot is what is remembered of a source folder: its state as a whole with the reference that it had, so that a folder of a million
// files that did not change costs a look at each and one comparison; and the digest of each file with its stamp, so that of one that did
// change only the files that differ are read. It is one file of the cache's folder "sources", named by the digest of the source's path. It can
// be lost, and is then learnt again by reading.

const snapshotMagic = "darkroom snapshot 1\n"

type snapshot struct {
	state artifact.Digest // "" when some file was too fresh for its stamp to vouch for it
	ref   artifact.Ref
	files []scanned // in the order of a tree's manifest; those without a digest were too fresh
}

func (c *Cache) snapshotPath(source string) string {
	return c.path("sources", string(artifact.DigestBytes([]byte(source))))
}

// snapshotHead reads what is remembered of the folder as a whole; false when that is nothing, or is damaged.
func (c *Cache) snapshotHead(source string) (snapshot, bool) {
	f, err := os.Open(c.snapshotPath(source))
	if err != nil {
		return snapshot{}, false
	}
	defer f.Close()
	b := make([]byte, len(snapshotMagic)+2*32+8)
	if n, _ := f.Read(b); n < len(b) {
		return snapshot{}, false
	}
	return parseHead(b)
}

func parseHead(b []byte) (snapshot, bool) {
	body, ok := bytes.CutPrefix(b, []byte(snapshotMagic))
	if !ok || len(body) < 72 {
		return snapshot{}, false
	}
	s := snapshot{ref: artifact.Ref{Type: artifact.Folder, Tree: true}}
	if !bytes.Equal(body[:32], make([]byte, 32)) {
		s.state = artifact.Digest(hex.EncodeToString(body[:32]))
	}
	s.ref.Digest = artifact.Digest(hex.EncodeToString(body[32:64]))
	s.ref.Size = int64(binary.LittleEndian.Uint64(body[64:]))
	return s, true
}

// snapshotFiles reads the files of a snapshot; nil when there are none, or it is damaged.
func (c *Cache) snapshotFiles(source string) []scanned {
	b, err := os.ReadFile(c.snapshotPath(source))
	if err != nil {
		return nil
	}
	return parseSnapshot(b)
}

func parseSnapshot(b []byte) []scanned {
	const head = len(snapshotMagic) + 72
	if len(b) < head+32 {
		return nil
	}
	body, sum := b[:len(b)-32], b[len(b)-32:]
	if artifact.DigestBytes(body) != artifact.Digest(hex.EncodeToString(sum)) {
		return nil
	}
	if _, ok := parseHead(body); !ok {
		return nil
	}
	var out []scanned
	for body = body[head:]; len(body) > 0; {
		n, k := binary.Uvarint(body)
		if k <= 0 || n > uint64(len(body)-k) || len(body)-k-int(n) < stateBytes+32 {
			return nil
		}
		f := scanned{path: string(body[k : k+int(n)])}
		body = body[k+int(n):]
		word := func(i int) uint64 { return binary.LittleEndian.Uint64(body[8*i:]) }
		f.stamp = stamp{Size: int64(word(0)), MTime: int64(word(1)), CTime: int64(word(2)), Inode: word(3), Device: word(4)}
		f.executable = body[40] == 1
		if d := body[stateBytes : stateBytes+32]; !bytes.Equal(d, make([]byte, 32)) {
			f.digest = artifact.Digest(hex.EncodeToString(d))
		}
		body = body[stateBytes+32:]
		out = append(out, f)
	}
	return out
}

// remember writes a snapshot. What cannot be written is read again next time.
func (c *Cache) remember(source string, s *snapshot) {
	if !roomy(c.dir) {
		return
	}
	f, err := os.CreateTemp(c.path("tmp"), "snapshot-*")
	if err != nil {
		return
	}
	if err := errors.Join(s.write(f), f.Close()); err != nil || os.Rename(f.Name(), c.snapshotPath(source)) != nil {
		os.Remove(f.Name())
	}
}

func (s *snapshot) write(f *os.File) error {
	// The digest at the end tells a torn file, so that no sync is needed.
	h := newSummed(f)
	b := []byte(snapshotMagic)
	b = appendDigest(appendDigest(b, s.state), s.ref.Digest)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.ref.Size))
	for i := range s.files {
		e := &s.files[i]
		b = append(binary.AppendUvarint(b, uint64(len(e.path))), e.path...)
		b = appendDigest(e.fileState.append(b), e.digest)
		if len(b) > 1<<15 {
			if _, err := h.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if _, err := h.Write(b); err != nil {
		return err
	}
	return h.finish()
}

// appendDigest appends the 32 bytes of a digest, zeros for none.
func appendDigest(b []byte, d artifact.Digest) []byte {
	raw, err := hex.DecodeString(string(d))
	if err != nil || len(raw) != 32 {
		raw = make([]byte, 32)
	}
	return append(b, raw...)
}

// known fills in the digests of files that are as a snapshot has them. Both lists are in order of their paths.
func known(files, before []scanned) (unknown []int) {
	k := 0
	for i := range files {
		for k < len(before) && before[k].path < files[i].path {
			k++
		}
		if k < len(before) && before[k].path == files[i].path && before[k].stamp == files[i].stamp && before[k].digest.Valid() {
			files[i].digest = before[k].digest
			continue
		}
		unknown = append(unknown, i)
	}
	return unknown
}

// forget leaves out the digests of files whose stamps cannot vouch for what was read from begin on.
func forget(files []scanned, read []int, begin time.Time) {
	for _, i := range read {
		if !files[i].stamp.settled(begin) {
			files[i].digest = ""
		}
	}
}

// summed writes through a digest, which it puts at the end.
type summed struct {
	w *bufio.Writer
	h *blake3.Hasher
}

func newSummed(w io.Writer) *summed { return &summed{bufio.NewWriterSize(w, 1<<18), blake3.New()} }

func (s *summed) Write(b []byte) (int, error) {
	s.h.Write(b) //nolint:errcheck // a digest takes everything
	return s.w.Write(b)
}

func (s *summed) finish() error {
	if _, err := s.w.Write(s.h.Sum(nil)); err != nil {
		return err
	}
	return s.w.Flush()
}
