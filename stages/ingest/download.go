package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/stages"
)

var sha256Text = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

func (g *ingest) checkURL() []stages.Problem {
	if g.url == "" {
		if g.sha256 != "" {
			return []stages.Problem{stages.Problemf("sha256", "Argument without a URL", "\"sha256\" says what a URL must give, and there is no \"url\".")}
		}
		return nil
	}
	var out []stages.Problem
	if u, err := url.Parse(g.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		out = append(out, stages.Problemf("url", "Malformed URL", "%q is not the address of a file on the web, which begins with https:// or http://.", g.url))
	}
	if !sha256Text.MatchString(g.sha256) {
		out = append(out, stages.Problemf("sha256", "SHA-256 missing", "What a URL gives can change, so \"sha256\" must say what it is to be, in 64 hexadecimal digits. `sha256sum FILE` prints it."))
	}
	return out
}

// attempts is how often a download that breaks off is taken up again, and pause how long it waits the first time.
const attempts = 5

var pause = time.Second

// download returns the path of the file that the URL gives. It is kept in the cache by its digest, so a stage with other arguments does not
// fetch it again; a part of it survives the stage's failure and its attempts.
func (g *ingest) download(ctx context.Context, job *stages.Job) (string, error) {
	want := strings.ToLower(g.sha256)
	u, err := url.Parse(g.url)
	if err != nil {
		return "", err
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" || strings.ContainsAny(name, "\x00\n") {
		name = "download"
	}
	dir, err := job.Memo(ctx, stages.Part{Text: "download sha256 = " + want + "\nname = " + name + "\n"}, func(ctx context.Context, dir string) error {
		partial := filepath.Join(job.ScratchDir, "download-"+want)
		if err := g.fetch(ctx, job, partial, want); err != nil {
			return err
		}
		return os.Rename(partial, filepath.Join(dir, name))
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// fetch downloads to the file at partial, from where that ends, until all of it is there.
func (g *ingest) fetch(ctx context.Context, job *stages.Job, partial, want string) error {
	var last error
	wait := pause
	for n := range attempts {
		if n > 0 {
			job.Logf("the download broke off (%v) and goes on", last)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
			wait *= 2
		}
		err := g.attempt(ctx, job, partial)
		if err == nil {
			return g.verify(partial, want)
		}
		var refused *refusal
		if errors.As(err, &refused) {
			return stages.Problemf("url", "Download refused", "The server answers %q for %s. Look at the address in a browser.", refused.status, g.url)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if last = err; errors.As(err, new(*os.PathError)) { // this machine's disk, and not the other side
			break
		}
	}
	return fmt.Errorf("downloading %s: %w", g.url, last)
}

// refusal is an answer that another attempt does not change.
type refusal struct{ status string }

func (r *refusal) Error() string { return r.status }

// attempt makes one request and appends what it gives.
func (g *ingest) attempt(ctx context.Context, job *stages.Job, partial string) error {
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, nil)
	if err != nil {
		return err
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return nil // all of it is there; the digest tells
	case answer.StatusCode == http.StatusOK:
		have = 0 // the server gives it from the beginning
		if err := errors.Join(f.Truncate(0), seekStart(f)); err != nil {
			return err
		}
	case answer.StatusCode != http.StatusPartialContent:
		if answer.StatusCode >= 400 && answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusRequestTimeout {
			return &refusal{answer.Status}
		}
		return errors.New(answer.Status)
	}
	progress := &counter{job: job, done: have}
	if answer.ContentLength >= 0 {
		progress.total = have + answer.ContentLength
	}
	if _, err := io.Copy(io.MultiWriter(f, progress), answer.Body); err != nil {
		return err
	}
	return f.Sync()
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// counter reports the progress of a download.
type counter struct {
	job         *stages.Job
	done, total int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.done += int64(len(b))
	c.job.Progress(stages.Progress{Phase: "download", Done: c.done, Total: c.total, Unit: "bytes"})
	return len(b), nil
}

// verify refuses a file of another digest, and removes it: what is wrong at the beginning is not mended by going on.
func (g *ingest) verify(partial, want string) error {
	f, err := os.Open(partial)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("reading the download: %w", err)
	}
	got := hex.EncodeToString(h.Sum(nil))
	if got == want {
		return nil
	}
	if err := os.Remove(partial); err != nil {
		return err
	}
	return stages.Problemf("sha256", "The download is not what it should be", "%s gives a file with the SHA-256 %s, and not %s. Either the file there has changed, or the digest is of another one. Nothing of it was used.", g.url, got, want)
}
