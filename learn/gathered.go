package learn

import (
	"cmp"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
)

// gathered holds what has flowed back to each place in the tape so far.
type gathered map[int]*inflow

// inflow is the gradient of one value: a sum, and gradients of ranges of the value that are not in it yet.
type inflow struct {
	sum    *graph.Node
	pieces []pieceGradient
}

// piece is a range along an axis of a node that has so many elements there.
type piece struct {
	axis, size int
	r          sliceRange
}

type pieceGradient struct {
	piece
	g *graph.Node
}

func (s gathered) at(place int) *inflow {
	if s[place] == nil {
		s[place] = &inflow{}
	}
	return s[place]
}

// add adds g to what has come to the place.
func (s gathered) add(place int, g *graph.Node) { s.at(place).add(g) }

func (f *inflow) add(g *graph.Node) {
	if f.sum != nil {
		g = graph.Add(f.sum, g)
	}
	f.sum = g
}

// addPiece adds the gradient of a range of the value at the place.
func (s gathered) addPiece(place int, p *piece, g *graph.Node) {
	f := s.at(place)
	f.pieces = append(f.pieces, pieceGradient{*p, g})
}

// total returns all that has come to the place, or nil. Ranges that make up the whole are put together; others are filled up with zeroes.
func (s gathered) total(place int) *graph.Node {
	f := s[place]
	if f == nil {
		return nil
	}
	if pieces := f.pieces; len(pieces) > 0 {
		f.pieces = nil
		if whole := joined(pieces); whole != nil {
			f.add(whole)
			return f.sum
		}
		for _, p := range pieces {
			f.add(uncut(p.g, p.axis, p.size, p.r))
		}
	}
	return f.sum
}

// joined puts ranges that follow each other and leave nothing out together; nil when they are not such.
func joined(pieces []pieceGradient) *graph.Node {
	pieces = slices.Clone(pieces)
	slices.SortStableFunc(pieces, func(a, b pieceGradient) int { return cmp.Compare(a.r.start, b.r.start) })
	next := 0
	var nodes []*graph.Node
	for _, p := range pieces {
		if p.axis != pieces[0].axis || p.r.step != 1 || p.r.start != next {
			return nil
		}
		next += p.r.length
		nodes = append(nodes, p.g)
	}
	if next != pieces[0].size {
		return nil
	}
	return graph.Concatenate(nodes, pieces[0].axis)
}
