package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"golang.org/x/sys/unix"
)

// PutFile adopts the file at path: it is moved into the store where that is possible, else copied. Nothing may have it
// open for writing. It is durable after Sync.
func (c *Cache) PutFile(path string, typ artifact.Type) (artifact.Ref, error) {
	d, n, err := c.adopt(path)
	if err != nil {
		return artifact.Ref{}, fmt.Errorf("storing %s: %w", path, err)
	}
	return artifact.Ref{Type: typ, Digest: d, Size: n}, nil
}

// PutTree adopts the files of a folder and stores its manifest.
func (c *Cache) PutTree(dir string, typ artifact.Type) (artifact.Ref, error) {
	var entries []artifact.Entry
	err := artifact.Walk(dir, func(rel string, info fs.FileInfo) error {
		d, n, err := c.adopt(filepath.Join(dir, filepath.FromSlash(rel)))
		entries = append(entries, artifact.Entry{Path: rel, Digest: d, Size: n, Executable: info.Mode()&0o111 != 0})
		return err
	})
	if err != nil {
		return artifact.Ref{}, fmt.Errorf("storing the folder %s: %w", dir, err)
	}
	return c.putManifest(entries, typ)
}

func (c *Cache) putManifest(entries []artifact.Entry, typ artifact.Type) (artifact.Ref, error) {
	tree, err := artifact.NewTree(entries)
	if err != nil {
		return artifact.Ref{}, err
	}
	if _, err := c.PutBytes(tree.Text(), artifact.File); err != nil {
		return artifact.Ref{}, err
	}
	return tree.Ref(typ), nil
}

// PutBytes stores b.
func (c *Cache) PutBytes(b []byte, typ artifact.Type) (artifact.Ref, error) {
	d := artifact.DigestBytes(b)
	ref := artifact.Ref{Type: typ, Digest: d, Size: int64(len(b))}
	if c.check(d, ref.Size) == nil {
		return ref, nil
	}
	f, err := os.CreateTemp(c.path("tmp"), "put-")
	if err != nil {
		return ref, fmt.Errorf("storing %d bytes: %w", len(b), err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = c.install(f.Name(), d)
	}
	if err != nil {
		return ref, fmt.Errorf("storing %d bytes: %w", len(b), err)
	}
	return ref, nil
}

// adopt digests the file and moves or copies it into the store. Symbolic links and files with further names are copied.
func (c *Cache) adopt(path string) (artifact.Digest, int64, error) {
	d, n, err := artifact.DigestFile(path)
	if err != nil {
		return "", 0, err
	}
	if c.check(d, n) == nil {
		return d, n, nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", 0, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 {
		if err := c.install(path, d); err == nil || !errors.Is(err, unix.EXDEV) {
			return d, n, err
		}
	}
	return d, n, c.copyIn(path, d)
}

// copyIn copies the file at path into the store as the blob d, and refuses when it has changed meanwhile.
func (c *Cache) copyIn(path string, d artifact.Digest) error {
	dir, err := c.TempDir("copy-") // a name of its own: equal files may be stored at the same time
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, string(d))
	if err := copyFile(path, tmp, 0o644); err != nil {
		return err
	}
	got, _, err := artifact.DigestFile(tmp)
	if err != nil {
		return err
	}
	if got != d {
		return fmt.Errorf("%s changed while it was being stored", path)
	}
	return c.install(tmp, d)
}

// install makes the file at path the blob d: fsync, read only, rename.
func (c *Cache) install(path string, d artifact.Digest) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Chmod(0o444)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	to := c.blobPath(d)
	if err := c.renameTo(path, to); err != nil {
		return err
	}
	c.renamedIn(filepath.Dir(to))
	return nil
}

// Has reports whether the artifact's blobs are in the store with the right sizes. Blobs whose times changed since they
// were last verified are verified again.
func (c *Cache) Has(ref artifact.Ref) bool { return c.Whole(ref) == nil }

