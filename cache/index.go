package cache

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// stamp is what the file system says of a file without reading it.
type stamp struct {
	Size   int64  `json:"s"`
	MTime  int64  `json:"m"`
	CTime  int64  `json:"c"` // of the inode's last change: no program can set it back, and every link moves it on
	Inode  uint64 `json:"i"`
	Device uint64 `json:"d"`
}

// racy is how old a change must be, when the reading of a file begins, for the file's stamp to stand for what was read:
// a file may be written again within one tick of the file system's clock.
const racy = 50 * time.Millisecond

func stampOf(path string) (stamp, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return stamp{}, err
	}
	return stamp{Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(), Inode: st.Ino, Device: st.Dev}, nil
}

// settled reports whether the stamp, taken before a reading that began at begin, can vouch for what was read.
func (s stamp) settled(begin time.Time) bool {
	return begin.Sub(time.Unix(0, max(s.CTime, s.MTime))) > racy
}

// index is the part of the cache that can be rebuilt: what was last verified, the digests of sources, and the last key
// of each stage. One process has Badger open; in the others db is nil and what they learn is kept in memory alone.
type index struct {
	dir   string
	db    *badger.DB
	lock  *os.File // held while db is open
	fresh bool     // it was just made and knows nothing

	mu    sync.Mutex        // guards known and batch
	known map[string][]byte // what this process has learnt, and reads again
	batch map[string][]byte // what is not in Badger yet
}

const indexFormat = "1"

// openIndex never fails: a damaged index is made anew, one that another process holds is done without.
func openIndex(dir string) *index {
	x := &index{dir: dir, known: map[string][]byte{}, batch: map[string][]byte{}}
	_, err := os.Stat(dir)
	x.fresh = err != nil
	x.db, x.lock = openBadger(dir)
	if x.db != nil && string(x.get("format")) != indexFormat {
		x.fresh = true
		x.put("format", []byte(indexFormat))
	}
	return x
}

// enough is the room in bytes that Badger gets to itself. It writes through memory maps of files that have holes, so
// that a full disk ends the process by a signal instead of failing a call: it is not asked to write when room is short.
const enough = 24 << 20

func roomy(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) != nil || fs.Bavail*uint64(fs.Bsize) > enough
}

// openBadger returns nil when another process has the index, or there is no room for it. A lock of our own beside the
// folder says for certain whether another process has it: asking Badger could take a holder that is just closing for damage, and remove the folder under the next one's feet.
func openBadger(dir string) (*badger.DB, *os.File) {
	if !roomy(filepath.Dir(dir)) {
		return nil, nil
	}
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, nil
	}
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		lock.Close()
		return nil, nil
	}
	// Small tables: the index is megabytes at most, and a command that only looks opens it anew each time.
	opts := badger.DefaultOptions(dir).WithLogger(nil).WithNumVersionsToKeep(1).WithMemTableSize(4 << 20).WithValueThreshold(64 << 10).
		WithValueLogFileSize(1 << 20).WithCompression(options.None).WithNumCompactors(2).WithCompactL0OnClose(false).WithMetricsEnabled(false)
	db, err := badger.Open(opts)
	if err != nil && os.RemoveAll(dir) == nil { // damaged: everything in it can be learnt again
		db, err = badger.Open(opts)
	}
	if err != nil {
		lock.Close()
		return nil, nil
	}
	return db, lock
}

func (x *index) get(key string) []byte {
	x.mu.Lock()
	v, ok := x.known[key]
	x.mu.Unlock()
	if ok || x.db == nil {
		return v
	}
	_ = x.db.View(func(tx *badger.Txn) error { // a key that is not there, or cannot be read, is not known
		item, err := tx.Get([]byte(key))
		if err == nil {
			v, err = item.ValueCopy(nil)
		}
		return err
	})
	return v
}

func (x *index) put(key string, v []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.known[key] = v
	if x.db == nil {
		return
	}
	x.batch[key] = v
	if len(x.batch) >= 4096 {
		x.flushLocked(x.db)
	}
}

// flushLocked writes what was learnt; mu is held. What cannot be written will be learnt again.
func (x *index) flushLocked(db *badger.DB) {
	if !roomy(x.dir) {
		return
	}
	w := db.NewWriteBatch()
	defer w.Cancel()
	for k, v := range x.batch {
		if w.Set([]byte(k), v) != nil {
			return
		}
	}
	if w.Flush() == nil {
		x.batch = map[string][]byte{}
	}
}

// closing bounds how long close waits for Badger, which tries for ever to write its last table: on a full disk, say.
const closing = 3 * time.Second

// close writes what is left and gives the index up. When that cannot be done it leaves Badger to the end of the
// process, with the lock: what was not written can be learnt again.
func (x *index) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	db := x.db
	if db == nil {
		return nil
	}
	x.db = nil
	if _, err := os.Stat(filepath.Join(x.dir, "MANIFEST")); err != nil {
		return nil // the folder was removed under it
	}
	if !roomy(x.dir) {
		return nil
	}
	if len(x.batch) > 0 {
		x.flushLocked(db)
	}
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	late := time.NewTimer(closing)
	defer late.Stop()
	select {
	case err := <-closed:
		x.lock.Close()
		return err
	case <-late.C:
		return nil
	}
}

func (x *index) verified(d artifact.Digest) stamp {
	var s stamp
	if v := x.get("blob/" + string(d)); v != nil {
		_ = json.Unmarshal(v, &s) // damaged: not vouched for
	}
	return s
}

// vouch remembers that the blob was whole when it had the stamp s, taken before it was read from begin on.
func (c *Cache) vouch(d artifact.Digest, s stamp, begin time.Time) {
	if s.settled(begin) && s != c.index.verified(d) {
		b, _ := json.Marshal(s) // plain numbers
		c.index.put("blob/"+string(d), b)
	}
}

// last is what the index knows of a stage's latest execution or reuse.
type last struct {
	Key artifact.Digest `json:"key"`
	At  time.Time       `json:"at"`
}

func lastKey(pipeline, address string) string { return "last/" + pipeline + "\x00" + address }

// rebuildIndex learns the last keys from the runs.
func (c *Cache) rebuildIndex() {
	runs, _ := c.Runs() // those that cannot be read are left out
	for i := len(runs) - 1; i >= 0; i-- {
		for _, s := range runs[i].Stages {
			if !s.finished() {
				continue
			}
			c.noteLast(runs[i].Pipeline, s.Address, s.Key, runs[i].Started)
		}
	}
}

// behind is the file that a process without the index leaves when it has stored a run: the next one that has the index
// learns the last keys from the runs again.
func (c *Cache) behind() string { return c.path("index.behind") }

// catchUp makes the index know the runs of processes that did without it.
func (c *Cache) catchUp() {
	if !c.index.here() {
		return
	}
	// The file goes first: a run that is stored from now on leaves it again.
	if os.Remove(c.behind()) == nil || c.index.fresh {
		c.rebuildIndex()
	}
}

// leaveBehind notes that a run was stored that the index does not know of.
func (c *Cache) leaveBehind() {
	if c.index.here() {
		return
	}
	if f, err := os.Create(c.behind()); err == nil { // without it, an explanation compares with an older execution
		f.Close()
	}
}

func (c *Cache) noteLast(pipeline, address string, key artifact.Digest, at time.Time) {
	if key == "" {
		return
	}
	b, _ := json.Marshal(last{key, at}) // plain texts
	c.index.put(lastKey(pipeline, address), b)
}

// here reports whether this process has the index.
func (x *index) here() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.db != nil
}
