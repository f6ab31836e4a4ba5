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
