package dataset

// Operations that choose among others, and the normalisation.

func choiceKinds() []*OperationKind {
	return []*OperationKind{
		{Name: "one_of", Doc: "Applies one of the operations inside. Their probabilities are the odds of being chosen; the chosen one is applied for certain.",
			Nested: true, Parameters: []Parameter{probability(0.5)},
			apply: func(g *Augmenter, b *bound, s *Stream) {
				total := 0.0
				for _, o := range b.of {
					total += o.odds()
				}
				at := s.Float() * total
				for i, o := range b.of {
					if at -= o.odds(); at < 0 || i == len(b.of)-1 {
						inner := NewStream(s.Uint64(), "one_of", uint64(i))
						o.kind.apply(g, o, &inner)
						return
					}
				}
			}},
		{Name: "some_of", Doc: "Applies n of the operations inside, in their order; which, is drawn. Each of them keeps its own probability.",
			Nested: true,
			Parameters: []Parameter{
				integer("n", 1, 1, 256, "", "How many are chosen; all, when there are fewer."),
				truth("replace", false, "Whether one operation may be chosen several times."), probability(1)},
			apply: func(g *Augmenter, b *bound, s *Stream) {
				times := make([]int, len(b.of))
				if b.is("replace") {
					for range b.whole("n") {
						times[s.Intn(len(b.of))]++
					}
				} else {
					for _, i := range s.Permutation(len(b.of))[:min(b.whole("n"), len(b.of))] {
						times[i] = 1
					}
				}
				for i, o := range b.of {
					for range times[i] {
						inner := NewStream(s.Uint64(), "some_of", uint64(i))
						g.step(o, &inner)
					}
				}
			}},
	}
}

// odds are those of an operation inside one_of: its probability, 1 where it has none.
func (b *bound) odds() float64 {
	if p, ok := b.arguments["p"]; ok {
		return p.(float64)
	}
	return 1
}

func normaliseKinds() []*OperationKind {
	channel := func(name, doc string, def []float64, low float64) Parameter {
		return Parameter{Name: name, Doc: doc, Form: List, Low: low, High: 255, MinLen: 1, MaxLen: 3, Default: def}
	}
	return []*OperationKind{
		{Name: "normalize", Doc: "Subtracts a mean from each channel and divides by a deviation. It must be the last operation, and it is carried out when a batch is made: previews and materialised images do not show it. " +
			"The models of train normalise by themselves, with the numbers of their data: do not do it twice.",
			Parameters: []Parameter{
				channel("mean", "Mean of each channel, or of all, black 0 and white 1.", []float64{0.485, 0.456, 0.406}, -255),
				channel("std", "Standard deviation of each channel, or of all.", []float64{0.229, 0.224, 0.225}, 1e-6),
			},
			apply: func(*Augmenter, *bound, *Stream) {}},
	}
}

// normalisation returns for each channel what a byte is multiplied by, and what is added.
func (p *Policy) normalisation(channels int) (scale, shift []float32) {
	scale, shift = make([]float32, channels), make([]float32, channels)
	var mean, std []float64
	if p != nil && len(p.operations) > 0 {
		if last := p.operations[len(p.operations)-1]; last.Name == "normalize" {
			mean, std = last.Args["mean"].([]float64), last.Args["std"].([]float64)
		}
	}
	for c := range channels {
		scale[c] = 1.0 / 255
		if mean != nil {
			m, d := mean[min(c, len(mean)-1)], std[min(c, len(std)-1)]
			scale[c], shift[c] = float32(1/(255*d)), float32(-m/d)
		}
	}
	return scale, shift
}
