package stages

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Part names a part of a stage's work that is worth keeping by itself: a candidate of a search, a teacher's outputs. Equal parts are made
// once, whatever stage or run asks for them.
type Part struct {
	// Text is everything that can change the part and is not among Inputs or the device: a canonical, readable description.
	Text   string
	Inputs map[string]artifact.Ref // by name
	Seed   uint64
	// OneThread says that the part is computed with one thread, whatever the stage has: its thread count is then no part of the key.
	OneThread bool
}

// manifest is the readable text that the part's key is the digest of.
func (p Part) manifest(j *Job) string {
	var b strings.Builder
	fmt.Fprintf(&b, "part 1\nkind = %s %d\n", j.Kind, j.Version)
	if d := j.Device; !d.IsZero() {
		if p.OneThread {
			d.Threads = 1
		}
		fmt.Fprintf(&b, "device = %s, %s, %s, %s, %d threads\n", d.Backend, d.Version, d.ISA, d.Precision, d.Threads)
	}
	fmt.Fprintf(&b, "seed = %d\n", p.Seed)
	var names []string
	for name := range p.Inputs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		in := p.Inputs[name]
		fmt.Fprintf(&b, "input.%s = %s %s\n", name, in.Type, in.Digest)
	}
	b.WriteString(p.Text)
	return b.String()
}

// Memory keeps parts beyond the stage that makes them. The Reporter that a runner is given may be one too; a runner then
// serves the stage's Memo with it.
type Memory interface {
	// Recall puts the folder that is kept for the key at dst, which does not exist, and reports whether there is one. When there is none, the
	// caller holds the right to make the part until it calls Remember, or the execution ends; another caller with this key waits for that.
	Recall(ctx context.Context, key artifact.Digest, dst string) (bool, error)
	// Remember keeps the folder at src for the key. Afterwards the same content lies there, not to be written to.
	Remember(ctx context.Context, key artifact.Digest, manifest, src string) error
}

// Memo returns a folder, not to be written to, with what build makes of the part. It is made at most once: a part that any execution
// has made before comes from the cache, and survives the end of this one. build gets an empty folder; it must not call Memo, and its
// result must follow from the part and the device alone. Memo may be called from several goroutines with different parts. Commit results in
// logical order: which of them were recalled must not change a byte.
func (j *Job) Memo(ctx context.Context, part Part, build func(ctx context.Context, dir string) error) (string, error) {
	manifest := part.manifest(j)
	key := artifact.DigestBytes([]byte(manifest))
	parts := filepath.Join(j.ScratchDir, "parts")
	dir := filepath.Join(parts, string(key))
	if _, err := os.Stat(dir); err == nil { // made or recalled in this execution, or in an attempt before it
		return dir, nil
	}
	if err := os.MkdirAll(parts, 0o777); err != nil {
		return "", fmt.Errorf("making the folder of a part: %w", err)
	}
	memory, kept := j.reporter.(Memory)
	if kept {
		found, err := recall(ctx, memory, key, dir)
		if found || err != nil {
			return dir, err
		}
	}
	work := dir + ".new" // a killed attempt may have left it
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("making the folder of a part: %w", err)
	}
	if err := os.Mkdir(work, 0o777); err != nil {
		return "", fmt.Errorf("making the folder of a part: %w", err)
	}
	if err := build(ctx, work); err != nil {
		return "", err
	}
	if kept {
		if err := memory.Remember(ctx, key, manifest, work); err != nil {
			return "", fmt.Errorf("keeping a part: %w", err)
		}
	}
	if err := os.Rename(work, dir); err != nil {
		return "", fmt.Errorf("keeping a part: %w", err)
	}
	return dir, nil
}

// recall brings the part to dir, through a name that a killed attempt may have left.
func recall(ctx context.Context, memory Memory, key artifact.Digest, dir string) (bool, error) {
	tmp := dir + ".recalled"
	if err := os.RemoveAll(tmp); err != nil {
		return false, fmt.Errorf("recalling a part: %w", err)
	}
	found, err := memory.Recall(ctx, key, tmp)
	if err == nil && found {
		err = os.Rename(tmp, dir)
	}
	if err != nil {
		return false, fmt.Errorf("recalling a part: %w", err)
	}
	return found, nil
}
