package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Lease is a lock that one process holds; the kernel gives it up when the process dies.
type Lease struct{ f *os.File }

const (
	exclusive = syscall.LOCK_EX
	shared    = syscall.LOCK_SH
)

// pollEvery is how often a waiting process looks whether a lease is free.
const pollEvery = 50 * time.Millisecond

// Lease waits for the right to execute key. waiting, when not nil, is called once if another process holds it.
func (c *Cache) Lease(ctx context.Context, key artifact.Digest, waiting func()) (*Lease, error) {
	return c.lock(ctx, string(key), exclusive, waiting)
}

// Share keeps GC away for as long as the lease is held; runs do so. It waits for a GC that is going on.
func (c *Cache) Share(ctx context.Context) (*Lease, error) {
	return c.lock(ctx, "use", shared, nil)
}

func (c *Cache) lock(ctx context.Context, name string, how int, waiting func()) (*Lease, error) {
	var tick *time.Ticker
	for {
		l, err := c.tryLock(name, how)
		if l != nil || err != nil {
			return l, err
		}
		if tick == nil {
			tick = time.NewTicker(pollEvery)
			defer tick.Stop()
			if waiting != nil {
				waiting()
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// tryLock returns nil and nil when another holder is in the way.
func (c *Cache) tryLock(name string, how int) (*Lease, error) {
	path := c.path("leases", name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("taking the lease %s: %w", name, err)
	}
	err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if err == nil && sameFile(f, path) {
		return &Lease{f}, nil
	}
	f.Close()
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return nil, nil // held, or its file was just cleared away
	}
	return nil, fmt.Errorf("taking the lease %s: %w", name, err)
}

// sameFile reports whether path still names the open file: clearing away may have come between opening and locking.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// locked reports whether another open file holds the lock.
func (c *Cache) locked(name string) bool {
	f, err := os.Open(c.path("leases", name))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), shared|syscall.LOCK_NB) != nil
}

// Release gives the lease up. It is safe on nil and a second time.
func (l *Lease) Release() {
	if l == nil || l.f == nil {
		return
	}
	l.f.Close() // closing unlocks
	l.f = nil
}

// Scratch returns the folder that belongs to key and survives attempts; it is made when it is not there.
func (c *Cache) Scratch(key artifact.Digest) (string, error) {
	dir := c.path("scratch", string(key))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("making the scratch folder: %w", err)
	}
	return dir, nil
}

// DropScratch removes the scratch folder of key.
func (c *Cache) DropScratch(key artifact.Digest) error {
	return removeAll(c.path("scratch", string(key)))
}

// removeAll removes a folder even when a program made some of its folders read only.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o777) // what cannot be opened is reported by the removal below
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}
