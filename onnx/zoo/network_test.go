package zoo

import (
	"strings"
	"testing"
)

func TestNetworkOfEveryOperator(t *testing.T) {
	n := Network{Shrink: 2, Stem: 8}
	for i, op := range Operators() {
		n.Blocks = append(n.Blocks, Block{Operator: op, Out: 8 + 4*i, Kernel: 3, Stride: 1 + i%2, Expansion: 2, Squeeze: op == "inverted" || op == "separable"},
			Block{Operator: op, Out: 8 + 4*i, Kernel: 5, Stride: 1, Expansion: 1})
	}
	m, err := BuildNetwork(n, options())
	if err != nil {
		t.Fatal(err)
	}
	if m.Output().Classes != 3 || !strings.Contains(n.String(), "inverted 20 k3 s2 e2 se") {
		t.Errorf("%d classes, %s", m.Output().Classes, n)
	}
	again, err := BuildNetwork(n, options())
	if err != nil {
		t.Fatal(err)
	}
	a, _ := m.Bytes()
	b, _ := again.Bytes()
	if string(a) != string(b) {
		t.Error("two builds of one network differ")
	}
}

// The residual network of the paper in the words of Network has as many weights.
func TestNetworkIsResNet8(t *testing.T) {
	n := Network{Shrink: 1, Stem: 16, Blocks: []Block{{"residual", 16, 3, 1, 1, false}, {"residual", 32, 3, 2, 1, false}, {"residual", 64, 3, 2, 1, false}}}
	m, err := BuildNetwork(n, options())
	if err != nil {
		t.Fatal(err)
	}
	if want := build(t, "resnet8", options()).Parameters(); m.Parameters() != want {
		t.Errorf("%d weights, resnet8 has %d", m.Parameters(), want)
	}
}

func TestNetworksThatCannotBeBuilt(t *testing.T) {
	for _, n := range []Network{
		{Shrink: 1}, {Shrink: 0, Stem: 8}, {Shrink: 64, Stem: 8}, {Shrink: 1, Stem: 8, Blocks: []Block{{Operator: "nosuch", Out: 8, Kernel: 3, Stride: 1}}},
		{Shrink: 1, Stem: 8, Blocks: []Block{{Operator: "residual", Out: 0, Kernel: 3, Stride: 1}}}, {Shrink: 1, Stem: 8, Blocks: []Block{{Operator: "residual", Out: 8, Kernel: 2, Stride: 1}}},
		{Shrink: 1, Stem: 8, Blocks: []Block{{Operator: "residual", Out: 8, Kernel: 3}}},
	} {
		if _, err := BuildNetwork(n, options()); err == nil {
			t.Errorf("%s was built", n)
		}
	}
}
