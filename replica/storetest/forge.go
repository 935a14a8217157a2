package storetest

import (
	"bytes"
	"encoding/binary"
	"hash/crc64"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// Forged is an LTX file in parts, each of which can be changed. Bytes makes it whole again,
// with the checksum of what it has become, as no encoder would.
type Forged struct {
	Header  ltx.Header
	Frames  []ForgedFrame
	Index   func(frames []ForgedFrame) []byte // that follows the pages
	Trailer ltx.Trailer
}

// ForgedFrame is a page, and its frame.
type ForgedFrame struct {
	Pgno   uint32
	Page   []byte
	Frame  []byte // with its header
	Offset int64  // once it is whole again
}

// Take takes a valid file with sized frames to pieces.
func Take(tb testing.TB, data []byte) *Forged {
	tb.Helper()
	dec := ltx.NewDecoder(bytes.NewReader(data))
	require.NoError(tb, dec.DecodeHeader())
	f := &Forged{Header: dec.Header(), Index: ForgedIndex}
	off := int64(ltx.HeaderSize)
	for {
		var h ltx.PageHeader
		page := make([]byte, f.Header.PageSize)
		err := dec.DecodePage(&h, page)
		if err == io.EOF {
			break
		}
		require.NoError(tb, err)
		end := off + ltx.PageHeaderSize + 4 + int64(binary.BigEndian.Uint32(data[off+ltx.PageHeaderSize:]))
		f.Frames = append(f.Frames, ForgedFrame{Pgno: h.Pgno, Page: page, Frame: data[off:end]})
		off = end
	}
	require.NoError(tb, dec.Close())
	f.Trailer = dec.Trailer()
	return f
}

// ForgedIndex is the right index of some frames.
func ForgedIndex(frames []ForgedFrame) (index []byte) {
	for _, fr := range frames {
		for _, n := range []uint64{uint64(fr.Pgno), uint64(fr.Offset), uint64(len(fr.Frame))} {
			index = binary.AppendUvarint(index, n)
		}
	}
	return append(index, 0)
}

// Bytes are those of the file.
func (f *Forged) Bytes() []byte {
	crc := crc64.New(crc64.MakeTable(crc64.ISO))
	b, _ := f.Header.MarshalBinary()
	crc.Write(b)
	for i := range f.Frames {
		fr := &f.Frames[i]
		fr.Offset = int64(len(b))
		b = append(b, fr.Frame...)
		crc.Write(fr.Frame[:ltx.PageHeaderSize+4])
		crc.Write(fr.Page)
	}
	rest := append(make([]byte, ltx.PageHeaderSize), f.Index(f.Frames)...)
	rest = binary.BigEndian.AppendUint64(rest, uint64(len(rest)-ltx.PageHeaderSize))
	rest = binary.BigEndian.AppendUint64(rest, uint64(f.Trailer.PostApplyChecksum))
	crc.Write(rest)
	return binary.BigEndian.AppendUint64(append(b, rest...), uint64(ltx.ChecksumFlag)|crc.Sum64())
}
