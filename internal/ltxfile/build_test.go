package ltxfile_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc64"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// builder writes LTX files that no encoder would write: each part can be
// changed, and the checksum is right all the same.
type builder struct {
	buf   bytes.Buffer
	index []byte
	crc   uint64
}

var isoTable = crc64.MakeTable(crc64.ISO)

func (b *builder) hash(p []byte) { b.crc = crc64.Update(b.crc, isoTable, p) }

func (b *builder) write(p []byte) {
	b.buf.Write(p)
	b.hash(p)
}

func (b *builder) header(h ltx.Header) {
	p, _ := h.MarshalBinary()
	b.write(p)
}

// block writes a page frame with a size and that LZ4 block, and adds it to the
// index.
func (b *builder) block(pgno uint32, flags uint16, compressed, page []byte) {
	start := b.buf.Len()
	b.write(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(nil, pgno), flags))
	if flags&ltx.PageHeaderFlagSize != 0 {
		b.write(binary.BigEndian.AppendUint32(nil, uint32(len(compressed))))
	}
	b.buf.Write(compressed)
	b.hash(page)
	b.indexEntry(uint64(pgno), uint64(start), uint64(b.buf.Len()-start))
}

func (b *builder) indexEntry(fields ...uint64) {
	for _, f := range fields {
		b.index = binary.AppendUvarint(b.index, f)
	}
}

// finish ends the file with an index and a trailer.
func (b *builder) finish(postApply ltx.Checksum) []byte {
	b.write(make([]byte, ltx.PageHeaderSize))
	b.indexEntry(0)
	b.write(b.index)
	b.write(binary.BigEndian.AppendUint64(nil, uint64(len(b.index))))
	b.write(binary.BigEndian.AppendUint64(nil, uint64(postApply)))
	b.buf.Write(binary.BigEndian.AppendUint64(nil, b.crc|uint64(ltx.ChecksumFlag)))
	return b.buf.Bytes()
}

func compress(tb testing.TB, page []byte) []byte {
	tb.Helper()
	dst := make([]byte, lz4.CompressBlockBound(len(page)))
	n, err := lz4.CompressBlock(page, dst, nil)
	require.NoError(tb, err)
	return dst[:n]
}

// build makes a file with that header, flags aside, and the pages that fill
// adds. A nil page is zeros.
func build(tb testing.TB, h ltx.Header, fill func(add func(pgno uint32, page []byte))) []byte {
	tb.Helper()
	var b builder
	h.Flags = ltx.HeaderFlagNoChecksum
	b.header(h)
	zeros := make([]byte, h.PageSize)
	compressedZeros := compress(tb, zeros)
	fill(func(pgno uint32, page []byte) {
		if page == nil {
			b.block(pgno, ltx.PageHeaderFlagSize, compressedZeros, zeros)
			return
		}
		b.block(pgno, ltx.PageHeaderFlagSize, compress(tb, page), page)
	})
	return b.finish(0)
}

// lz4Frame compresses a page as files did before they had sizes.
func lz4Frame(tb testing.TB, page []byte, opts ...lz4.Option) []byte {
	tb.Helper()
	var buf bytes.Buffer
	zw := lz4.NewWriter(&buf)
	require.NoError(tb, zw.Apply(append([]lz4.Option{lz4.BlockSizeOption(lz4.Block64Kb)}, opts...)...))
	_, err := zw.Write(page)
	require.NoError(tb, err)
	require.NoError(tb, zw.Close())
	return buf.Bytes()
}

const oldPageSize = 1024

func oldPage(pgno uint32) []byte {
	return bytes.Repeat([]byte{byte(pgno), 1, 2, byte(pgno), 3, 0, 0, 0}, oldPageSize/8)
}

// oldLTX makes a file of three pages in the old format. change, if not nil, may
// change each frame.
func oldLTX(tb testing.TB, minTXID, maxTXID ltx.TXID, change func(frame []byte) []byte) []byte {
	tb.Helper()
	var b builder
	b.header(ltx.Header{PageSize: oldPageSize, Commit: 3, MinTXID: minTXID, MaxTXID: maxTXID, Flags: ltx.HeaderFlagNoChecksum})
	for pgno := uint32(1); pgno <= 3; pgno++ {
		frame := lz4Frame(tb, oldPage(pgno))
		if change != nil {
			frame = change(frame)
		}
		b.block(pgno, 0, frame, oldPage(pgno))
	}
	return b.finish(0)
}

