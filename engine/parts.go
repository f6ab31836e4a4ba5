package engine

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

// partOutput is the name of a part's folder in its record.
const partOutput = "part"

// parts keeps the parts of one attempt's work (stages.Memory) in the cache: each has a record of its own, under its own key, and
// one execution makes it at a time.
type parts struct {
	x *execution

	mu     sync.Mutex // guards leases
	leases map[artifact.Digest]heldPart
}

// heldPart is the right to make a part.
type heldPart struct {
	lease *cache.Lease
	since time.Time
}

// Recall implements stages.Memory.
func (p *parts) Recall(ctx context.Context, key artifact.Digest, dst string) (bool, error) {
	store := p.x.run.o.Cache
	lease, err := store.Lease(ctx, key, nil)
	if err != nil {
		return false, err
	}
	// A part that is damaged is made anew.
	if rec, err := store.Record(key); err == nil && rec != nil {
		defer lease.Release()
		if err := store.Materialize(rec.Outputs[partOutput], dst, cache.Link); err != nil {
			return false, err
		}
		return true, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leases[key] = heldPart{lease, time.Now()}
	return false, nil
}

// Remember implements stages.Memory.
func (p *parts) Remember(_ context.Context, key artifact.Digest, manifest, src string) error {
	p.mu.Lock()
	held, ok := p.leases[key]
	p.mu.Unlock()
	if !ok {
		return fmt.Errorf("the part %s was not asked for before it was made", key.Short())
	}
	store := p.x.run.o.Cache
	ref, err := store.PutTree(src, artifact.Folder)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // a name for people; "" does as well
	rec := &cache.Record{Key: key, Kind: p.x.res.node.Kind.Name, Manifest: manifest, Pipeline: p.x.run.p.Name, Address: p.x.res.node.ID,
		Outputs: map[string]artifact.Ref{partOutput: ref}, Device: p.x.res.device, Started: held.since.UTC(), TookS: time.Since(held.since).Seconds(),
		Host: host, Runner: p.x.res.runner.Name(), Attempts: 1}
	if err := store.PutRecord(rec); err != nil {
		return err
	}
	// The store has taken the files; the stage goes on with links to them.
	if err := os.RemoveAll(src); err != nil {
		return err
	}
	if err := store.Materialize(ref, src, cache.Link); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	held.lease.Release()
	delete(p.leases, key)
	return nil
}

// release gives up the parts that were begun and not made.
func (p *parts) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, held := range p.leases {
		held.lease.Release()
		delete(p.leases, key)
	}
}
