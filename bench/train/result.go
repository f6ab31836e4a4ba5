package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// result is one case, as it is printed.
type result struct {
	Case       string             `json:"case"`
	Ours       float64            `json:"ours,omitempty"`
	Peer       float64            `json:"peer,omitempty"`  // the best variant's
	Ratio      float64            `json:"ratio,omitempty"` // ours / peer
	Asked      float64            `json:"asked"`
	Unit       string             `json:"units"`
	Variant    string             `json:"peer_variant,omitempty"`
	Variants   map[string]float64 `json:"peer_variants,omitempty"` // medians of all
	OursMemory int64              `json:"ours_memory_bytes,omitempty"`
	PeerMemory int64              `json:"peer_memory_bytes,omitempty"` // of the best variant
	Versions   []string           `json:"versions,omitempty"`
	Threads    int                `json:"threads"`
	Rounds     int                `json:"rounds"`
	Note       string             `json:"note,omitempty"` // why there are no figures
}

// fill takes the medians; the peer is what its best variant does.
func (r *result) fill(ours []trained, peers map[string][]trained) {
	best, versions := fastest(peers)
	r.Ours, r.Peer, r.Variant = rate(ours), rate(peers[best]), best
	r.Ratio = r.Ours / r.Peer
	r.OursMemory, r.PeerMemory = memory(ours), memory(peers[best])
	r.Versions = append([]string{ours[0].Version}, versions)
	r.Variants = map[string]float64{}
	for v, list := range peers {
		r.Variants[v] = rate(list)
	}
}

// fastest returns the variant with the highest median, and the peer's version.
func fastest(peers map[string][]trained) (variant, version string) {
	for _, v := range variants {
		if len(peers[v]) > 0 && (variant == "" || rate(peers[v]) > rate(peers[variant])) {
			variant, version = v, peers[v][0].Version
		}
	}
	return variant, version
}

// rate is the median in images/s.
func rate(list []trained) float64 {
	var rates []float64
	for _, t := range list {
		rates = append(rates, t.Rate)
	}
	return median(rates)
}

// memory is the median of the peaks, in bytes.
func memory(list []trained) int64 {
	var peaks []float64
	for _, t := range list {
		peaks = append(peaks, float64(t.Memory))
	}
	return int64(median(peaks))
}

// median of an even number of values is the mean of the middle two; of none it is 0.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// table is the results in Markdown.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| case | ours, images/s | PyTorch, images/s | best variant of PyTorch | ratio | asked | peak memory ours / PyTorch |\n")
	b.WriteString("| --- | ---: | ---: | --- | ---: | ---: | ---: |\n")
	for _, r := range results {
		if r.Note != "" {
			fmt.Fprintf(&b, "| %s | | | %s | | %.1f | |\n", r.Case, strings.ReplaceAll(r.Note, "|", `\|`), r.Asked)
			continue
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %s | %.2f | %.1f | %d / %d MB |\n", r.Case, r.Ours, r.Peer, r.Variant, r.Ratio, r.Asked, r.OursMemory/1e6, r.PeerMemory/1e6)
	}
	return b.String()
}

const (
	begin   = "<!-- training against PyTorch: written by `make bench-train` -->"
	end     = "<!-- end of training against PyTorch -->"
	accepts = "<!-- below: written by `make accept` -->" // everything under it belongs to bench/accept
)

// writeSection replaces the section of an earlier run, or adds it above that of bench/accept.
func writeSection(path string, o options, results []result) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n## Training against PyTorch\n\n", begin)
	fmt.Fprintf(&b, "%s, %s, %s. Command: `make bench-train FLAGS=\"%s\"`. Full steps with loading, random crop, flip and normalisation; %d threads each; medians of %d rounds of %g s, alternating, one process a round; the ratio is against the best of PyTorch's variants (memory format + loader).\n\n",
		time.Now().UTC().Format("2006-01-02"), machine(), strings.Join(versions(results), ", "), given(), o.threads, o.rounds, o.seconds)
	b.WriteString(table(results) + "\n" + end + "\n")
	return os.WriteFile(filepath.Clean(path), []byte(replaceSection(string(old), b.String())), 0o666)
}

// given returns the flags of this run as they were written, but for the place of the peer, which is the machine's own.
func given() string {
	var out []string
	flag.Visit(func(f *flag.Flag) {
		if f.Name != "python" {
			out = append(out, "-"+f.Name+" "+f.Value.String())
		}
	})
	return strings.Join(out, " ")
}

func versions(results []result) []string {
	out := []string{runtime.Version()}
	for _, r := range results {
		for _, v := range r.Versions {
			if !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

// replaceSection puts section in the place of the former one, which begins with begin and ends with end.
func replaceSection(text, section string) string {
	if before, rest, ok := strings.Cut(text, begin); ok {
		if _, after, ok := strings.Cut(rest, end+"\n"); ok {
			return before + section + after
		}
	}
	if before, after, ok := strings.Cut(text, accepts); ok {
		return before + section + "\n" + accepts + after
	}
	if text != "" {
		text = strings.TrimRight(text, "\n") + "\n\n"
	}
	return text + section
}
