package split

import "math"

// integral is how near to a whole number a number counts as one.
const integral = 1e-9

// roundTable rounds every entry of a table (rows, columns) up or down so that its row sums and column sums are rounded
// too: sums that are whole stay what they are (controlled rounding: Causey, Cox and Ernst 1985). It shifts parts of one along
// cycles of entries that are not whole yet, each shift making at least one of them whole.
func roundTable(table [][]float64) [][]int {
	rows, columns := len(table), len(table[0])
	// A row and a column of slack make all sums whole.
	t := make([][]float64, rows+1)
	for r := range t {
		t[r] = make([]float64, columns+1)
	}
	for r, row := range table {
		sum := 0.0
		for c, v := range row {
			t[r][c] = v
			sum += v
		}
		t[r][columns] = math.Ceil(sum-integral) - sum
	}
	for c := range columns + 1 {
		sum := 0.0
		for r := range rows {
			sum += t[r][c]
		}
		t[rows][c] = math.Ceil(sum-integral) - sum
	}
	for r := range t {
		for c := range t[r] {
			for fractional(t[r][c]) {
				shift(t, r, c)
			}
		}
	}
	out := make([][]int, rows)
	for r := range out {
		out[r] = make([]int, columns)
		for c := range out[r] {
			out[r][c] = int(math.Round(t[r][c]))
		}
	}
	return out
}

func fractional(v float64) bool { return math.Abs(v-math.Round(v)) > integral }

// cell is an entry of a table.
type cell struct{ r, c int }

// shift makes an entry whole along a cycle through entries that are not: every sum being whole, a row or column with one of
// them has another.
func shift(t [][]float64, r, c int) {
	path := []cell{{r, c}}
	// Where the path entered a row, and a column. The cell after that one begins the cycle which a return there closes.
	seenRow, seenColumn := map[int]int{}, map[int]int{}
	for {
		at := path[len(path)-1]
		// Along the row to another column, then along that column to another row.
		c, ok := another(len(t[0]), at.c, func(c int) bool { return fractional(t[at.r][c]) })
		if !ok {
			t[at.r][at.c] = math.Round(t[at.r][at.c]) // what rounding errors left
			return
		}
		if first, ok := seenColumn[c]; ok {
			push(t, append(path[first+1:], cell{at.r, c}))
			return
		}
		seenRow[at.r] = len(path) - 1
		path = append(path, cell{at.r, c})
		seenColumn[c] = len(path) - 1
		r, ok := another(len(t), at.r, func(r int) bool { return fractional(t[r][c]) })
		if !ok {
			t[at.r][c] = math.Round(t[at.r][c])
			return
		}
		if first, ok := seenRow[r]; ok {
			push(t, append(path[first+1:], cell{r, c}))
			return
		}
		path = append(path, cell{r, c})
	}
}

// another returns a number below n, not the one given, that fits.
func another(n, not int, fits func(int) bool) (int, bool) {
	for i := range n {
		if i != not && fits(i) {
			return i, true
		}
	}
	return 0, false
}

// push shifts along a cycle, from every other entry to the rest, until the first of them is whole; in the direction in which
// that needs least, so that entries tend to the nearer whole number.
func push(t [][]float64, cycle []cell) {
	up, down := 1.0, 1.0 // room for adding to the even entries and taking from the odd ones, and for the reverse
	for i, at := range cycle {
		v := t[at.r][at.c]
		above, below := math.Ceil(v)-v, v-math.Floor(v)
		if i%2 == 1 {
			above, below = below, above
		}
		up, down = min(up, above), min(down, below)
	}
	by := up
	if down < up {
		by = -down
	}
	for i, at := range cycle {
		v := &t[at.r][at.c]
		if i%2 == 0 {
			*v += by
		} else {
			*v -= by
		}
		if !fractional(*v) {
			*v = math.Round(*v)
		}
	}
}
