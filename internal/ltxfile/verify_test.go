package ltxfile_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// realFiles are files that Litestream wrote, by name.
func realFiles(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("testdata/*.ltx")
	require.NoError(tb, err)
	require.NotEmpty(tb, paths)
	files := make(map[string][]byte)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(tb, err)
		files[filepath.Base(path)] = data
	}
	return files
}

func file(data []byte) (ltx.Header, error) {
	return ltxfile.Verify(context.Background(), bytes.NewReader(data), int64(len(data)))
}

func TestRealFiles(t *testing.T) {
	for name, data := range realFiles(t) {
		t.Run(name, func(t *testing.T) {
			minTXID, maxTXID, err := ltx.ParseFilename(name)
			require.NoError(t, err)
			h, err := ltxfile.Verify(context.Background(), bytes.NewReader(data), int64(len(data)))
			require.NoError(t, err)
			require.NoError(t, ltxfile.CheckName(h, minTXID, maxTXID))
			assert.Equal(t, minTXID, h.MinTXID)
			assert.Equal(t, maxTXID, h.MaxTXID)
			assert.Equal(t, uint32(4096), h.PageSize)
		})
	}
}

func TestValid(t *testing.T) {
	for name, data := range map[string][]byte{
		"snapshot":               storetest.LTX(t, 1, 1),
		"snapshot of many TXIDs": storetest.LTX(t, 1, 9),
		"checksummed snapshot":   storetest.LTX(t, 1, 9, storetest.Checksums()),
		"checksummed empty":      storetest.LTX(t, 1, 9, storetest.Checksums(), storetest.Commit(0)),
		"checksummed change":     storetest.LTX(t, 2, 9, storetest.Checksums(), storetest.Pages(2)),
		"change":                 storetest.LTX(t, 7, 7, storetest.Pages(1, 3)),
		"change without pages":   storetest.LTX(t, 7, 7, storetest.Pages()),
		"smallest pages":         storetest.LTX(t, 1, 2, storetest.PageSize(512), storetest.Commit(700)),
		"largest pages":          storetest.LTX(t, 1, 2, storetest.PageSize(65536), storetest.Noise()),
		"incompressible":         storetest.LTX(t, 1, 2, storetest.Noise(), storetest.Commit(200)),
		"old frames":             oldLTX(t, 1, 2, nil),
		"beside the lock page": storetest.LTX(t, 5, 5, storetest.PageSize(65536), storetest.Commit(16386),
			storetest.Pages(16384, 16386)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := file(data)
			require.NoError(t, err)
			// What is accepted here must be no less than what others can read.
			require.NoError(t, ltx.NewDecoder(bytes.NewReader(data)).Verify())
		})
	}
}

func TestNamed(t *testing.T) {
	data := storetest.LTX(t, 3, 5)
	check := func(data []byte, minTXID, maxTXID ltx.TXID) (ltx.Header, error) {
		h, err := ltxfile.Verify(context.Background(), bytes.NewReader(data), int64(len(data)))
		if err == nil {
			err = ltxfile.CheckName(h, minTXID, maxTXID)
		}
		return h, err
	}
	h, err := check(data, 3, 5)
	require.NoError(t, err)
	assert.Equal(t, ltx.TXID(3), h.MinTXID)

	for _, other := range [][2]ltx.TXID{{2, 5}, {3, 6}, {1, 1}} {
		h, err = check(data, other[0], other[1])
		require.ErrorIs(t, err, ltxfile.ErrName)
		require.NotErrorIs(t, err, ltxfile.ErrInvalid)
		assert.ErrorContains(t, err, ltx.FormatFilename(3, 5))
		assert.Equal(t, ltx.TXID(5), h.MaxTXID)
	}

	// A name that disagrees with a header that can't be trusted says nothing.
	_, err = check(data[:len(data)-1], 3, 6)
	require.ErrorIs(t, err, ltxfile.ErrInvalid)
	require.NotErrorIs(t, err, ltxfile.ErrName)
}

