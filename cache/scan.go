package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/artifact"
)

// scan is what the file system says of a folder: the stamps of its files, found without reading one. It follows artifact.Walk in what is
// a file and what is refused, and is many times faster: one call a file, relative to the open folder, by several threads.
type scan struct {
	root    string
	folders []scannedFolder // in the order in which they are found
}

type scannedFolder struct {
	rel   string // of the root, with forward slashes; "" for the root
	names []string
	files []fileState // as names
}

// fileState is the stamp of one file, and whether it is executable. A folder within has the mode of one.
type fileState struct {
	stamp
	executable, folder bool
}

// scanFolder reads the stamps of everything below root.
func scanFolder(root string) (*scan, error) {
	s := &scan{root: root}
	pending := []string{""}
	for len(pending) > 0 {
		rel := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		f, err := s.folder(rel)
		if err != nil {
			return nil, err
		}
		var inner []string
		keep := 0
		for i, st := range f.files {
			if !st.folder {
				f.names[keep], f.files[keep] = f.names[i], st
				keep++
				continue
			}
			if f.names[i] != artifact.CacheFolder {
				inner = append(inner, join(rel, f.names[i]))
			}
		}
		f.names, f.files = f.names[:keep], f.files[:keep]
		slices.Sort(inner)
		slices.Reverse(inner) // the first is taken first
		pending = append(pending, inner...)
		s.folders = append(s.folders, f)
	}
	return s, nil
}

func join(rel, name string) string {
	if rel == "" {
		return name
	}
	return rel + "/" + name
}

// statsAtOnce is how many files one thread looks at before it takes the next.
const statsAtOnce = 512

func (s *scan) folder(rel string) (scannedFolder, error) {
	out := scannedFolder{rel: rel}
	dir := filepath.Join(s.root, filepath.FromSlash(rel))
	f, err := os.Open(dir)
	if err != nil {
		return out, err
	}
	defer f.Close()
	if out.names, err = f.Readdirnames(-1); err != nil {
		return out, err
	}
	out.files = make([]fileState, len(out.names))
	fd := int(f.Fd())
	stat := func(from, to int) error {
		for i := from; i < to; i++ {
			if err := out.files[i].look(fd, dir, out.names[i]); err != nil {
				return err
			}
		}
		return nil
	}
	workers := min(runtime.GOMAXPROCS(0), len(out.names)/statsAtOnce)
	if workers <= 1 {
		return out, stat(0, len(out.names))
	}
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() { errs[w] = stat(w*len(out.names)/workers, (w+1)*len(out.names)/workers) })
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// look fills in what the file system says of a name in an open folder.
func (f *fileState) look(fd int, dir, name string) error {
	var st unix.Stat_t
	if err := statAt(fd, name, &st, 0); err != nil {
		if statAt(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			// Not wrapped: it is not root that does not exist.
			return fmt.Errorf("%s is a symbolic link that leads nowhere: %v", filepath.Join(dir, name), err)
		}
		return &os.PathError{Op: "stat", Path: filepath.Join(dir, name), Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.stamp = stamp{Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(), Inode: st.Ino, Device: uint64(st.Dev)} //nolint:unconvert // Dev is smaller elsewhere
		f.executable = st.Mode&0o111 != 0
		return nil
	case unix.S_IFDIR:
		if err := statAt(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			f.folder = true
			return nil
		}
	}
	return fmt.Errorf("%s is not a regular file: a tree holds regular files only", filepath.Join(dir, name))
}

func statAt(fd int, name string, st *unix.Stat_t, flags int) error {
	for {
		if err := unix.Fstatat(fd, name, st, flags); err != unix.EINTR {
			return err
		}
	}
}

// count is the number of files.
func (s *scan) count() int {
	n := 0
	for _, f := range s.folders {
		n += len(f.files)
	}
	return n
}

// state digests everything that the scan saw. Equal states are equal folders, as far as stamps can tell.
func (s *scan) state() artifact.Digest {
	h := blake3.New()
	buf := make([]byte, 0, 1<<16)
	for _, f := range s.folders {
		buf = append(binary.AppendUvarint(buf, uint64(len(f.rel))), f.rel...)
		buf = binary.AppendUvarint(buf, uint64(len(f.files)))
		for i := range f.files {
			buf = f.files[i].append(append(binary.AppendUvarint(buf, uint64(len(f.names[i]))), f.names[i]...))
			if len(buf) > 1<<15 {
				h.Write(buf)
				buf = buf[:0]
			}
		}
	}
	h.Write(buf)
	return artifact.Digest(fmt.Sprintf("%x", h.Sum(nil)))
}

const stateBytes = 5*8 + 1

func (f *fileState) append(b []byte) []byte {
	for _, v := range [5]uint64{uint64(f.Size), uint64(f.MTime), uint64(f.CTime), f.Inode, f.Device} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	if f.executable {
		return append(b, 1)
	}
	return append(b, 0)
}

// scanned is one file of a scan.
type scanned struct {
	path string
	fileState
	digest artifact.Digest // "" until it is known
}

// sorted lists the files in the order of a tree's manifest.
func (s *scan) sorted() []scanned {
	out := make([]scanned, 0, s.count())
	for _, f := range s.folders {
		for i, st := range f.files {
			out = append(out, scanned{path: join(f.rel, f.names[i]), fileState: st})
		}
	}
	slices.SortFunc(out, func(a, b scanned) int { return strings.Compare(a.path, b.path) })
	return out
}

// settled reports whether every stamp can vouch for what was read from begin on.
func (s *scan) settled(begin time.Time) bool {
	for _, f := range s.folders {
		for i := range f.files {
			if !f.files[i].stamp.settled(begin) {
				return false
			}
		}
	}
	return true
}
