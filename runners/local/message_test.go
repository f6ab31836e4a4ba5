package local

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/runners/runnertest"
)

func TestTornAndEndlessMessages(t *testing.T) {
	l := &runnertest.Listener{}
	text := `{"value":{"name":"a","value":1}}` + "\n" + `{"log":"` + strings.Repeat("x", maxMessage+1<<20) + `"}` + "\n" +
		`{"value":{"name":"b","va` + "\n" + `{"value":{"name":"c","value":[true]}}` + "\n" + `{"done":{"error":"no"}}` + "\n"
	a := readMessages(strings.NewReader(text), l, deaf())
	if a == nil || a.Error != "no" || len(l.Values) != 2 || len(l.Lines) != 0 {
		t.Errorf("answer %+v, values %v, %d lines", a, l.Values, len(l.Lines))
	}
	if a := readMessages(strings.NewReader(`{"done":{}}`), l, deaf()); a != nil {
		t.Error("an answer without its line's end is believed: its writer may have been killed in it")
	}
}

func TestALostValueIsNoSuccess(t *testing.T) {
	text := `{"value":{"name":"a","value":"` + strings.Repeat("x", maxMessage+1) + `"}}` + "\n" + `{"done":{}}` + "\n"
	if a := readMessages(strings.NewReader(text), &runnertest.Listener{}, deaf()); a == nil || !strings.Contains(a.Error, "more than 16 MiB") {
		t.Errorf("answer %+v", a)
	}
}

func FuzzReadMessages(f *testing.F) {
	f.Add([]byte(`{"progress":{"done":3}}` + "\n" + `{"done":{}}` + "\n"))
	f.Add([]byte(`{"measure":{"name":"x","value":1e300}}` + "\n"))
	f.Add([]byte("\n{\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		// An answer is only ever a line of its own that says so.
		if a := readMessages(bytes.NewReader(text), &runnertest.Listener{}, deaf()); a != nil && !bytes.Contains(bytes.ToLower(text), []byte("done")) && !bytes.Contains(text, []byte(`\u`)) && bytes.IndexByte(text, 0xc5) < 0 {
			t.Fatal("an answer out of nothing")
		}
	})
}

// deaf answers questions about parts to nobody.
func deaf() *partServer { return &partServer{to: io.Discard} }
