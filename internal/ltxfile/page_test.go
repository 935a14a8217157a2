package ltxfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// frames are those of a file, as its page index has them.
func frames(data []byte) (all []ltxfile.Frame, err error) {
	off, n, err := ltxfile.IndexAt(data[max(len(data)-ltxfile.MinEnd, 0):], int64(len(data)))
	if err != nil {
		return nil, err
	}
	err = ltxfile.ReadIndex(bytes.NewReader(data[off:off+n]), off, func(f ltxfile.Frame) error {
		all = append(all, f)
		return nil
	})
	return all, err
}

// Each page of a file is where its index says, whichever encoder wrote it.
func TestPages(t *testing.T) {
	files := [][]byte{
		oldLTX(t, 1, 2, nil), storetest.LTX(t, 2, 2, storetest.Pages()), storetest.LTX(t, 1, 9, storetest.PageSize(65536), storetest.Noise()),
		storetest.LTX(t, 3, 9, storetest.PageSize(512), storetest.Commit(300), storetest.Pages(1, 2, 7, 300)),
	}
	files = slices.AppendSeq(files, maps.Values(realFiles(t)))
	for _, data := range files {
		dec := ltx.NewDecoder(bytes.NewReader(data))
		require.NoError(t, dec.DecodeHeader())
		all, err := frames(data)
		require.NoError(t, err)
		want, got := make([]byte, dec.Header().PageSize), make([]byte, dec.Header().PageSize)
		for _, f := range all {
			var h ltx.PageHeader
			require.NoError(t, dec.DecodePage(&h, want))
			require.Equal(t, h.Pgno, f.Pgno)
			frame := data[f.Offset : f.Offset+f.Size]
			require.NoError(t, ltxfile.UnpackPage(frame, f.Pgno, got))
			require.Equal(t, want, got)

			require.ErrorIs(t, ltxfile.UnpackPage(frame, f.Pgno+1, got), ltxfile.ErrInvalid, "another page")
			require.ErrorIs(t, ltxfile.UnpackPage(frame[:len(frame)-1], f.Pgno, got), ltxfile.ErrInvalid, "a frame that is cut")
			require.ErrorIs(t, ltxfile.UnpackPage(append(bytes.Clone(frame), 0), f.Pgno, got), ltxfile.ErrInvalid, "a frame that goes on")
			require.ErrorIs(t, ltxfile.UnpackPage(frame, f.Pgno, make([]byte, len(got)/2)), ltxfile.ErrInvalid, "a page that is too small")
			require.ErrorIs(t, ltxfile.UnpackPage(frame, f.Pgno, make([]byte, len(got)*2)), ltxfile.ErrInvalid, "a page that is too large")
		}
		var h ltx.PageHeader
		require.Equal(t, io.EOF, dec.DecodePage(&h, want), "all pages are in the index")
	}
}

