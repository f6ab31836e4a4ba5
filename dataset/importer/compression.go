package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// compression is a way in which files are compressed, told by the bytes that they begin with.
type compression struct {
	suffix string // of a file's name
	magic  string
	expand func(io.Reader) (io.ReadCloser, error)
}

// maxDictionary bounds what an xz file can make its reader allocate.
const maxDictionary = 1 << 28

var compressions = []compression{
	{".gz", "\x1f\x8b", func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
	{".xz", "\xfd7zXZ\x00", func(r io.Reader) (io.ReadCloser, error) {
		x, err := xz.NewReader(r, maxDictionary)
		return io.NopCloser(x), err
	}},
	{".zst", "\x28\xb5\x2f\xfd", func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDictionary))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}},
}

// expandedName returns the name of a compressed file without the suffix that says so.
func expandedName(name string) (string, bool) {
	for _, c := range compressions {
		if strings.EqualFold(path.Ext(name), c.suffix) && len(path.Base(name)) > len(c.suffix) {
			return name[:len(name)-len(c.suffix)], true
		}
	}
	return name, false
}

// expanded is the entry with what it is compressed by undone; a file that is not compressed, whatever its name says, is read as it is.
func (e entry) expanded() entry {
	return entry{stored: e.stored, size: -1, open: func() (io.ReadCloser, error) {
		f, err := e.open()
		if err != nil {
			return nil, err
		}
		r, err := expand(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return both{r, f}, nil
	}}
}

// expand returns what r holds, expanded once if it is compressed.
func expand(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	for _, c := range compressions {
		if head, err := b.Peek(len(c.magic)); err != nil || !bytes.Equal(head, []byte(c.magic)) {
			continue
		}
		out, err := c.expand(b)
		if err != nil {
			return nil, fmt.Errorf("expanding it: %w", noEOF(err))
		}
		return out, nil
	}
	return io.NopCloser(b), nil
}

// both reads from the one and closes both.
type both struct {
	io.ReadCloser
	file io.Closer
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.file.Close()) }
