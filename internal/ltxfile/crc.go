package ltxfile

import (
	"encoding/binary"
	"hash/crc64"
	"sync"
)

// linear is a linear function of 64 bits, as what it is of each byte of them.
type linear [8][256]uint64

func (l *linear) of(v uint64) uint64 {
	return l[0][byte(v)] ^ l[1][byte(v>>8)] ^ l[2][byte(v>>16)] ^ l[3][byte(v>>24)] ^
		l[4][byte(v>>32)] ^ l[5][byte(v>>40)] ^ l[6][byte(v>>48)] ^ l[7][byte(v>>56)]
}

func linearOf(f func(v uint64) uint64) *linear {
	l := new(linear)
	for i := range l {
		for b := range l[i] {
			l[i][b] = f(uint64(b) << (8 * i))
		}
	}
	return l
}

// zeros are what bytes without a bit make of a CRC, by their number.
var zeros sync.Map

func zerosOf(bytes int) *linear {
	l, ok := zeros.Load(bytes)
	if !ok {
		factor := power(int64(bytes))
		l, _ = zeros.LoadOrStore(bytes, linearOf(func(v uint64) uint64 { return multiply(v, factor) }))
	}
	return l.(*linear)
}

// word is what eight bytes without a bit make of a CRC.
var word = zerosOf(8)

// updatePage is crc64.Update of a page: of four quarters at the same time, each step of which
// would wait for the one before. That takes half of the time.
func updatePage(crc uint64, page []byte) uint64 {
	n := len(page) / 4
	if n%8 != 0 || len(page)%4 != 0 {
		return crc64.Update(crc, crcTable, page)
	}
	p0, p1, p2, p3 := page[:n], page[n:2*n], page[2*n:3*n], page[3*n:4*n]
	c0, c1, c2, c3 := ^crc, uint64(0), uint64(0), uint64(0)
	for i := 0; i+8 <= n; i += 8 {
		c0 = word.of(c0 ^ binary.LittleEndian.Uint64(p0[i:]))
		c1 = word.of(c1 ^ binary.LittleEndian.Uint64(p1[i:]))
		c2 = word.of(c2 ^ binary.LittleEndian.Uint64(p2[i:]))
		c3 = word.of(c3 ^ binary.LittleEndian.Uint64(p3[i:]))
	}
	quarter := zerosOf(n)
	return ^(quarter.of(quarter.of(quarter.of(c0)^c1)^c2) ^ c3)
}
