package main

import (
	"strings"
	"testing"
)

func TestReplaceSection(t *testing.T) {
	section := begin + "\nnew\n" + end + "\n"
	for _, c := range []struct{ name, text, want string }{
		{"an empty file", "", section},
		{"no section yet", "# Measured\n", "# Measured\n\n" + section},
		{"above that of accept", "# Measured\n\n" + accepts + "\n\n## Acceptance\n", "# Measured\n\n" + section + "\n" + accepts + "\n\n## Acceptance\n"},
		{"in the old one's place", "a\n" + begin + "\nold\n" + end + "\n\nb\n" + accepts + "\nc\n", "a\n" + section + "\nb\n" + accepts + "\nc\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := replaceSection(c.text, section)
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if again := replaceSection(got, section); again != got {
				t.Errorf("a second time it becomes %q", again)
			}
		})
	}
}

func TestFillComparesWithTheBestVariant(t *testing.T) {
	peers := map[string][]trained{
		"default+tensors":       {{Rate: 100, Memory: 5}, {Rate: 300, Memory: 5}, {Rate: 110, Memory: 5}},
		"channels_last+tensors": {{Rate: 190, Memory: 7, Version: "p"}, {Rate: 210, Memory: 9, Version: "p"}},
		"default+workers":       {{Rate: 150}},
	}
	var r result
	r.fill([]trained{{Rate: 90, Version: "o"}, {Rate: 100, Version: "o"}, {Rate: 400, Version: "o"}}, peers)
	if r.Ours != 100 || r.Peer != 200 || r.Ratio != 0.5 || r.Variant != "channels_last+tensors" || r.PeerMemory != 8 || strings.Join(r.Versions, " ") != "o p" {
		t.Errorf("%+v", r)
	}
	if got := strings.Join(contenders(peers, 1), " "); got != "channels_last+tensors" {
		t.Errorf("the second round measures %s", got)
	}
}
