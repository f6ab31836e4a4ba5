// Package graph draws a pipeline as DOT, Mermaid, SVG or JSON.
//
// Rules of the room: equal pipelines give equal bytes, whatever the order of their text; every name of the user's is
// escaped for the format it goes into.
package graph

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/darkroom-dev/darkroom/engine"
)

// Graph is a pipeline as nodes and edges, in order of their addresses.
type Graph struct {
	Pipeline string `json:"pipeline"`
	Nodes    []Node `json:"stages"`
	Edges    []Edge `json:"edges"`
}

// Node is a stage, or a source of the project.
type Node struct {
	Address string `json:"address"`
	Kind    string `json:"kind"`             // "" for a source
	Action  string `json:"action,omitempty"` // what a plan would do with it
}

// Edge says that To takes something from From.
type Edge struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Output string `json:"output,omitempty"` // the output taken; "" when only the order is asked for
	Port   string `json:"port,omitempty"`
	Type   string `json:"type,omitempty"`
	// Why says what makes the edge: data, values (an argument reads them), order (depends_on) or judgement (require).
	Why string `json:"why"`
}

// New makes the graph of p. actions, by address, may be nil.
func New(p *engine.Pipeline, actions map[string]string) Graph {
	g := Graph{Pipeline: p.Name, Nodes: []Node{}, Edges: []Edge{}}
	sources := map[string]bool{}
	for _, n := range p.Nodes {
		g.Nodes = append(g.Nodes, Node{Address: n.ID, Kind: n.Kind.Name, Action: actions[n.ID]})
		for _, e := range n.Inputs {
			edge := Edge{From: e.From.Node, To: n.ID, Output: e.From.Output, Port: portName(e), Type: string(e.Type), Why: "data"}
			if e.IsSource() {
				edge.From, edge.Output = e.Source, ""
				sources[e.Source] = true
			}
			g.Edges = append(g.Edges, edge)
		}
		for why, ids := range map[string][]string{"values": n.Waits, "order": n.After} {
			for _, id := range ids {
				g.Edges = append(g.Edges, Edge{From: id, To: n.ID, Why: why})
			}
		}
		for _, r := range n.Requires {
			for _, id := range r.Needs() {
				g.Edges = append(g.Edges, Edge{From: id, To: n.ID, Why: "judgement"})
			}
		}
	}
	for s := range sources {
		g.Nodes = append(g.Nodes, Node{Address: s})
	}
	sort.Slice(g.Nodes, func(i, j int) bool { return g.Nodes[i].Address < g.Nodes[j].Address })
	sort.Slice(g.Edges, func(i, j int) bool { return g.Edges[i].order() < g.Edges[j].order() })
	return g
}

func portName(e engine.Edge) string {
	if e.Name != "" {
		return e.Port + "." + e.Name
	}
	return e.Port
}

func (e Edge) order() string {
	return strings.Join([]string{e.From, e.To, e.Why, e.Port, e.Output}, "\x00")
}

// DOT writes the graph for Graphviz.
func (g Graph) DOT(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir = LR\n  node [shape = box, style = rounded, fontname = \"sans-serif\"]\n  edge [fontname = \"sans-serif\", fontsize = 10]\n", dotQuote(g.Pipeline))
	for _, n := range g.Nodes {
		shape := ""
		if n.Kind == "" {
			shape = " [shape = note, style = \"\"]"
		} else if n.Action != "" && n.Action != "reuse" {
			shape = " [style = \"rounded, bold\"]"
		}
		fmt.Fprintf(&b, "  %s%s\n", dotQuote(n.Address), shape)
	}
	for _, e := range g.Edges {
		style := fmt.Sprintf(" [label = %s]", dotQuote(e.Output))
		if e.Why != "data" {
			style = fmt.Sprintf(" [style = dashed, label = %s]", dotQuote(e.Why))
		} else if e.Output == "" {
			style = ""
		}
		fmt.Fprintf(&b, "  %s -> %s%s\n", dotQuote(e.From), dotQuote(e.To), style)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// Mermaid writes the graph as a Mermaid flowchart, which code hosts draw inside Markdown.
func (g Graph) Mermaid(w io.Writer) error {
	ids := map[string]string{}
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, n := range g.Nodes {
		ids[n.Address] = fmt.Sprintf("n%d", i)
		open, shut := "[", "]"
		if n.Kind == "" {
			open, shut = "[(", ")]"
		}
		fmt.Fprintf(&b, "  n%d%s\"%s\"%s\n", i, open, mermaidText(n.Address), shut)
	}
	for _, e := range g.Edges {
		switch {
		case e.Why != "data":
			fmt.Fprintf(&b, "  %s -. %s .-> %s\n", ids[e.From], e.Why, ids[e.To])
		case e.Output == "":
			fmt.Fprintf(&b, "  %s --> %s\n", ids[e.From], ids[e.To])
		default:
			fmt.Fprintf(&b, "  %s -- \"%s\" --> %s\n", ids[e.From], mermaidText(e.Output), ids[e.To])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mermaidText(s string) string {
	return strings.NewReplacer(`#`, "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "\n", " ").Replace(s)
}
