package storetest

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// Defaults of LTX.
const (
	DefaultPageSize = 4096
	DefaultCommit   = 3 // pages
)

// DefaultTime is the timestamp of a file that LTX makes without Timestamp. It is
// long ago, so that no time of an upload is taken for it.
var DefaultTime = time.Date(2024, 2, 29, 12, 34, 56, 789_000_000, time.UTC)

// Option changes what LTX makes.
type Option func(*spec)

type spec struct {
	pageSize  uint32
	commit    uint32
	timestamp time.Time
	pages     []uint32
	pagesSet  bool
	seed      uint64
	checksums bool
	noise     bool
}

// PageSize sets the page size in bytes: a power of two from 512 to 65536.
func PageSize(bytes uint32) Option { return func(s *spec) { s.pageSize = bytes } }

// Commit sets the size of the database after the transaction, in pages.
func Commit(pages uint32) Option { return func(s *spec) { s.commit = pages } }

// Timestamp sets the header's timestamp, which has milliseconds.
func Timestamp(t time.Time) Option { return func(s *spec) { s.timestamp = t } }

// Pages sets the numbers of the pages that the file holds, ascending. Without
// it, it holds every page of the database but the lock page.
func Pages(pgnos ...uint32) Option {
	return func(s *spec) { s.pages, s.pagesSet = pgnos, true }
}

// Seed makes the pages' content another one. The same seed gives the same
// content.
func Seed(seed uint64) Option { return func(s *spec) { s.seed = seed } }

// Checksums makes the file track the database's checksum, which Litestream's
// files don't.
func Checksums() Option { return func(s *spec) { s.checksums = true } }

// Noise fills the pages with what no compression makes smaller, so that the
// file is a little larger than its pages.
func Noise() Option { return func(s *spec) { s.noise = true } }

// LTX makes a valid LTX file with these TXIDs. The same arguments give the same
// bytes. Like Litestream's files, it tracks no database checksum unless
// Checksums says so.
func LTX(tb testing.TB, minTXID, maxTXID ltx.TXID, opts ...Option) []byte {
	tb.Helper()
	var buf bytes.Buffer
	WriteLTX(tb, &buf, minTXID, maxTXID, opts...)
	return buf.Bytes()
}

// WriteLTX writes what LTX makes, be it larger than memory.
func WriteLTX(tb testing.TB, w io.Writer, minTXID, maxTXID ltx.TXID, opts ...Option) {
	tb.Helper()
	s := spec{pageSize: DefaultPageSize, commit: DefaultCommit, timestamp: DefaultTime}
	for _, opt := range opts {
		opt(&s)
	}
	lock := ltx.LockPgno(s.pageSize)
	if !s.pagesSet {
		for pgno := uint32(1); pgno <= s.commit; pgno++ {
			if pgno != lock {
				s.pages = append(s.pages, pgno)
			}
		}
	}
	h := ltx.Header{
		Version: ltx.Version, PageSize: s.pageSize, Commit: s.commit, MinTXID: minTXID, MaxTXID: maxTXID,
		Timestamp: s.timestamp.UnixMilli(),
	}
	if !s.checksums {
		h.Flags = ltx.HeaderFlagNoChecksum
	} else if !h.IsSnapshot() {
		h.PreApplyChecksum = ltx.ChecksumFlag | ltx.Checksum(s.seed)
	}

	enc, err := ltx.NewEncoder(w)
	require.NoError(tb, err)
	require.NoError(tb, enc.EncodeHeader(h))
	checksum := ltx.ChecksumFlag
	page := make([]byte, s.pageSize)
	for _, pgno := range s.pages {
		fillPage(page, &s, uint64(minTXID), uint64(maxTXID), pgno)
		require.NoError(tb, enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page))
		checksum = ltx.ChecksumFlag | (checksum ^ ltx.ChecksumPage(pgno, page))
	}
	if s.checksums {
		enc.SetPostApplyChecksum(checksum)
	}
	require.NoError(tb, enc.Close())
}

// fillPage fills a page with bytes that depend on nothing but the arguments.
func fillPage(page []byte, s *spec, minTXID, maxTXID uint64, pgno uint32) {
	rng := rand.New(rand.NewPCG(minTXID<<32^maxTXID, s.seed<<32|uint64(pgno)))
	step := 64 // a little noise between runs of zeros, as in a half full page
	if s.noise {
		step = 8
	}
	clear(page)
	for i := 0; i+8 <= len(page); i += step {
		binary.BigEndian.PutUint64(page[i:], rng.Uint64())
	}
}

// LastPage is where the last byte of the pages is in a valid LTX file.
func LastPage(data []byte) int {
	const indexSize = 8 // bytes
	end := len(data) - ltx.TrailerSize - indexSize
	return end - int(binary.BigEndian.Uint64(data[end:])) - ltx.PageHeaderSize - 1
}
