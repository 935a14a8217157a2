package ltxfile

import (
	"hash/crc64"
	"hash/maphash"

	"github.com/superfly/ltx"
)

// Sum is the checksum of some bytes of a file as its trailer has it, of the pages unpacked.
// Sums of parts that follow each other make one of all, so that many can be taken at once.
type Sum struct {
	crc  uint64
	size int64        // of what it is of, in bytes
	post ltx.Checksum // of the pages, as that of a database

	// Content tells what pages with what content it is of from others, in this process.
	Content uint64
}

var contentSeed = maphash.MakeSeed()

// SumOf is the sum of bytes that stand for themselves: all but frames.
func SumOf(b []byte) (s Sum) {
	_, _ = s.Write(b)
	return s
}

// Write adds bytes that stand for themselves.
func (s *Sum) Write(p []byte) (int, error) {
	s.crc = crc64.Update(s.crc, crcTable, p)
	s.size += int64(len(p))
	return len(p), nil
}

// SumFrames is the sum of frames, one behind the other in b, which it unpacks. An error wraps
// ErrInvalid.
func SumFrames(h ltx.Header, frames []Frame, b []byte) (s Sum, err error) {
	page := make([]byte, h.PageSize)
	hasher := ltx.NewHasher()
	for _, f := range frames {
		frame := b[:f.Size]
		b = b[f.Size:]
		if err := UnpackPage(frame, f.Pgno, page); err != nil {
			return s, in(Pages, err)
		}
		n := ltx.PageHeaderSize
		if frame[ltx.PageHeaderSize-1]&byte(ltx.PageHeaderFlagSize) != 0 {
			n += blockSizeSize
		}
		_, _ = s.Write(frame[:n])
		s.crc = updatePage(s.crc, page)
		s.size += int64(len(page))
		s.Content ^= contentOf(f.Pgno, page)
		if h.IsSnapshot() && !h.NoChecksum() {
			s.post ^= ltx.ChecksumPageWithHasher(hasher, f.Pgno, page)
		}
	}
	return s, nil
}

func contentOf(pgno uint32, page []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(contentSeed)
	maphash.WriteComparable(&h, pgno)
	h.Write(page)
	return h.Sum64()
}

// Then is the sum of what s is of and of what follows it.
func (s Sum) Then(next Sum) Sum {
	return Sum{
		crc:  multiply(s.crc, power(next.size)) ^ next.crc,
		size: s.size + next.size,
		post: s.post ^ next.post,

		Content: s.Content ^ next.Content,
	}
}

// Check compares a sum of all of a file but the trailer's last field with what the trailer
// says. An error wraps ErrInvalid.
func (s Sum) Check(h ltx.Header, t ltx.Trailer) error {
	return in(Trailer, checkTrailer(h, t, s.crc, ltx.ChecksumFlag|s.post))
}

// A CRC is a polynomial modulo that of its table, the highest bit the lowest power. Zeros
// behind what it is of multiply it by a power of x.

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
