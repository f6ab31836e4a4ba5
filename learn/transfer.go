package learn

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Freeze says which parameters stay as they are, and until when. A layer is a convolution or a matrix product with what normalises and shifts its
// result; the first is the one next to the images. Frozen layers below the first trained one are not differentiated.
type Freeze struct {
	Share    float64  // of the layers, from the first on; 0 to 1
	Patterns []string // of names of parameters or of nodes; * stands for any text and ? for one character
	// Epochs is how many epochs they stay frozen; 0: the whole training.
	Epochs int
	// Steps is in how many equal steps, over these epochs, the layers that Share froze thaw, from the last on; 0 and 1: all at the end.
	Steps int
	// Statistics says that normalisations that are frozen whole keep their running statistics, and use them.
	Statistics bool
}

// LayerRates are the learning rates of layers as shares of the training's.
type LayerRates struct {
	// Bottom is the share for the first Share of the layers; 0: all have the same.
	Bottom, Share float64
	// Decay makes each block's rate that share of the next block's; the classifier has the whole. A block ends at each sum of a residual branch with its
	// shortcut; in a model without these it is a layer. 0: it does not.
	Decay float64
	// Match multiplies the rates of parameters whose name, or whose node's name, matches, one after the other.
	Match []PatternRate
}

// PatternRate is a factor for what matches a pattern.
type PatternRate struct {
	Pattern string
	Factor  float64 // at least 0
}

// layers is the structure of a model's parameters.
type layers struct {
	layer map[string]int // of each parameter, from 0
	block map[string]int
	count int
	deep  int               // blocks
	node  map[string]string // the name of the node that each parameter enters first
}

// findLayers numbers the layers in the order of the graph.
func findLayers(m *onnx.Model, p *plan) layers {
	l := layers{layer: map[string]int{}, block: map[string]int{}, node: map[string]string{}}
	matrix := map[string]bool{}
	for _, w := range p.parameters {
		matrix[w.name] = w.decay
	}
	ends := map[string]bool{}
	for _, r := range residuals(m) {
		ends[r.output] = true
	}
	at, block := -1, 0
	through := map[string][]string{} // by what a fake quantization of weights gives: the weights and the factor
	for _, n := range m.Graph().Node {
		if n.OpType == onnx.FakeQuantizeOperator && p.isParameter(n.Input[0]) {
			through[n.Output[0]] = n.Input
			continue
		}
		opens := false
		var inputs []string
		for _, in := range n.Input {
			if weights := through[in]; weights != nil {
				inputs = append(inputs, weights...)
			} else {
				inputs = append(inputs, in)
			}
		}
		for _, in := range inputs {
			if _, seen := l.layer[in]; p.isParameter(in) && !seen {
				opens = opens || matrix[in] && slices.Contains([]string{"Conv", "Gemm", "MatMul"}, n.OpType)
			}
		}
		if opens {
			at++
			if len(ends) == 0 {
				block = at
			}
		}
		for _, in := range inputs {
			if _, seen := l.layer[in]; p.isParameter(in) && !seen {
				l.layer[in], l.block[in], l.node[in] = max(at, 0), block, n.Name
			}
		}
		if ends[n.Output[0]] {
			block++
		}
	}
	l.count, l.deep = at+1, block+1
	return l
}

// pattern makes a pattern a regular expression over a whole name.
func pattern(p string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(p)
	quoted = strings.ReplaceAll(quoted, `\*`, ".*")
	return regexp.MustCompile("^(?s:" + strings.ReplaceAll(quoted, `\?`, ".") + ")$")
}

// matching returns the parameters that a pattern means; a pattern that means none is an error that lists the nearest names.
func (l layers) matching(p *plan, text string) ([]string, error) {
	expression := pattern(text)
	var names, all []string
	for _, w := range p.parameters {
		all = append(all, w.name)
		if expression.MatchString(w.name) || expression.MatchString(l.node[w.name]) {
			names = append(names, w.name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no parameter and no node has a name like %q. The nearest are %s", text, strings.Join(nearest(text, all, 3), ", "))
	}
	return names, nil
}

// nearest returns the n names that are the fewest changes away from text, quoted.
func nearest(text string, names []string, n int) []string {
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int { return edits(text, a) - edits(text, b) })
	sorted = sorted[:min(n, len(sorted))]
	for i, s := range sorted {
		sorted[i] = fmt.Sprintf("%q", s)
	}
	return sorted
}

// edits is the number of characters to insert, remove or replace (Levenshtein 1966).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := before
			if a[i] != b[j] {
				replaced++
			}
			before = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// frozenIn returns the parameters that are frozen in an epoch, counted from 0. All of them being frozen is an error.
func (f Freeze) frozenIn(epoch int, m *onnx.Model, p *plan) (map[string]bool, error) {
	frozen := map[string]bool{}
	if f.Epochs > 0 && epoch >= f.Epochs {
		return frozen, nil
	}
	l := findLayers(m, p)
	share := f.Share
	if f.Epochs > 0 && f.Steps > 1 {
		share *= 1 - float64(epoch*f.Steps/f.Epochs)/float64(f.Steps)
	}
	count := int(math.Floor(share*float64(l.count) + 1e-9))
	for _, w := range p.parameters {
		if l.layer[w.name] < count {
			frozen[w.name] = true
		}
	}
	for _, text := range f.Patterns {
		names, err := l.matching(p, text)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			frozen[name] = true
		}
	}
	if len(frozen) == len(p.parameters) {
		return nil, fmt.Errorf("every parameter is frozen, so nothing would be trained. Freeze fewer layers")
	}
	return frozen, nil
}

// scales returns the factor of each parameter's learning rate that is not 1.
func (r LayerRates) scales(m *onnx.Model, p *plan) (map[string]float64, error) {
	out := map[string]float64{}
	l := findLayers(m, p)
	bottom := int(math.Floor(r.Share*float64(l.count) + 1e-9))
	for _, w := range p.parameters {
		factor := 1.0
		if r.Bottom > 0 && l.layer[w.name] < bottom {
			factor = r.Bottom
		}
		if r.Decay > 0 && !w.head {
			factor *= math.Pow(r.Decay, float64(l.deep-l.block[w.name]))
		}
		out[w.name] = factor
	}
	for _, match := range r.Match {
		names, err := l.matching(p, match.Pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out[name] *= match.Factor
		}
	}
	return out, nil
}

// RateGroup is parameters that are trained with one learning rate.
type RateGroup struct {
	Factor float64 `json:"factor"` // of the learning rate
	First  string  `json:"first"`  // the first of them, in order of the file
	Last   string  `json:"last"`
	Count  int     `json:"count"` // tensors
}

// rateGroups lists the groups in order of their first parameters; nil where all have one rate.
func (m *Machine) rateGroups() []RateGroup {
	var out []RateGroup
	for _, p := range m.plan.parameters {
		factor, ok := m.o.Scales[p.name]
		if !ok {
			factor = 1
		}
		i := slices.IndexFunc(out, func(g RateGroup) bool { return g.Factor == factor })
		if i < 0 {
			i, out = len(out), append(out, RateGroup{Factor: factor, First: p.name})
		}
		out[i].Last = p.name
		out[i].Count++
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

// Layers returns the names of a model's parameters by layer, the first next to the images, for reports and messages.
func Layers(m *onnx.Model) ([][]string, error) {
	p, err := makePlan(m)
	if err != nil {
		return nil, err
	}
	l := findLayers(m, p)
	list := make([][]string, max(l.count, 1))
	for _, w := range p.parameters {
		list[l.layer[w.name]] = append(list[l.layer[w.name]], w.name)
	}
	return list, nil
}