func TestTruncated(t *testing.T) {
	files := realFiles(t)
	files["old"] = oldLTX(t, 1, 2, nil)
	files["no pages"] = storetest.LTX(t, 2, 2, storetest.Pages())
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			// The larger files take every seventh length, which is each kind of
			// place often enough.
			step := 1
			if len(data) > 4000 {
				step = 7
			}
			for n := 0; n < len(data); n += step {
				_, err := file(data[:n])
				require.ErrorIs(t, err, ltxfile.ErrInvalid, "%d bytes", n)
			}
			_, err := file(append(bytes.Clone(data), 0))
			require.ErrorIs(t, err, ltxfile.ErrInvalid, "one byte more")
			_, err = file(append(bytes.Clone(data), data...))
			require.ErrorIs(t, err, ltxfile.ErrInvalid, "twice")
		})
	}
}

// content is what a reader gets from a file: its header, and its pages as ltx
// decodes them at the places that the index names.
func content(t *testing.T, data []byte) string {
	t.Helper()
	dec := ltx.NewDecoder(bytes.NewReader(data))
	require.NoError(t, dec.DecodeHeader())
	h := dec.Header()
	out := bytes.NewBufferString(fmt.Sprintf("%x %+v", data[:ltx.HeaderSize], h))
	page := make([]byte, h.PageSize)
	for {
		var ph ltx.PageHeader
		// A page must not depend on what the buffer held before.
		clear(page)
		err := dec.DecodePage(&ph, page)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		fmt.Fprintf(out, "%+v %x", ph, page)
	}
	require.NoError(t, dec.Close())
	for pgno := uint32(1); pgno <= h.Commit; pgno++ {
		if e, ok := dec.PageIndex()[pgno]; ok {
			ph, _, err := ltx.DecodePageData(data[e.Offset : e.Offset+e.Size])
			require.NoError(t, err)
			fmt.Fprintf(out, "%+v %+v", e, ph)
		}
	}
	return out.String()
}

func TestFlippedByte(t *testing.T) {
	files := realFiles(t)
	files["old"] = oldLTX(t, 1, 2, nil)
	files["checksummed"] = storetest.LTX(t, 1, 2, storetest.Checksums(), storetest.PageSize(512))
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			want := content(t, data)
			flips, harmless := 0, 0
			for i := range data {
				masks := []byte{1, 2, 4, 8, 16, 32, 64, 128, 255}
				if len(data) > 2000 {
					masks = []byte{1 << (i % 8), 255}
				}
				for _, mask := range masks {
					flips++
					data[i] ^= mask
					if _, err := file(data); err == nil {
						harmless++
						require.Equal(t, want, content(t, data), "byte %d with %#x", i, mask)
					} else {
						require.ErrorIs(t, err, ltxfile.ErrInvalid)
					}
					data[i] ^= mask
				}
			}
			t.Logf("%d flips of %d left the content as it was", harmless, flips)
		})
	}
}

// A frame that claims 4 GiB must not get them.
func TestForgedSizeBoundsMemory(t *testing.T) {
	data := storetest.LTX(t, 1, 2, storetest.Commit(1000), storetest.Noise())
	for _, size := range []uint32{1 << 31, 1<<32 - 1, uint32(len(data)), 5000} {
		forged := bytes.Clone(data)
		binary.BigEndian.PutUint32(forged[ltx.HeaderSize+ltx.PageHeaderSize:], size)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := file(forged)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, ltxfile.ErrInvalid)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20), "size %d", size)
	}
}

func TestMemoryDoesNotGrowWithPages(t *testing.T) {
	data := storetest.LTX(t, 1, 2, storetest.PageSize(512), storetest.Commit(20_000))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := file(data)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
	runtime.KeepAlive(data)
}

