package nas

import (
	"math"
	"sort"
)

// score is what a candidate is judged by: one number for each objective, larger is better. A nil score is one of a candidate that failed or
// breaks a constraint; it is worse than all others.
type score []float64

// dominates reports whether a is at least as good as b in everything and better in something.
func (a score) dominates(b score) bool {
	if a == nil || b == nil {
		return a != nil && b == nil
	}
	better := false
	for i := range a {
		if a[i] < b[i] {
			return false
		}
		better = better || a[i] > b[i]
	}
	return better
}

// front returns the indexes of the scores that none dominates, in order.
func front(scores []score) []int {
	var out []int
	for i, a := range scores {
		if a == nil {
			continue
		}
		dominated := false
		for _, b := range scores {
			dominated = dominated || b.dominates(a)
		}
		if !dominated {
			out = append(out, i)
		}
	}
	return out
}

// ranking orders the scores from best to worst by non-dominated sorting and crowding distance (Deb et al. 2002, NSGA-II); with one
// objective that is by the number. Equal ones keep their order.
func ranking(scores []score) []int {
	left := make([]int, len(scores))
	for i := range left {
		left[i] = i
	}
	var out []int
	for len(left) > 0 {
		layer := make([]score, len(left))
		for k, i := range left {
			layer[k] = scores[i]
		}
		members := front(layer)
		if len(members) == 0 { // only failed ones are left
			return append(out, left...)
		}
		distance := crowding(layer, members)
		sort.SliceStable(members, func(x, y int) bool { return distance[members[x]] > distance[members[y]] })
		taken := map[int]bool{}
		for _, k := range members {
			out = append(out, left[k])
			taken[k] = true
		}
		rest := left[:0:0]
		for k, i := range left {
			if !taken[k] {
				rest = append(rest, i)
			}
		}
		left = rest
	}
	return out
}

// crowding returns how far the neighbours of each member of a front lie, by index; the ends of an objective are infinitely far.
func crowding(scores []score, members []int) map[int]float64 {
	distance := map[int]float64{}
	if len(members) == 0 {
		return distance
	}
	for o := range scores[members[0]] {
		order := append([]int(nil), members...)
		sort.SliceStable(order, func(x, y int) bool { return scores[order[x]][o] < scores[order[y]][o] })
		low, high := scores[order[0]][o], scores[order[len(order)-1]][o]
		distance[order[0]], distance[order[len(order)-1]] = math.Inf(1), math.Inf(1)
		for k := 1; k+1 < len(order) && high > low; k++ {
			distance[order[k]] += (scores[order[k+1]][o] - scores[order[k-1]][o]) / (high - low)
		}
	}
	return distance
}
