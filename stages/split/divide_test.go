package split

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
)

// randomItems makes n images of so many classes with skewed frequencies; labels says how many classes an image may have at most.
func randomItems(r *rand.Rand, n, classes, labels int) []item {
	items := make([]item, n)
	for i := range items {
		items[i] = item{id: fmt.Sprintf("image-%d", i), content: artifact.DigestBytes(fmt.Append(nil, i))}
		for range 1 + r.IntN(labels) {
			l := int32(float64(classes) * math.Pow(r.Float64(), 2))
			if at, ok := slices.BinarySearch(items[i].labels, l); !ok {
				items[i].labels = slices.Insert(items[i].labels, at, l)
			}
		}
	}
	return items
}

func randomParts(r *rand.Rand) []part {
	parts := make([]part, 2+r.IntN(9))
	for p := range parts {
		parts[p] = part{fmt.Sprint(p), 0.1 + 10*r.Float64()}
	}
	return parts
}

func stratified(items []item, alike [][2]int, parts []part, classes int, seed uint64) (*division, []int) {
	d := newDivision(newUnits(items, alike, seed), parts, classes)
	d.stratify(seed)
	return d, d.byItem(len(items))
}

// checkDivision recounts the parts from the images themselves.
func checkDivision(t *testing.T, d *division, items []item, of []int) {
	t.Helper()
	for p := range d.parts {
		have := make([]int, d.whole+1)
		for i := range items {
			if of[i] < 0 || of[i] >= len(d.parts) {
				t.Fatalf("image %d is in part %d", i, of[i])
			}
			if of[i] != p {
				continue
			}
			have[d.whole]++
			for _, l := range items[i].labels {
				have[l]++
			}
		}
		if !slices.Equal(have, d.have[p]) {
			t.Fatalf("part %d has %v, the division says %v", p, have, d.have[p])
		}
	}
	groups, contents := map[string]int{}, map[artifact.Digest]int{}
	for i, it := range items {
		if p, ok := groups[it.group]; it.group != "" && ok && p != of[i] {
			t.Fatalf("the group %s is torn", it.group)
		}
		if p, ok := contents[it.content]; ok && p != of[i] {
			t.Fatalf("equal images are in the parts %d and %d", p, of[i])
		}
		groups[it.group], contents[it.content] = of[i], of[i]
	}
}

// Images on their own, one class each: every class and the whole are within one image of exact, in every part, always.
func TestSingleImagesAreExact(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		classes := 1 + r.IntN(12)
		items, parts := randomItems(r, 1+r.IntN(400), classes, 1), randomParts(r)
		d, of := stratified(items, nil, parts, classes, seed)
		checkDivision(t, d, items, of)
		for p := range parts {
			for c := range classes + 1 {
				if d.beyond(p, c) {
					t.Fatalf("seed %d: part %d has %d of column %d, exact would be %v", seed, p, d.have[p][c], c, d.exact[p][c])
				}
			}
		}
	}
}

// The order in which images are given means nothing; the seed does.
func TestOrderMeansNothing(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		items, parts := randomItems(r, 150, 6, 1+int(seed)%3), randomParts(r)
		for i := range items {
			if seed%2 == 0 {
				items[i].group = fmt.Sprint(r.IntN(60))
			}
		}
		_, of := stratified(items, nil, parts, 6, seed)
		_, other := stratified(items, nil, parts, 6, seed+1)
		if slices.Equal(of, other) {
			t.Fatal("another seed must give another division")
		}
		shuffled, was := slices.Clone(items), r.Perm(len(items))
		for i, from := range was {
			shuffled[i] = items[from]
		}
		_, again := stratified(shuffled, nil, parts, 6, seed)
		for i, from := range was {
			if again[i] != of[from] {
				t.Fatalf("seed %d: %s is in part %d or %d, depending on the order", seed, shuffled[i].id, of[from], again[i])
			}
		}
	}
}

