package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// partServer answers a worker's questions about parts, each in a goroutine of its own since one may wait for another run.
type partServer struct {
	ctx    context.Context
	memory stages.Memory // nil: nothing is kept
	asked  sync.WaitGroup

	mu sync.Mutex // keeps the lines of to whole
	to io.Writer
}

func (s *partServer) answer(q partQuestion) {
	s.asked.Go(func() {
		a := partAnswer{Number: q.Number}
		var err error
		switch {
		case s.memory == nil:
		case q.Remember:
			err = s.memory.Remember(s.ctx, q.Key, q.Manifest, q.Path)
		default:
			a.Found, err = s.memory.Recall(s.ctx, q.Key, q.Path)
		}
		if err != nil {
			a.Error = err.Error()
		}
		text, err := json.Marshal(a)
		if err != nil {
			panic(err) // it holds a number, a truth value and text
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _ = s.to.Write(append(text, '\n')) // a worker that has died needs no answer
	})
}

// parts is the worker's side: it implements stages.Memory by asking the run.
type parts struct {
	send func(message)

	mu      sync.Mutex // guards all below
	last    int
	waiting map[int]chan partAnswer
}

// Recall implements stages.Memory.
func (p *parts) Recall(ctx context.Context, key artifact.Digest, dst string) (bool, error) {
	a, err := p.ask(ctx, partQuestion{Key: key, Path: dst})
	return a.Found, err
}

// Remember implements stages.Memory.
func (p *parts) Remember(ctx context.Context, key artifact.Digest, manifest, src string) error {
	_, err := p.ask(ctx, partQuestion{Key: key, Path: src, Remember: true, Manifest: manifest})
	return err
}

func (p *parts) ask(ctx context.Context, q partQuestion) (partAnswer, error) {
	answered := make(chan partAnswer, 1)
	p.mu.Lock()
	p.last++
	q.Number = p.last
	p.waiting[q.Number] = answered
	p.mu.Unlock()
	p.send(message{Part: &q})
	select {
	case a := <-answered:
		if a.Error != "" {
			return partAnswer{}, errors.New(a.Error)
		}
		return a, nil
	case <-ctx.Done():
		return partAnswer{}, ctx.Err()
	}
}

// hear hands on the run's answers until there are no more.
func (p *parts) hear(in *json.Decoder) {
	for {
		var a partAnswer
		if in.Decode(&a) != nil {
			return
		}
		p.mu.Lock()
		answered := p.waiting[a.Number]
		delete(p.waiting, a.Number)
		p.mu.Unlock()
		if answered != nil {
			answered <- a
		}
	}
}
