package dataset

import (
	"slices"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// kinds lists the operations in the order of the documentation. Names and defaults are those of Albumentations where it has them.
var kinds = slices.Concat(geometryKinds(), cropKinds(), distortionKinds(), colourKinds(), toneKinds(), noiseKinds(), blurKinds(), dropKinds(), mixingKinds(), choiceKinds(), autoKinds(), normaliseKinds())

var operationKinds = func() map[string]*OperationKind {
	m := map[string]*OperationKind{}
	for _, k := range kinds {
		m[k.Name] = k
	}
	return m
}()

// OperationKinds returns what there is to choose from, in the order of the documentation.
func OperationKinds() []*OperationKind { return slices.Clone(kinds) }

var borders = map[string]pixel.Border{"constant": pixel.Constant, "replicate": pixel.Replicate, "reflect": pixel.Reflect, "reflect_101": pixel.Reflect101}

func float(name string, def, low, high float64, unit, doc string) Parameter {
	return Parameter{Name: name, Doc: doc, Unit: unit, Form: Number, Default: def, Low: low, High: high}
}

func integer(name string, def, low, high float64, unit, doc string) Parameter {
	return Parameter{Name: name, Doc: doc, Unit: unit, Form: Integer, Default: def, Low: low, High: high}
}

func span(name string, from, to, low, high float64, unit, doc string) Parameter {
	return Parameter{Name: name, Doc: doc, Unit: unit, Form: Range, Default: []float64{from, to}, Low: low, High: high}
}

func wholeSpan(name string, from, to, low, high float64, unit, doc string) Parameter {
	p := span(name, from, to, low, high, unit, doc)
	p.Whole = true
	return p
}

func truth(name string, def bool, doc string) Parameter {
	return Parameter{Name: name, Doc: doc, Form: Truth, Default: number(def), Low: 0, High: 1}
}

func choice(name, def, doc string, options ...string) Parameter {
	return Parameter{Name: name, Doc: doc, Form: Text, Default: def, Options: options}
}

func probability(def float64) Parameter {
	return float("p", def, 0, 1, "", "Probability that the operation is applied to an image.")
}

// edges are the parameters of what comes into sight.
func edges() []Parameter {
	return []Parameter{
		choice("border_mode", "constant", "What comes into sight from outside: one colour, the outer pixel repeated, or the image mirrored with (reflect) or without (reflect_101) its outer pixels.",
			"constant", "replicate", "reflect", "reflect_101"),
		integer("fill", 0, 0, 255, "", "The colour of a constant border, black to white."),
	}
}

func with(first []Parameter, more ...[]Parameter) []Parameter {
	return slices.Concat(append([][]Parameter{first}, more...)...)
}