// readerAt is an io.ReaderAt that is a function.
type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func TestReadErrors(t *testing.T) {
	data := storetest.LTX(t, 1, 2, storetest.Commit(1000), storetest.Noise())
	whole := bytes.NewReader(data)
	size := int64(len(data))
	errDisk := errors.New("disk on fire")
	breakAt := func(at int64, err error) readerAt {
		return func(p []byte, off int64) (int, error) {
			if off+int64(len(p)) <= at {
				return whole.ReadAt(p, off)
			}
			n, _ := whole.ReadAt(p[:max(0, at-off)], off)
			return n, err
		}
	}
	for name, tt := range map[string]struct {
		r    io.ReaderAt
		want error
	}{
		"at the beginning":         {breakAt(0, errDisk), errDisk},
		"in the middle":            {breakAt(size/2, errDisk), errDisk},
		"in the last byte":         {breakAt(size-1, errDisk), errDisk},
		"ends early":               {breakAt(size/2, io.EOF), io.ErrUnexpectedEOF},
		"ends early at once":       {breakAt(0, io.EOF), io.ErrUnexpectedEOF},
		"breaks the rules":         {breakAt(size/2, nil), io.ErrUnexpectedEOF},
		"error that is unexpected": {breakAt(size/2, io.ErrUnexpectedEOF), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ltxfile.Verify(context.Background(), tt.r, size)
			require.ErrorIs(t, err, tt.want)
			require.NotErrorIs(t, err, ltxfile.ErrInvalid)
			require.NotErrorIs(t, err, ltxfile.ErrName)
		})
	}

	t.Run("io.EOF with the last bytes", func(t *testing.T) {
		_, err := ltxfile.Verify(context.Background(), readerAt(func(p []byte, off int64) (int, error) {
			n, err := whole.ReadAt(p, off)
			if off+int64(n) == size {
				err = io.EOF
			}
			return n, err
		}), size)
		require.NoError(t, err)
	})
}

func TestContext(t *testing.T) {
	data := storetest.LTX(t, 1, 2, storetest.Commit(1000), storetest.Noise())
	ctx, cancel := context.WithCancel(context.Background())
	reads := 0
	r := readerAt(func(p []byte, off int64) (int, error) {
		if reads++; reads == 2 {
			cancel()
		}
		return bytes.NewReader(data).ReadAt(p, off)
	})
	_, err := ltxfile.Verify(ctx, r, int64(len(data)))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ltxfile.ErrInvalid)
	assert.Equal(t, 2, reads, "it goes on reading after ctx is done")

	// Pages that compress well take long between two reads.
	small := build(t, ltx.Header{PageSize: 65536, Commit: 2000, MinTXID: 2, MaxTXID: 2}, func(add func(uint32, []byte)) {
		for pgno := uint32(1); pgno <= 2000; pgno++ {
			add(pgno, nil)
		}
	})
	ctx, cancel = context.WithCancel(context.Background())
	_, err = ltxfile.Verify(ctx, readerAt(func(p []byte, off int64) (int, error) {
		cancel()
		return bytes.NewReader(small).ReadAt(p, off)
	}), int64(len(small)))
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzFile(f *testing.F) {
	for _, data := range realFiles(f) {
		f.Add(data)
	}
	f.Add(oldLTX(f, 1, 2, nil))
	f.Add(storetest.LTX(f, 2, 2, storetest.Pages()))
	f.Add(storetest.LTX(f, 1, 2, storetest.Checksums(), storetest.PageSize(512)))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := file(data)
		if err != nil {
			if !errors.Is(err, ltxfile.ErrInvalid) {
				t.Fatalf("the bytes' fault is not ErrInvalid: %v", err)
			}
			return
		}
		// ltx must be able to read what is accepted, and as the same.
		dec := ltx.NewDecoder(bytes.NewReader(data))
		if err := dec.Verify(); err != nil {
			t.Fatalf("accepted, but ltx says: %v", err)
		}
		if dec.Header() != h {
			t.Fatalf("header %+v, but ltx says %+v", h, dec.Header())
		}
	})
}

func BenchmarkFile(b *testing.B) {
	data := storetest.LTX(b, 1, 2, storetest.Commit(10_000))
	b.SetBytes(10_000 * storetest.DefaultPageSize)
	for b.Loop() {
		if _, err := file(data); err != nil {
			b.Fatal(err)
		}
	}
}

// A header tells the time, and what is no header doesn't.
func TestHeaderTime(t *testing.T) {
	data := storetest.LTX(t, 3, 5)
	got, ok := ltxfile.HeaderTime(data)
	require.True(t, ok)
	require.Equal(t, storetest.DefaultTime, got)
	_, ok = ltxfile.HeaderTime(data[:ltx.HeaderSize])
	require.True(t, ok, "it needs no more than the header")
	for n := range ltx.HeaderSize {
		_, ok := ltxfile.HeaderTime(data[:n])
		require.False(t, ok, "%d bytes", n)
	}
	data[8]++ // the page size
	_, ok = ltxfile.HeaderTime(data)
	require.False(t, ok)
}
