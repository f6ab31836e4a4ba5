package dataset

import "math"

// Stream is a counter-based random stream: its numbers are a function of what it was made from alone (SplitMix64,
// Steele, Lea and Flood 2014, over a key that mixes the parts in order).
type Stream struct{ state uint64 }

// NewStream returns the stream of (seed, purpose, counters).
func NewStream(seed uint64, purpose string, counters ...uint64) Stream {
	h := mix(seed ^ 0x6461726b726f6f6d)
	for i := range len(purpose) {
		h = mix(h ^ uint64(purpose[i]) + 0x9e3779b97f4a7c15)
	}
	for _, c := range counters {
		h = mix(h ^ c + 0x9e3779b97f4a7c15)
	}
	return Stream{h}
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Uint64 returns 64 random bits.
func (s *Stream) Uint64() uint64 {
	s.state += 0x9e3779b97f4a7c15
	return mix(s.state)
}

// Float returns a number at least 0 and below 1.
func (s *Stream) Float() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// In returns a number at least low and below high.
func (s *Stream) In(low, high float64) float64 { return low + (high-low)*s.Float() }

// Intn returns a number at least 0 and below n.
func (s *Stream) Intn(n int) int { return int(s.Float() * float64(n)) }

// Chance reports true with probability p.
func (s *Stream) Chance(p float64) bool { return s.Float() < p }

// Normal returns a number of the standard normal distribution (Box and Muller 1958).
func (s *Stream) Normal() float64 {
	u := 1 - s.Float() // above 0
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*s.Float())
}

// Permutation returns the numbers 0 to n-1 in random order (Fisher and Yates).
func (s *Stream) Permutation(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := s.Intn(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}
