package importer

import (
	"math"
	"strconv"
	"strings"
)

// number reads a coordinate; what is none becomes NaN, which is found when the annotation is judged.
func number(text string) float64 {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

// whole reads a size; 0 for what is none.
func whole(text string) int {
	f := number(text)
	if !(f >= 0 && f <= math.MaxInt32) {
		return 0
	}
	return int(f)
}
