package dsl

import (
	"fmt"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// unit is something that is evaluated as a whole and may refer to other units: a local value, a runner, a stage.
type unit struct {
	name string // local.x, runner.gpu.default, train.teacher
	at   hcl.Range
	refs map[string]hcl.Range // the units it refers to, and where it does
	eval func()
}

// order returns the units so that each comes after what it refers to. Cycles are reported, and their units left out
// and marked as broken.
func (l *loader) order(units map[string]*unit) []*unit {
	waits := map[string]int{}
	readers := map[string][]string{}
	var ready []string
	for _, name := range sortedKeys(units) {
		for ref := range units[name].refs {
			if units[ref] != nil {
				waits[name]++
				readers[ref] = append(readers[ref], name)
			}
		}
		if waits[name] == 0 {
			ready = append(ready, name)
		}
	}
	release := func(name string) {
		for _, r := range readers[name] {
			if waits[r]--; waits[r] == 0 {
				ready = append(ready, r)
			}
		}
		delete(waits, name)
	}
	var out []*unit
	for {
		for ; len(ready) > 0; ready = ready[1:] {
			out = append(out, units[ready[0]])
			release(ready[0])
		}
		cycle := findCycle(units, waits)
		if cycle == nil {
			return out
		}
		l.reportCycle(units, cycle)
		for _, name := range cycle {
			l.broken[name] = true
			waits[name] = -1 // never ready again
		}
		for _, name := range cycle {
			release(name)
		}
	}
}

// findCycle returns the shortest cycle through the first unit, by place, that lies on one; nil when none waits.
func findCycle(units map[string]*unit, waits map[string]int) []string {
	var names []string
	for name, n := range waits {
		if n > 0 {
			names = append(names, name)
		}
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := units[names[i]].at, units[names[j]].at
		if a.Filename != b.Filename {
			return a.Filename < b.Filename
		}
		return a.Start.Byte < b.Start.Byte
	})
	for _, name := range names {
		if cycle := cycleThrough(units, waits, name); cycle != nil {
			return cycle
		}
	}
	return nil
}

// cycleThrough searches breadth first from start along references, back to start.
func cycleThrough(units map[string]*unit, waits map[string]int, start string) []string {
	from := map[string]string{}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		for _, ref := range sortedKeys(units[queue[0]].refs) {
			if ref == start {
				var cycle []string
				for name := queue[0]; name != start; name = from[name] {
					cycle = append([]string{name}, cycle...)
				}
				return append([]string{start}, cycle...)
			}
			if _, seen := from[ref]; !seen && waits[ref] > 0 {
				from[ref] = queue[0]
				queue = append(queue, ref)
			}
		}
	}
	return nil
}

func (l *loader) reportCycle(units map[string]*unit, cycle []string) {
	next := cycle[0]
	if len(cycle) > 1 {
		next = cycle[1]
	}
	path := strings.Join(append(append([]string{}, cycle...), cycle[0]), " → ")
	detail := fmt.Sprintf("These refer to each other in a circle, so none can come first: %s. Take one of the references out.", path)
	if len(cycle) == 1 {
		detail = fmt.Sprintf("%s refers to itself. In a `require` block the finished stage is `self`; a stage that is made several times cannot refer to its other instances.", cycle[0])
	}
	l.problem(units[cycle[0]].refs[next], "", "References in a circle", detail)
}
