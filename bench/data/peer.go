package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// peer is the process of Python, which answers one question at a time.
type peer struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Reader
}

func startPeer(ctx context.Context, o options, dir string) (*peer, error) {
	cmd := exec.CommandContext(ctx, o.python, o.peer, dir)
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the peer: %w", err)
	}
	return &peer{cmd, in, bufio.NewReader(out)}, nil
}

func (p *peer) stop() {
	p.in.Close()     // the process ends with its input
	_ = p.cmd.Wait() // whatever it says of its end, the answers are in
}

type answer struct {
	Rate     float64  `json:"rate"`
	Versions []string `json:"versions"`
	Error    string   `json:"error"`
}

func (p *peer) tell(name string, seconds float64) (a answer, err error) {
	question, err := json.Marshal(map[string]any{"case": name, "seconds": seconds})
	if err != nil {
		return a, err
	}
	if _, err := p.in.Write(append(question, '\n')); err != nil {
		return a, fmt.Errorf("asking the peer: %w", err)
	}
	line, err := p.answers.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("the peer ended: %w", err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("the peer says %q: %w", line, err)
	}
	if a.Error != "" {
		return a, errors.New("the peer: " + a.Error)
	}
	return a, nil
}

// ask returns images a second.
func (p *peer) ask(name string, seconds float64) (float64, error) {
	a, err := p.tell(name, seconds)
	return a.Rate, err
}

func (p *peer) versions() ([]string, error) {
	a, err := p.tell("versions", 0)
	return a.Versions, err
}