// Whole is Has with the reason: ErrMissing or ErrCorrupt.
func (c *Cache) Whole(ref artifact.Ref) error {
	if !ref.Tree {
		return c.check(ref.Digest, ref.Size)
	}
	if err := c.check(ref.Digest, -1); err != nil {
		return err
	}
	tree, err := c.Tree(ref)
	if err != nil {
		return err
	}
	for _, e := range tree.Entries() {
		if err := c.check(e.Digest, e.Size); err != nil {
			return err
		}
	}
	return nil
}

// check looks at one blob; size -1 is any. It reads the bytes only when the file is not as it was when last verified.
func (c *Cache) check(d artifact.Digest, size int64) error {
	path := c.blobPath(d)
	now, err := stampOf(path)
	if err != nil {
		return fmt.Errorf("blob %s: %w", d.Short(), ErrMissing)
	}
	if now == c.index.verified(d) && (size < 0 || now.Size == size) {
		return nil
	}
	return c.verifyBlob(d)
}

// verifyBlob reads the blob and quarantines it when its bytes are not those of its digest.
func (c *Cache) verifyBlob(d artifact.Digest) error {
	path := c.blobPath(d)
	begin := time.Now()
	before, err := stampOf(path)
	var got artifact.Digest
	if err == nil {
		got, _, err = artifact.DigestFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob %s: %w", d.Short(), ErrMissing)
	}
	if err != nil { // too many open files, say: nothing is known of the bytes
		return fmt.Errorf("verifying blob %s: %w", d.Short(), err)
	}
	if got == d {
		c.vouch(d, before, begin)
		return nil
	}
	c.quarantine(path)
	return fmt.Errorf("blob %s: %w", d.Short(), ErrCorrupt)
}

// quarantine moves a file out of the way, keeping it for a look; it never fails the caller.
func (c *Cache) quarantine(path string) {
	to := c.path("quarantine", filepath.Base(path))
	for i := 1; ; i++ {
		if _, err := os.Lstat(to); err != nil {
			break
		}
		to = c.path("quarantine", fmt.Sprintf("%s.%d", filepath.Base(path), i))
	}
	if os.Rename(path, to) == nil {
		c.renamedIn(filepath.Dir(path))
	}
}

// ReadBlob returns the verified bytes of a blob.
func (c *Cache) ReadBlob(d artifact.Digest) ([]byte, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("%q is not a digest", d)
	}
	b, err := os.ReadFile(c.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the blob %s: %w", d.Short(), err)
	}
	if artifact.DigestBytes(b) != d {
		c.quarantine(c.blobPath(d))
		return nil, fmt.Errorf("blob %s: %w", d.Short(), ErrCorrupt)
	}
	return b, nil
}

// Tree returns the manifest of a tree.
func (c *Cache) Tree(ref artifact.Ref) (artifact.Tree, error) {
	b, err := c.ReadBlob(ref.Digest)
	if err != nil {
		return artifact.Tree{}, err
	}
	t, err := artifact.ParseTree(b)
	if err != nil {
		return artifact.Tree{}, fmt.Errorf("tree %s: %w", ref.Digest.Short(), err)
	}
	return t, nil
}

// Verify reads every byte of the artifact. What does not match is quarantined and named by an ErrCorrupt.
func (c *Cache) Verify(ref artifact.Ref) error {
	if err := c.verifyBlob(ref.Digest); err != nil || !ref.Tree {
		return err
	}
	tree, err := c.Tree(ref)
	if err != nil {
		return err
	}
	for _, e := range tree.Entries() {
		if err := c.verifyBlob(e.Digest); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

// copyFile copies by reflink where the file system can, else byte by byte.
func copyFile(from, to string, mode fs.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		_, err = io.Copy(dst, src)
	}
	if err == nil {
		err = dst.Chmod(mode)
	}
	if e := dst.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(to)
	}
	return err
}
