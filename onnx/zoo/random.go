package zoo

import (
	"hash/fnv"
	"math"
)

// stream is counter-based randomness: number i is a function of the seed, the purpose and i alone (SplitMix64's output
// function over a counter, Steele et al. 2014).
type stream struct{ key uint64 }

func newStream(seed uint64, purpose string) stream {
	h := fnv.New64a()
	h.Write([]byte(purpose)) // never fails
	return stream{mix(mix(seed^0x9e3779b97f4a7c15) ^ h.Sum64())}
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s stream) bits(i uint64) uint64 { return mix(s.key + (i+1)*0x9e3779b97f4a7c15) }

// uniform returns number i, 0 ≤ u < 1.
func (s stream) uniform(i uint64) float64 { return float64(s.bits(i)>>11) * 0x1p-53 }

// normal returns number i of a standard normal distribution (Box and Muller 1958).
func (s stream) normal(i uint64) float64 {
	u, v := s.uniform(2*i), s.uniform(2*i+1)
	return math.Sqrt(-2*math.Log(1-u)) * math.Cos(2*math.Pi*v)
}

// initialiser says how the elements of a fresh weight are drawn; the fans are the numbers of elements that an input and an output of the
// layer meet.
type initialiser func(s stream, i uint64, fanIn, fanOut int) float64

// heNormal is the normal initialisation of He et al. 2015, "Delving Deep into Rectifiers", by fan out.
func heNormal(s stream, i uint64, _, fanOut int) float64 {
	return math.Sqrt(2/float64(fanOut)) * s.normal(i)
}

// uniformIn is uniform within 1/√fan in, which PyTorch gives to layers that nobody initialises otherwise.
func uniformIn(s stream, i uint64, fanIn, _ int) float64 {
	return (2*s.uniform(i) - 1) / math.Sqrt(float64(fanIn))
}

// uniformOut is uniform within 1/√fan out (EfficientNet's classifier).
func uniformOut(s stream, i uint64, _, fanOut int) float64 {
	return (2*s.uniform(i) - 1) / math.Sqrt(float64(fanOut))
}

// normal draws with that deviation. The transformers' papers truncate it: PyTorch does so at ±2 whatever the deviation, which is 100
// deviations away at their 0.02 and never met.
func normal(deviation float64) initialiser {
	return func(s stream, i uint64, _, _ int) float64 { return deviation * s.normal(i) }
}

// zero is for biases.
func zero(stream, uint64, int, int) float64 { return 0 }
