package ltxfile

import (
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
	s.Write(b)
	return s
}

// Write adds bytes that stand for themselves.
func (s *Sum) Write(p []byte) (int, error) {
	s.crc = update(s.crc, p)
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
		s.Write(frame[:n])
		s.Write(page)
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