// What an index claims is checked before it is used.
func TestIndexInvalid(t *testing.T) {
	good := storetest.LTX(t, 1, 1, storetest.Commit(3))
	all, err := frames(good)
	require.NoError(t, err)
	off, n, err := ltxfile.IndexAt(good, int64(len(good)))
	require.NoError(t, err)
	entry := func(f ltxfile.Frame) (b []byte) {
		for _, v := range []uint64{uint64(f.Pgno), uint64(f.Offset), uint64(f.Size)} {
			b = binary.AppendUvarint(b, v)
		}
		return b
	}
	index := func(change func(f []ltxfile.Frame)) []byte {
		changed := append([]ltxfile.Frame(nil), all...)
		change(changed)
		var b []byte
		for _, f := range changed {
			b = append(b, entry(f)...)
		}
		return append(b, 0)
	}
	for name, b := range map[string][]byte{
		"empty":              {},
		"only an end":        {0},
		"no end":             good[off : off+n-1],
		"cut in an entry":    good[off : off+2],
		"more behind":        append(bytes.Clone(good[off:off+n]), 0),
		"a page is missing":  index(func(f []ltxfile.Frame) { f[2] = f[1] }),
		"pages descend":      index(func(f []ltxfile.Frame) { f[0].Pgno, f[1].Pgno = 2, 1 }),
		"overlap":            index(func(f []ltxfile.Frame) { f[1].Offset-- }),
		"a gap":              index(func(f []ltxfile.Frame) { f[1].Offset++; f[1].Size-- }),
		"beyond the pages":   index(func(f []ltxfile.Frame) { f[2].Size++ }),
		"short of the index": index(func(f []ltxfile.Frame) { f[2].Size-- }),
		"too large":          index(func(f []ltxfile.Frame) { f[2].Size = math.MaxInt64 }),
		"in the header":      index(func(f []ltxfile.Frame) { f[0].Offset = 0 }),
		"no page number":     append(append(binary.AppendUvarint(nil, 1<<33), entry(all[0])[1:]...), 0),
		"an endless number":  bytes.Repeat([]byte{0xff}, 30),
	} {
		err := ltxfile.ReadIndex(bytes.NewReader(b), off, func(ltxfile.Frame) error { return nil })
		assert.ErrorIs(t, err, ltxfile.ErrInvalid, name)
	}
	for _, claimed := range []uint64{0, uint64(len(good)), math.MaxUint64} {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint64(b[len(b)-ltxfile.MinEnd:], claimed)
		_, _, err := ltxfile.IndexAt(b, int64(len(b)))
		assert.ErrorIs(t, err, ltxfile.ErrInvalid, "an index of %d bytes", claimed)
	}
	_, _, err = ltxfile.IndexAt(good[:10], 10)
	require.ErrorIs(t, err, ltxfile.ErrInvalid)

	broken := errors.New("broken")
	require.ErrorIs(t, ltxfile.ReadIndex(iotest.ErrReader(broken), off, nil), broken, "an error of the reader isn't the file's")
	require.ErrorIs(t, ltxfile.ReadIndex(bytes.NewReader(good[off:off+n]), off, func(ltxfile.Frame) error { return broken }), broken)
}

// allocated runs f, and returns how many bytes were allocated meanwhile.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// allocatedMost is what may be allocated for that many bytes of a file: what they say they
// are doesn't count.
func allocatedMost(n int) uint64 { return uint64(n) + 1<<20 }

// Whatever the bytes are, nothing panics, little is allocated, and the frames that are
// taken follow each other in the file.
func FuzzIndex(f *testing.F) {
	for _, data := range realFiles(f) {
		f.Add(data)
	}
	f.Add(oldLTX(f, 1, 2, nil))
	f.Add(storetest.LTX(f, 1, 2, storetest.PageSize(512), storetest.Commit(100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var all []ltxfile.Frame
		var err error
		if n := allocated(func() { all, err = frames(data) }); n > allocatedMost(100*len(data)) { // with the frames themselves
			t.Fatalf("%d bytes allocated for a file of %d", n, len(data))
		}
		if err != nil {
			if !errors.Is(err, ltxfile.ErrInvalid) {
				t.Fatalf("the bytes' fault is not ErrInvalid: %v", err)
			}
			return
		}
		next := int64(ltx.HeaderSize)
		for i, fr := range all {
			if fr.Offset != next || fr.Size <= 0 || i > 0 && fr.Pgno <= all[i-1].Pgno || fr.Offset+fr.Size > int64(len(data)) {
				t.Fatalf("frame %d is %+v", i, fr)
			}
			next += fr.Size
		}
	})
}

func FuzzPage(f *testing.F) {
	for _, data := range slices.AppendSeq([][]byte{oldLTX(f, 1, 2, nil)}, maps.Values(realFiles(f))) {
		all, err := frames(data)
		if err != nil {
			f.Fatal(err)
		}
		for _, fr := range all[:min(len(all), 3)] {
			f.Add(data[fr.Offset : fr.Offset+fr.Size])
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		page := make([]byte, 4096)
		pgno := uint32(1)
		if len(frame) >= 4 {
			pgno = binary.BigEndian.Uint32(frame)
		}
		var err error
		if n := allocated(func() { err = ltxfile.UnpackPage(frame, pgno, page) }); n > allocatedMost(len(frame)) {
			t.Fatalf("%d bytes allocated for a frame of %d", n, len(frame))
		}
		if err == nil {
			return
		}
		if !errors.Is(err, ltxfile.ErrInvalid) {
			t.Fatalf("the bytes' fault is not ErrInvalid: %v", err)
		}
	})
}
