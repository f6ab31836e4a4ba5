package importer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Limits of archives.
const (
	maxEntries = 10_000_000
	// minExpanded is what every archive may expand to, however small it is.
	minExpanded = 1 << 28
	// defaultExpansion is how many times its own size an archive may expand to.
	defaultExpansion = 200
)

// maxExpanded returns the bytes that an archive of that size may expand to.
func (o Options) maxExpanded(size int64) int64 {
	times := int64(o.MaxExpansion)
	if times == 0 {
		times = defaultExpansion
	}
	return max(minExpanded, times*size)
}

// listArchive lists the files of a zip or tar archive, by what the file holds and not by its name; ok is false when it is none.
func listArchive(at string, o Options) (s source, ok bool, err error) {
	f, err := os.Open(at)
	if err != nil {
		return s, false, fmt.Errorf("reading the source: %w", err)
	}
	keep := false
	defer func() {
		if !keep {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return s, false, fmt.Errorf("reading the source: %w", err)
	}
	a := &archive{source: source{entries: map[string]entry{}, close: f.Close}, limit: o.maxExpanded(info.Size())}
	head := make([]byte, 4)
	n, _ := f.ReadAt(head, 0)
	name := filepath.Base(at)
	switch {
	case bytes.HasPrefix(head[:n], []byte("PK\x03\x04")), bytes.HasPrefix(head[:n], []byte("PK\x05\x06")):
		err = a.zip(f, info.Size())
	default:
		var plain *os.File
		if plain, ok, err = plainTar(f, o, a.limit); err != nil || !ok {
			if err != nil {
				err = fmt.Errorf("reading the source %s: %w", name, err)
			}
			return s, false, err
		}
		if plain != f {
			f.Close()
			f = plain
			a.close = f.Close
		}
		err = a.tar(f)
	}
	if err != nil {
		var user *SourceError
		if !errors.As(err, &user) {
			err = sourceErrorf("Damaged archive", "The archive %s cannot be read: %v. Fetch or pack it again.", name, noEOF(err))
		}
		return s, false, err
	}
	keep = true
	return a.sorted(), true, nil
}

// archive is a source that is being listed.
type archive struct {
	source
	limit, expanded int64
}

// put adds an entry after it has checked its name and what it would expand to.
func (a *archive) put(name string, e entry) error {
	clean := path.Clean(name)
	if name == "" || strings.HasPrefix(name, "/") || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(name, "\\\x00") || len(name) > 1 && name[1] == ':' {
		return sourceErrorf("Unsafe archive", "The archive holds an entry named %q, which leads out of the archive. No program that packs images makes such names, so nothing of the archive is read.", name)
	}
	if len(a.entries) >= maxEntries {
		return sourceErrorf("Archive is too large", "The archive holds more than %d files.", maxEntries)
	}
	if e.size > a.limit-a.expanded {
		return sourceErrorf("Archive expands too far", "The archive would expand to more than %d bytes, more than %d times its size, as an archive does that is made to fill a disk. If it is to be trusted, raise \"max_expansion\".", a.limit, a.limit/max(1, a.limit/defaultExpansion))
	}
	a.expanded += max(e.size, 0)
	if plain, ok := expandedName(clean); ok {
		return a.add(plain, e.expanded())
	}
	return a.add(clean, e)
}

func refuseLink(name string) error {
	return sourceErrorf("Unsafe archive", "The entry %q of the archive is a link or a device. Only files and folders are read from an archive; pack the files themselves.", name)
}

// zip lists a zip archive; its entries are read at their places.
func (a *archive) zip(f *os.File, size int64) error {
	z, err := zip.NewReader(f, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return err
	}
	for _, e := range z.File {
		mode := e.Mode()
		switch {
		case mode.IsDir():
			continue
		case !mode.IsRegular():
			return refuseLink(e.Name)
		case e.Flags&1 != 0:
			return sourceErrorf("Encrypted archive", "The entry %q of the archive is encrypted. Pack the images without a password.", e.Name)
		case e.UncompressedSize64 > 1<<62:
			return fmt.Errorf("the entry %q claims %d bytes", e.Name, e.UncompressedSize64)
		}
		// The reader fails when more comes than the header says.
		if err := a.put(e.Name, entry{stored: e.Name, size: int64(e.UncompressedSize64), open: e.Open}); err != nil {
			return err
		}
	}
	return nil
}

// tarMagic stands at this place of a tar archive's first header.
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

func isTar(r io.ReaderAt) bool {
	head := make([]byte, len(tarMagic))
	_, err := r.ReadAt(head, tarMagicAt)
	return err == nil && string(head) == tarMagic
}

// plainTar returns f if it is a tar archive, or a file without a name that holds what f expands to if that is one: members of a
// compressed archive cannot be read at their places.
func plainTar(f *os.File, o Options, limit int64) (plain *os.File, ok bool, err error) {
	if isTar(f) {
		return f, true, nil
	}
	r, err := expand(io.NewSectionReader(f, 0, 1<<62))
	if err != nil {
		return nil, false, nil // a damaged file is told by whoever reads it
	}
	defer r.Close()
	head := make([]byte, tarMagicAt+len(tarMagic))
	if _, err := io.ReadFull(r, head); err != nil || string(head[tarMagicAt:]) != tarMagic {
		return nil, false, nil
	}
	t, err := os.CreateTemp(o.Scratch, "archive-*.tar")
	if err != nil {
		return nil, false, err
	}
	if err := os.Remove(t.Name()); err != nil {
		return nil, false, errors.Join(err, t.Close())
	}
	n, err := io.Copy(t, io.LimitReader(io.MultiReader(bytes.NewReader(head), r), limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("it expands to more than %d bytes; if it is to be trusted, raise \"max_expansion\"", limit)
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("expanding the archive: %w", noEOF(err)), t.Close())
	}
	return t, true, nil
}

// tar lists a tar archive; its entries are read at their places.
func (a *archive) tar(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t := tar.NewReader(f)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg:
		default:
			return refuseLink(h.Name)
		}
		if h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "" {
			return sourceErrorf("Unsupported archive", "The entry %q of the archive is a sparse file. Pack it without --sparse.", h.Name)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if info, err := f.Stat(); err != nil || at > info.Size()-h.Size {
			return fmt.Errorf("it ends within the entry %q", h.Name)
		}
		size := h.Size
		open := func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, at, size)), nil }
		if err := a.put(h.Name, entry{stored: h.Name, size: size, open: open}); err != nil {
			return err
		}
	}
}