// Several classes an image: nearly every class within one image of exact, and none far off.
func TestSeveralLabels(t *testing.T) {
	cells, beyond, worst := 0, 0, 0.0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		classes := 3 + r.IntN(10)
		items, parts := randomItems(r, 200+r.IntN(400), classes, 4), randomParts(r)
		d, of := stratified(items, nil, parts, classes, seed)
		checkDivision(t, d, items, of)
		for p := range parts {
			if d.beyond(p, d.whole) {
				t.Fatalf("seed %d: part %d has %d images, exact would be %v", seed, p, d.have[p][d.whole], d.exact[p][d.whole])
			}
			for c := range classes {
				cells++
				worst = max(worst, d.off(p, c))
				if d.beyond(p, c) {
					beyond++
				}
			}
		}
	}
	t.Logf("%d of %d class counts are off by an image or more, at most %.2f", beyond, cells, worst)
	if float64(beyond) > 0.01*float64(cells) || worst > 3 {
		t.Error("that is too many or too far")
	}
}

// Groups: folds stay within five points of the whole's class shares, where no group is large beside a fold.
func TestGroupedFolds(t *testing.T) {
	worst := 0.0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 4))
		classes, folds := 2+r.IntN(6), 2+r.IntN(9)
		items := randomItems(r, 300+r.IntN(900), classes, 1+int(seed%2))
		var parts []part
		for i := range folds {
			parts = append(parts, part{fmt.Sprint(i), 1})
		}
		group := 0
		for i := 0; i < len(items); group++ {
			// A patient's images are mostly of one class.
			for n := 1 + r.IntN(len(items)/folds/8+1); n > 0 && i < len(items); n, i = n-1, i+1 {
				items[i].group = fmt.Sprintf("patient-%d", group)
				if n%3 > 0 && i > 0 && items[i-1].group == items[i].group {
					items[i].labels = items[i-1].labels
				}
			}
		}
		d, of := stratified(items, nil, parts, classes, seed)
		checkDivision(t, d, items, of)
		deviation, _, _ := d.deviation()
		worst = max(worst, deviation)
		// A fold cannot be nearer than half of what a group brings; five points are to hold where that is well below.
		largest := 0
		for _, u := range d.units {
			for _, c := range u.sizes {
				largest = max(largest, c.n)
			}
		}
		if step := float64(largest*folds) / float64(len(items)); deviation > max(0.05, step/2) {
			t.Errorf("seed %d: a class share of a fold is %.3f from the whole's; groups bring up to %.3f", seed, deviation, step)
		}
	}
	t.Logf("the largest deviation of a share is %.4f", worst)
}

// Pairs that are alike join, through others too.
func TestAlikeStayTogether(t *testing.T) {
	items := randomItems(rand.New(rand.NewPCG(1, 5)), 50, 3, 1)
	alike := [][2]int{{1, 2}, {2, 30}, {40, 41}, {30, 7}}
	for seed := range uint64(20) {
		_, of := stratified(items, alike, []part{{"a", 1}, {"b", 1}, {"c", 1}}, 3, seed)
		if of[1] != of[2] || of[2] != of[30] || of[7] != of[1] || of[40] != of[41] {
			t.Fatalf("alike images are apart: %v", of)
		}
	}
}

func TestRoundTable(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 6))
		rows, columns := 1+r.IntN(8), 1+r.IntN(8)
		table := make([][]float64, rows)
		for i := range table {
			table[i] = make([]float64, columns)
			for j := range table[i] {
				table[i][j] = math.Floor(20*r.Float64()) / []float64{1, 3, 4, 7.7}[r.IntN(4)]
			}
		}
		out := roundTable(table)
		near := func(what string, exact float64, got int) {
			if math.Abs(exact-float64(got)) >= 1-1e-6 && math.Abs(exact-float64(got)) > 1e-6 {
				t.Fatalf("seed %d: %s is %d, exact %v", seed, what, got, exact)
			}
		}
		for i := range table {
			exact, sum := 0.0, 0
			for j := range table[i] {
				near("an entry", table[i][j], out[i][j])
				exact, sum = exact+table[i][j], sum+out[i][j]
			}
			near("a row", exact, sum)
		}
		for j := range columns {
			exact, sum := 0.0, 0
			for i := range table {
				exact, sum = exact+table[i][j], sum+out[i][j]
			}
			near("a column", exact, sum)
		}
	}
}
