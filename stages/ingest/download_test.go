package ingest

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/stages"
)

// archiveOf is a zip archive of the pictures that can be read.
func archiveOf(t *testing.T) []byte {
	t.Helper()
	return encoded(t, func(b *bytes.Buffer) error {
		w := zip.NewWriter(b)
		for name, content := range pictures(t) {
			if strings.Contains(name, "cut") {
				continue
			}
			f, err := w.Create(name)
			if err != nil {
				return err
			}
			if _, err := f.Write(content); err != nil {
				return err
			}
		}
		return w.Close()
	})
}

// flaky serves b, but breaks every answer off after some bytes.
func flaky(t *testing.T, b []byte, most int, ranges bool) (url string, requests *atomic.Int64) {
	requests = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && ranges {
			if from >= len(b) {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
			w.Header().Set("Content-Length", fmt.Sprint(len(b)-from))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			from = 0
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		}
		end := min(len(b), from+most)
		w.Write(b[from:end]) //nolint:errcheck // the client may have gone
		if end < len(b) {
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/data/set.zip", requests
}

// fetchInto runs the kind on a URL with a scratch folder that survives.
func fetchInto(t *testing.T, scratch, url, digest string) (map[string]any, error) {
	t.Helper()
	pause = time.Millisecond
	stage := Kind.New()
	args := map[string]any{"url": url, "sha256": digest, "size": 8.0}
	if _, problems := stages.Decode(stage, stages.Args{Values: args}, map[string]bool{}); stages.HasErrors(problems) {
		return nil, problems[0]
	}
	out := &spoken{values: map[string]any{}}
	job := (&stages.Job{OutDir: t.TempDir(), ScratchDir: scratch}).WithReporter(out)
	return out.values, stage.Run(t.Context(), job)
}

func TestDownloadGoesOn(t *testing.T) {
	b := archiveOf(t)
	digest := fmt.Sprintf("%x", sha256.Sum256(b))
	url, requests := flaky(t, b, len(b)/4+1, true)
	values, err := fetchInto(t, t.TempDir(), url, strings.ToUpper(digest))
	if err != nil || values["count"] != 6 || requests.Load() != 4 {
		t.Fatalf("%v after %d requests: %v", values["count"], requests.Load(), err)
	}
	// What a killed attempt left is gone on from, and what is whole is not fetched again.
	scratch := t.TempDir()
	if err := os.WriteFile(filepath.Join(scratch, "download-"+digest), b[:len(b)-1], 0o666); err != nil {
		t.Fatal(err)
	}
	url, requests = flaky(t, b, 1, true)
	for range 2 {
		if _, err := fetchInto(t, scratch, url, digest); err != nil || requests.Load() != 1 {
			t.Fatalf("after %d requests: %v", requests.Load(), err)
		}
	}
	// A server that cannot go on gives all of it.
	if err := os.WriteFile(filepath.Join(scratch, "download-"+digest), []byte("other"), 0o666); err != nil {
		t.Fatal(err)
	}
	url, _ = flaky(t, b, len(b), false)
	if _, err := fetchInto(t, t.TempDir(), url, digest); err != nil {
		t.Error(err)
	}
}

func TestDownloadsThatAreRefused(t *testing.T) {
	b := archiveOf(t)
	digest := fmt.Sprintf("%x", sha256.Sum256(b))
	url, _ := flaky(t, append(bytes.Clone(b), 0), len(b)+1, true)
	scratch := t.TempDir()
	if _, err := fetchInto(t, scratch, url, digest); err == nil || !strings.Contains(err.Error(), "not what it should be") {
		t.Errorf("another file: %v", err)
	}
	if left, _ := filepath.Glob(scratch + "/download*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	if _, err := fetchInto(t, t.TempDir(), missing.URL+"/x.zip", digest); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("nothing there: %v", err)
	}
	url, requests := flaky(t, b, 0, true)
	if _, err := fetchInto(t, t.TempDir(), url, digest); err == nil || requests.Load() != attempts {
		t.Errorf("a server that gives nothing: %d requests, %v", requests.Load(), err)
	}
	for _, c := range []struct{ url, digest, err string }{
		{"ftp://x/y", digest, "Malformed URL"}, {url, "", "SHA-256 missing"}, {url, "abc", "SHA-256 missing"}, {"", digest, "Argument without a URL"},
	} {
		args := map[string]any{"sha256": c.digest, "generator": "surfaces"}
		if c.url != "" {
			args = map[string]any{"url": c.url, "sha256": c.digest}
		}
		_, problems := stages.Decode(Kind.New(), stages.Args{Values: args}, map[string]bool{})
		if len(problems) == 0 || !strings.Contains(fmt.Sprint(problems), c.err) {
			t.Errorf("%q, %q: %v", c.url, c.digest, problems)
		}
	}
}
