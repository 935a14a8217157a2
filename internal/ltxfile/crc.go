package ltxfile

import (
	"encoding/binary"
	"hash/crc64"
)

// crcTable is for the checksum that an LTX file's trailer has of it.
var crcTable = crc64.MakeTable(crc64.ISO)

// A CRC is a polynomial modulo that of its table, the highest bit the lowest power. Zeros
// behind what it is of multiply it by a power of x.

// update is crc64.Update, three times as fast: each of four lanes has every fourth word, so
// that no step waits for the one before.
func update(crc uint64, p []byte) uint64 {
	if len(p) < 32 {
		return crc64.Update(crc, crcTable, p)
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(p[8*i:]) }
	c0, c1, c2, c3 := ^crc^word(0), word(1), word(2), word(3)
	for p = p[32:]; len(p) >= 32; p = p[32:] {
		c0 = zeros(c0, 4) ^ binary.LittleEndian.Uint64(p)
		c1 = zeros(c1, 4) ^ binary.LittleEndian.Uint64(p[8:])
		c2 = zeros(c2, 4) ^ binary.LittleEndian.Uint64(p[16:])
		c3 = zeros(c3, 4) ^ binary.LittleEndian.Uint64(p[24:])
	}
	for _, c := range [...]uint64{c1, c2, c3, 0} {
		c0 = zeros(c0, 1) ^ c
	}
	return crc64.Update(^c0, crcTable, p)
}

// zeros is what n words of zeros behind what it is of make of a CRC, for an n of 1 or 4. Their
// factor, x^64n, is 1 + x^n + x^3n + x^4n, so that shifts do where others need tables.
func zeros(v uint64, n int) uint64 {
	low := v ^ v>>n
	high := v<<(64-n) ^ v<<(64-3*n) ^ v<<(64-4*n)
	high ^= high >> 1
	return low ^ low>>(3*n) ^ high ^ high>>3
}

// multiply is the product of two.
func multiply(a, b uint64) (product uint64) {
	for bit := uint64(1) << 63; bit > 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		b = b>>1 ^ b&1*crc64.ISO
	}
	return product
}

// power is x to the power of that many bytes.
func power(bytes int64) uint64 {
	product, factor := uint64(1)<<63, uint64(1)<<(63-8)
	for ; bytes > 0; bytes >>= 1 {
		if bytes&1 != 0 {
			product = multiply(product, factor)
		}
		factor = multiply(factor, factor)
	}
	return product
}
