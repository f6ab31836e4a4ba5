// Command data measures augmentation, loading and decoding against what people use from Python, on the same machine. It is run by `make
// bench-data`, which installs the peers first: Albumentations on OpenCV for single operations, PyTorch's DataLoader for whole policies, OpenCV for
// JPEG files. One process of Python answers; both sides take turns, and the medians are compared.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

type options struct {
	python, peer, out string
	rounds            int
	seconds           float64
	only              string
}

func main() {
	var o options
	flag.StringVar(&o.python, "python", "python3", "the Python that has the peers")
	flag.StringVar(&o.peer, "peer", "bench/data/peer.py", "the peers' script")
	flag.StringVar(&o.out, "out", "", "file whose section on data is rewritten, such as bench/RESULTS.md (default: none)")
	flag.IntVar(&o.rounds, "rounds", 3, "turns of each side for a case")
	flag.Float64Var(&o.seconds, "seconds", 0.2, "processor time of a turn of an operation; whole policies take ten times as long")
	flag.StringVar(&o.only, "cases", "", "cases whose names contain this (default: all)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench/data:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) error {
	if o.rounds < 1 || !(o.seconds > 0) {
		return fmt.Errorf("-rounds and -seconds must be above 0")
	}
	dir, err := os.MkdirTemp("", "darkroom-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := store(dir); err != nil {
		return fmt.Errorf("storing the images: %w", err)
	}
	p, err := startPeer(ctx, o, dir)
	if err != nil {
		return err
	}
	defer p.stop()
	var results []result
	for _, c := range cases(dir) {
		if !strings.Contains(c.name, o.only) {
			continue
		}
		r, err := measure(ctx, o, c, p)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Println(r.line())
		results = append(results, r)
	}
	fmt.Print("\n" + summary(results))
	if o.out == "" {
		return nil
	}
	versions, err := p.versions()
	if err != nil {
		return err
	}
	return writeSection(o, results, versions)
}

// measure lets both sides take turns.
func measure(ctx context.Context, o options, c benchCase, p *peer) (result, error) {
	r := result{benchCase: c, peers: map[string][]float64{}}
	seconds := o.seconds
	if c.long {
		seconds *= 10
	}
	side, err := c.ours()
	if err != nil {
		return r, err
	}
	defer side.close()
	for range o.rounds {
		for _, name := range c.peers {
			rate, err := p.ask(name, seconds)
			if err != nil {
				return r, err
			}
			r.peers[name] = append(r.peers[name], rate)
		}
		rate, err := side.run(ctx, seconds)
		if err != nil {
			return r, err
		}
		r.ours = append(r.ours, rate)
		if c.reference != nil {
			r.peers["reference"] = append(r.peers["reference"], c.reference(seconds))
		}
	}
	return r, nil
}
