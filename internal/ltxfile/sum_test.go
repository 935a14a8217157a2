package ltxfile_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc64"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// sumOf puts the sum of a file together from parts of so many frames.
func sumOf(t *testing.T, data []byte, each int) (ltxfile.Sum, ltx.Header, ltx.Trailer) {
	t.Helper()
	size := int64(len(data))
	h, err := ltxfile.ParseHeader(data)
	require.NoError(t, err)
	off, n, err := ltxfile.IndexAt(data, size)
	require.NoError(t, err)
	var frames []ltxfile.Frame
	require.NoError(t, ltxfile.ReadIndex(bytes.NewReader(data[off:off+n]), off, func(f ltxfile.Frame) error {
		frames = append(frames, f)
		return nil
	}))
	sum := ltxfile.SumOf(data[:ltx.HeaderSize])
	for len(frames) > 0 {
		part := frames[:min(each, len(frames))]
		frames = frames[len(part):]
		s, err := ltxfile.SumFrames(h, part, data[part[0].Offset:])
		require.NoError(t, err)
		sum = sum.Then(s)
	}
	sum = sum.Then(ltxfile.SumOf(data[off-ltx.PageHeaderSize : size-8]))
	var tr ltx.Trailer
	require.NoError(t, tr.UnmarshalBinary(data[size-ltx.TrailerSize:]))
	return sum, h, tr
}

// Sums of parts make that of the file, whatever the parts.
func TestSum(t *testing.T) {
	files := realFiles(t)
	files["old frames"] = oldLTX(t, 1, 2, nil)
	files["checksums"] = storetest.LTX(t, 1, 9, storetest.Checksums(), storetest.Commit(100))
	files["no pages"] = storetest.LTX(t, 7, 7, storetest.Pages())
	for name, data := range files {
		for _, each := range []int{1, 2, 7, 1000} {
			sum, h, tr := sumOf(t, data, each)
			require.NoError(t, sum.Check(h, tr), "%s by %d", name, each)
			tr.FileChecksum ^= 1
			require.ErrorIs(t, sum.Check(h, tr), ltx.ErrChecksumMismatch)
		}
	}
	sum, h, tr := sumOf(t, files["checksums"], 3)
	tr.PostApplyChecksum ^= 1
	require.ErrorIs(t, sum.Check(h, tr), ltxfile.ErrInvalid)
}

// whole gives a file the checksum of its content.
func whole(data []byte, pages ...[]byte) []byte {
	sum := crc64.New(crc64.MakeTable(crc64.ISO))
	for _, p := range pages {
		sum.Write(p)
	}
	binary.BigEndian.PutUint64(data[len(data)-8:], uint64(ltx.ChecksumFlag)|sum.Sum64())
	return data
}

// What isn't valid can be restored exactly where Litestream's decoder takes it.
func TestRestorable(t *testing.T) {
	restorable := func(data []byte) error {
		return ltxfile.Restorable(t.Context(), bytes.NewReader(data), int64(len(data)))
	}
	page := make([]byte, 512)
	for i := range page {
		page[i] = byte(rand.Uint32())
	}
	data := build(t, ltx.Header{PageSize: 512, Commit: 1, MinTXID: 2, MaxTXID: 2}, func(add func(uint32, []byte)) { add(1, page) })
	off, _, err := ltxfile.IndexAt(data, int64(len(data)))
	require.NoError(t, err)
	head := bytes.Clone(data[:ltx.HeaderSize+ltx.PageHeaderSize+4])
	rest := func(data []byte) []byte { return data[off-ltx.PageHeaderSize : len(data)-8] }
	require.NoError(t, restorable(whole(bytes.Clone(data), head, page, rest(data))))

	forged := bytes.Clone(data)
	forged[off+2]++ // the size of the frame
	require.Equal(t, ltxfile.Trailer, ltxfile.PartOf(restorable(forged)))
	forged = whole(forged, head, page, rest(forged))
	_, err = file(forged)
	require.Equal(t, ltxfile.Index, ltxfile.PartOf(err), err)
	require.NoError(t, restorable(forged))

	forged = bytes.Clone(data)
	binary.BigEndian.PutUint64(forged[len(forged)-16:], 1) // a checksum of the database, where there is none
	forged = whole(forged, head, page, rest(forged))
	_, err = file(forged)
	require.Equal(t, ltxfile.Trailer, ltxfile.PartOf(err), err)
	require.NoError(t, restorable(forged))

	for at := range data {
		bad := bytes.Clone(data)
		bad[at] ^= 0x40
		if _, err := file(bad); err != nil {
			require.Error(t, restorable(bad), "byte %d", at)
			require.NotEmpty(t, ltxfile.PartOf(err))
		}
		require.Error(t, restorable(data[:at]))
	}
	require.Error(t, restorable(append(bytes.Clone(data), 0)))
}