// Every file here has a right checksum, and so is caught by what it breaks.
func TestBroken(t *testing.T) {
	const size = 512
	page := bytes.Repeat([]byte("ltx!"), size/4)
	good := compress(t, page)
	header := func(commit uint32, minTXID ltx.TXID) ltx.Header {
		return ltx.Header{PageSize: size, Commit: commit, MinTXID: minTXID, MaxTXID: 9, Flags: ltx.HeaderFlagNoChecksum}
	}
	pages := func(h ltx.Header, pgnos ...uint32) []byte {
		var b builder
		b.header(h)
		for _, pgno := range pgnos {
			b.block(pgno, ltx.PageHeaderFlagSize, good, page)
		}
		return b.finish(0)
	}
	// index makes a file of two pages with another index.
	index := func(change func(b *builder)) []byte {
		var b builder
		b.header(header(4, 2))
		b.block(1, ltx.PageHeaderFlagSize, good, page)
		b.block(3, ltx.PageHeaderFlagSize, good, page)
		change(&b)
		return b.finish(0)
	}
	frame := uint64(ltx.PageHeaderSize + 4 + len(good))
	block := func(flags uint16, compressed []byte) []byte {
		var b builder
		b.header(header(4, 2))
		b.block(1, flags, compressed, page)
		return b.finish(0)
	}
	tracked := func(commit uint32, minTXID ltx.TXID, preApply, postApply ltx.Checksum) []byte {
		var b builder
		h := header(commit, minTXID)
		h.Flags, h.PreApplyChecksum = 0, preApply
		b.header(h)
		for pgno := uint32(1); pgno <= commit; pgno++ {
			b.block(pgno, ltx.PageHeaderFlagSize, good, page)
		}
		return b.finish(postApply)
	}
	changed := func(h ltx.Header, f func(*ltx.Header)) ltx.Header { f(&h); return h }

	// The helpers' own files are good where nothing is broken.
	for _, data := range [][]byte{
		pages(header(3, 1), 1, 2, 3), index(func(*builder) {}), block(ltx.PageHeaderFlagSize, good),
		tracked(0, 1, 0, ltx.ChecksumFlag), tracked(1, 1, 0, ltx.ChecksumPage(1, page)),
	} {
		_, err := file(data)
		require.NoError(t, err)
	}

	for name, data := range map[string][]byte{
		"empty":                    {},
		"zeros":                    make([]byte, 5000),
		"text":                     bytes.Repeat([]byte("hello "), 1000),
		"header: page size":        pages(changed(header(3, 2), func(h *ltx.Header) { h.PageSize = 1000 }), 1),
		"header: flags":            pages(changed(header(3, 2), func(h *ltx.Header) { h.Flags |= 1 }), 1),
		"header: TXIDs":            pages(changed(header(3, 2), func(h *ltx.Header) { h.MaxTXID = 1 }), 1),
		"snapshot: no pages":       pages(header(3, 1)),
		"snapshot: first missing":  pages(header(3, 1), 2, 3),
		"snapshot: one missing":    pages(header(3, 1), 1, 3),
		"snapshot: last missing":   pages(header(3, 1), 1, 2),
		"pages: descend":           pages(header(3, 2), 2, 1),
		"pages: twice":             pages(header(3, 2), 2, 2),
		"pages: beyond the commit": pages(header(3, 2), 2, 4),
		"pages: lock page":         pages(header(ltx.LockPgno(size)+1, 2), ltx.LockPgno(size)),
		"page: unknown flags":      block(1<<1|ltx.PageHeaderFlagSize, good),
		"page: empty":              block(ltx.PageHeaderFlagSize, nil),
		"page: too short":          block(ltx.PageHeaderFlagSize, compress(t, page[:size/2])),
		"page: too long":           block(ltx.PageHeaderFlagSize, compress(t, append(page, page...))),
		"page: no LZ4":             block(ltx.PageHeaderFlagSize, bytes.Repeat([]byte{0xff}, 100)),
		"page: more than fits":     block(ltx.PageHeaderFlagSize, make([]byte, 2*size)),
		"index: empty":             index(func(b *builder) { b.index = nil }),
		"index: one missing":       index(func(b *builder) { b.index = nil; b.indexEntry(1, 100, frame) }),
		"index: one more":          index(func(b *builder) { b.indexEntry(4, 200, frame) }),
		"index: other page":        index(func(b *builder) { b.index = nil; b.indexEntry(1, 100, frame, 2, 100+frame, frame) }),
		"index: other offset":      index(func(b *builder) { b.index = nil; b.indexEntry(1, 100, frame, 3, 101+frame, frame) }),
		"index: other size":        index(func(b *builder) { b.index = nil; b.indexEntry(1, 100, frame, 3, 100+frame, frame-1) }),
		"index: longer form of number": index(func(b *builder) {
			b.index[0] = 0x81
			b.index = append(b.index[:1], append([]byte{0}, b.index[1:]...)...)
		}),
		"trailer: checksum untracked":  pages(changed(header(3, 1), func(h *ltx.Header) { h.Flags = 0 }), 1, 2, 3),
		"trailer: snapshot's checksum": tracked(1, 1, 0, ltx.ChecksumFlag|1),
		"trailer: empty database's":    tracked(0, 2, ltx.ChecksumFlag|1, ltx.ChecksumFlag|1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := file(data)
			require.ErrorIs(t, err, ltxfile.ErrInvalid)
			t.Log(err)
		})
	}

	t.Run("trailer: post-apply not allowed", func(t *testing.T) {
		var b builder
		b.header(header(3, 2))
		_, err := file(b.finish(ltx.ChecksumFlag))
		require.ErrorIs(t, err, ltxfile.ErrInvalid)
	})
	t.Run("index size", func(t *testing.T) {
		data := pages(header(3, 1), 1, 2, 3)
		data[len(data)-ltx.TrailerSize-1]++
		_, err := file(data)
		require.ErrorIs(t, err, ltxfile.ErrInvalid)
		require.ErrorContains(t, err, "index says it takes")
	})
}

