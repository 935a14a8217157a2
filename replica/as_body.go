package replica

import (
	"io"

	"github.com/superfly/ltx"
)

// AroundReader returns a reader of r whose every read goes through around: it
// gets the buffer and the read itself. What else clients ask of a source they
// still find, if r has it: io.Seeker, io.ReaderAt, and Size. Without them, a
// client may have to keep in memory what it could read again. It is a Sourcer.
func AroundReader(r io.Reader, around func(p []byte, read func([]byte) (int, error)) (int, error)) io.Reader {
	plain := aroundReader{r, around}
	seeker, seeks := r.(io.Seeker)
	at, reads := r.(io.ReaderAt)
	switch {
	case seeks && reads:
		random := aroundReaderAt{at, around}
		if s, ok := r.(sizer); ok {
			return struct {
				aroundReader
				aroundReaderAt
				io.Seeker
				sizer
			}{plain, random, seeker, s}
		}
		return struct {
			aroundReader
			aroundReaderAt
			io.Seeker
		}{plain, random, seeker}
	case seeks:
		return struct {
			aroundReader
			io.Seeker
		}{plain, seeker}
	}
	return plain
}

// sizer is what io.SectionReader and bytes.Reader are.
type sizer interface{ Size() int64 }

type aroundReader struct {
	r      io.Reader
	around func([]byte, func([]byte) (int, error)) (int, error)
}

// Sourcer is a reader around another one, which it returns for reading that is not
// meant to go through it: a client that reads a source once for its checksum and
// once to send it should be held up by a limit but once.
type Sourcer interface{ Source() io.Reader }

// Source implements Sourcer.
func (a aroundReader) Source() io.Reader { return a.r }

func (a aroundReader) Read(p []byte) (int, error) { return a.around(p, a.r.Read) }

type aroundReaderAt struct {
	at     io.ReaderAt
	around func([]byte, func([]byte) (int, error)) (int, error)
}

// ReadAt implements io.ReaderAt, which must fill p: around may read less.
func (a aroundReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = a.around(p[n:], func(p []byte) (int, error) { return a.at.ReadAt(p, off+int64(n)) })
		n += m
	}
	if n == len(p) && err == io.EOF {
		err = nil
	}
	return n, err
}

// AroundIterator returns outer, an iterator around inner, as a VersionIterator if
// inner is one. The version is always inner's.
func AroundIterator(outer, inner ltx.FileIterator) ltx.FileIterator {
	v, ok := inner.(VersionIterator)
	if !ok {
		return outer
	}
	return versionsOf{outer, v}
}

type versionsOf struct {
	ltx.FileIterator
	inner VersionIterator
}

func (v versionsOf) Version() Version { return v.inner.Version() }
