package jpeg

// table decodes Huffman codes: of up to 8 bits at once, longer ones bit by bit (T.81, annex F.2.2.3).
type table struct {
	quick [256]uint16 // the value and, above it, the length of the code that the 8 bits begin with; 0: a longer one
	most  [18]int32   // the largest code of each length; -1: none
	delta [17]int32   // from a code to its value's place
	value []byte
}

func newTable(counts, values []byte, dc bool) (*table, bool) {
	t := &table{value: append([]byte(nil), values...)}
	code, at := int32(0), int32(0)
	for length := 1; length <= 16; length++ {
		n := int32(counts[length-1])
		t.most[length] = -1
		t.delta[length] = at - code
		for range n {
			if code >= 1<<length {
				return nil, false
			}
			if dc && t.value[at] > 15 {
				return nil, false
			}
			if length <= 8 {
				for i := range int32(1) << (8 - length) {
					t.quick[code<<(8-length)|i] = uint16(length)<<8 | uint16(t.value[at])
				}
			}
			t.most[length] = code
			code, at = code+1, at+1
		}
		code <<= 1
	}
	t.most[17] = 1 << 30
	return t, true
}

// reader takes bits from a scan's data; where a marker stands the data end.
type reader struct {
	b     []byte
	at    int
	bits  uint64
	count uint
	ended bool // no byte is left before the next marker
	short bool // more was asked for than there is
}

func (r *reader) fill() {
	for r.count <= 48 && !r.ended {
		if r.at >= len(r.b) {
			r.ended = true
			return
		}
		c := r.b[r.at]
		if c == 0xff {
			if r.at+1 >= len(r.b) || r.b[r.at+1] != 0 {
				r.ended = true
				return
			}
			r.at++
		}
		r.at++
		r.bits = r.bits<<8 | uint64(c)
		r.count += 8
	}
}

// need makes n bits, at most 16, available.
func (r *reader) need(n uint) {
	if r.count < n {
		if r.fill(); r.count < n {
			r.short = true
			r.bits <<= 32
			r.count += 32
		}
	}
}

func (r *reader) take(n uint) int32 {
	r.need(n)
	r.count -= n
	return int32(r.bits>>r.count) & (1<<n - 1)
}

// symbol decodes a code; -1 is one that the table does not have.
func (r *reader) symbol(t *table) int32 {
	if r.count < 16 {
		r.fill()
	}
	if r.count >= 8 {
		if q := t.quick[byte(r.bits>>(r.count-8))]; q != 0 {
			r.count -= uint(q >> 8)
			return int32(q & 255)
		}
	}
	code := int32(0)
	for length := 1; length <= 16; length++ {
		if code = code<<1 | r.take(1); code <= t.most[length] {
			return int32(t.value[code+t.delta[length]])
		}
	}
	return -1
}

// number reads a value of n bits, whose first bit tells the sign (T.81, figure F.12).
func (r *reader) number(n uint) int32 {
	if n == 0 {
		return 0
	}
	v := r.take(n)
	if v < 1<<(n-1) {
		v -= 1<<n - 1
	}
	return v
}

// block reads the coefficients of a block, times their steps, in rows.
func (r *reader) block(out *[64]int32, dc, ac *table, steps *[64]int32, last *int32) bool {
	n := r.symbol(dc)
	if n < 0 {
		return false
	}
	*last += r.number(uint(n))
	*out = [64]int32{}
	out[0] = *last * steps[0]
	for k := 1; k < 64; k++ {
		s := r.symbol(ac)
		if s < 0 {
			return false
		}
		run, n := int(s>>4), uint(s&15)
		if n == 0 {
			if run != 15 {
				break
			}
			k += 15
			continue
		}
		if k += run; k > 63 {
			return false
		}
		at := zigzag[k]
		out[at] = r.number(n) * steps[at]
	}
	return !r.short
}

// again goes to the next restart marker, which must be the one of that number.
func (r *reader) again(number int) bool {
	if r.count >= 8 && !r.ended {
		return false // bytes that nobody asked for stand before it
	}
	r.bits, r.count = 0, 0
	if r.at+1 >= len(r.b) || r.b[r.at] != 0xff || r.b[r.at+1] != byte(0xd0+number%8) {
		return false
	}
	r.at, r.ended = r.at+2, false
	return true
}