func TestBrokenOldFrames(t *testing.T) {
	word := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	page := oldPage(1)
	for name, change := range map[string]func(frame []byte) []byte{
		"no frame":    func([]byte) []byte { return page },
		"legacy":      func([]byte) []byte { return lz4Frame(t, page, lz4.LegacyOption(true)) },
		"skippable":   func(f []byte) []byte { return append(append(word(0x184D2A50), word(0)...), f...) },
		"no checksum": func([]byte) []byte { return lz4Frame(t, page, lz4.ChecksumOption(false)) },
		"two frames":  func(f []byte) []byte { return append(lz4Frame(t, page[:512]), lz4Frame(t, page[512:])...) },
		"too short":   func([]byte) []byte { return lz4Frame(t, page[:1000]) },
		"too long":    func([]byte) []byte { return lz4Frame(t, append(bytes.Clone(page), 1)) },
		"version":     func(f []byte) []byte { f[4] = f[4]&^0xc0 | 0x80; return f },
		"dictionary":  func(f []byte) []byte { f[4] |= 1; return f },
		"forged size": func(f []byte) []byte { copy(f[7:], word(1<<30)); return f },
		"checksum":    func(f []byte) []byte { f[len(f)-1]++; return f },
		"many blocks": func(f []byte) []byte { return append(f[:7:7], bytes.Repeat(append(word(1<<31|1), 'x'), 300)...) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := file(oldLTX(t, 2, 2, change))
			require.ErrorIs(t, err, ltxfile.ErrInvalid)
			t.Log(err)
		})
	}
	for name, opt := range map[string]lz4.Option{
		"block checksums": lz4.BlockChecksumOption(true),
		"content size":    lz4.SizeOption(oldPageSize),
		"large blocks":    lz4.BlockSizeOption(lz4.Block4Mb),
	} {
		t.Run("valid: "+name, func(t *testing.T) {
			pgno := uint32(0)
			data := oldLTX(t, 2, 2, func([]byte) []byte {
				pgno++
				return lz4Frame(t, oldPage(pgno), opt)
			})
			_, err := file(data)
			require.NoError(t, err)
			require.NoError(t, ltx.NewDecoder(bytes.NewReader(data)).Verify())
		})
	}
}
