package storetest

import (
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// History is what happened to a database, transaction by transaction, and the files of
// a replica that were made of it.
type History struct {
	PageSize  uint32
	Checksums bool

	// States are the database after each transaction, by TXID - 1.
	States []State

	// Files are all that were made. Put and Remove, if set, are told of those that a
	// store is to have.
	Files  map[replica.Name][]byte
	Put    func(n replica.Name, data []byte)
	Remove func(n replica.Name)

	tb  testing.TB
	rng *rand.Rand
}

// State is a database after a transaction.
type State struct {
	Pages map[uint32][]byte
	Size  uint32 // pages
	Time  time.Time
}

// NewHistory returns a history in which nothing has happened. The same seed makes the
// same things happen.
func NewHistory(tb testing.TB, seed uint64, pageSize uint32) *History {
	return &History{tb: tb, rng: rand.New(rand.NewPCG(seed, 1)), PageSize: pageSize, Files: map[replica.Name][]byte{}}
}

// HistoryBegan is when the first transaction was. The others follow, 1.5 s apart.
var HistoryBegan = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// At is the state after a transaction.
func (h *History) At(txid ltx.TXID) State { return h.States[txid-1] }

// Last is the last transaction.
func (h *History) Last() ltx.TXID { return ltx.TXID(len(h.States)) }

// File is the database file of a state, as Litestream restores it.
func (h *History) File(txid ltx.TXID) []byte {
	s, b := h.At(txid), []byte(nil)
	for pgno := uint32(1); pgno <= s.Size; pgno++ {
		if pgno == ltx.LockPgno(h.PageSize) {
			b = append(b, make([]byte, h.PageSize)...)
			continue
		}
		b = append(b, s.Pages[pgno]...)
	}
	return b
}

// page makes the content of a page, some of which can be compressed.
func (h *History) page(pgno uint32) []byte {
	p := make([]byte, h.PageSize)
	for i := range int(h.rng.Uint32N(h.PageSize)) {
		p[i] = byte(h.rng.Uint32())
	}
	if pgno == 1 {
		copy(p, "SQLite format 3\x00")
		p[18], p[19] = 2, 2
	}
	return p
}

// Commit adds a transaction, after which the database has that many pages, and its file
// in level 0. Some pages change.
func (h *History) Commit(size uint32, changed int) {
	before := State{Pages: map[uint32][]byte{}}
	if len(h.States) > 0 {
		before = h.States[len(h.States)-1]
	}
	now := State{Pages: map[uint32][]byte{}, Size: size, Time: HistoryBegan.Add(time.Duration(len(h.States)) * 1500 * time.Millisecond)}
	news := map[uint32]bool{1: true}
	for range changed {
		news[1+h.rng.Uint32N(size)] = true
	}
	for pgno := uint32(1); pgno <= size; pgno++ {
		if p, ok := before.Pages[pgno]; ok && !news[pgno] {
			now.Pages[pgno] = p
		} else {
			now.Pages[pgno] = h.page(pgno)
		}
	}
	h.States = append(h.States, now)
	txid := h.Last()
	h.Add(replica.Name{Level: 0, MinTXID: txid, MaxTXID: txid}, h.Encode(txid, txid, now.Time, func(pgno uint32) bool {
		p, ok := before.Pages[pgno]
		return !ok || txid == 1 || &p[0] != &now.Pages[pgno][0]
	}))
}

// Encode makes the file of a range, with the pages as they are at its end.
func (h *History) Encode(minTXID, maxTXID ltx.TXID, at time.Time, has func(pgno uint32) bool) []byte {
	s := h.At(maxTXID)
	header := ltx.Header{
		Version: ltx.Version, PageSize: h.PageSize, Commit: s.Size, MinTXID: minTXID, MaxTXID: maxTXID, Timestamp: at.UnixMilli(),
		Flags: ltx.HeaderFlagNoChecksum,
	}
	if h.Checksums {
		if header.Flags = 0; minTXID > 1 {
			header.PreApplyChecksum = h.checksum(minTXID - 1)
		}
	}
	var b bytes.Buffer
	enc, err := ltx.NewEncoder(&b)
	require.NoError(h.tb, err)
	require.NoError(h.tb, enc.EncodeHeader(header))
	for pgno := uint32(1); pgno <= s.Size; pgno++ {
		if has(pgno) && pgno != ltx.LockPgno(h.PageSize) {
			require.NoError(h.tb, enc.EncodePage(ltx.PageHeader{Pgno: pgno}, s.Pages[pgno]))
		}
	}
	if h.Checksums {
		enc.SetPostApplyChecksum(h.checksum(maxTXID))
	}
	require.NoError(h.tb, enc.Close())
	return b.Bytes()
}

func (h *History) checksum(txid ltx.TXID) ltx.Checksum {
	sum := ltx.ChecksumFlag
	for pgno, p := range h.At(txid).Pages {
		if pgno != ltx.LockPgno(h.PageSize) {
			sum = ltx.ChecksumFlag | (sum ^ ltx.ChecksumPage(pgno, p))
		}
	}
	return sum
}

// Snapshot adds a snapshot of a state, taken a while later.
func (h *History) Snapshot(txid ltx.TXID) {
	at := h.At(txid).Time.Add(500 * time.Millisecond)
	h.Add(replica.Name{Level: 9, MinTXID: 1, MaxTXID: txid}, h.Encode(1, txid, at, func(uint32) bool { return true }))
}

// Compact adds what ltx's compactor makes of the files of level 0 of a range.
func (h *History) Compact(level int, minTXID, maxTXID ltx.TXID) {
	var inputs []io.Reader
	for txid := minTXID; txid <= maxTXID; txid++ {
		inputs = append(inputs, bytes.NewReader(h.Files[replica.Name{MinTXID: txid, MaxTXID: txid}]))
	}
	var b bytes.Buffer
	c, err := ltx.NewCompactor(&b, inputs)
	require.NoError(h.tb, err)
	if !h.Checksums {
		c.HeaderFlags = ltx.HeaderFlagNoChecksum
	}
	require.NoError(h.tb, c.Compact(context.Background()))
	h.Add(replica.Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, b.Bytes())
}

// Add adds a file.
func (h *History) Add(n replica.Name, data []byte) {
	h.Files[n] = data
	if h.Put != nil {
		h.Put(n, data)
	}
}

// Random makes a history of n transactions, in which the database also shrinks, with
// files in several levels.
func (h *History) Random(n int, most uint32) {
	size := 1 + h.rng.Uint32N(most)
	for range n {
		switch h.rng.Uint32N(6) {
		case 0:
			size = 1 + h.rng.Uint32N(most)
		case 1:
			size = min(size+1+h.rng.Uint32N(4), most)
		}
		h.Commit(size, int(h.rng.Uint32N(8)))
	}
	for level := 1; level <= 3; level++ {
		for from := ltx.TXID(1); from < h.Last(); {
			to := min(from+ltx.TXID(1+h.rng.Uint32N(uint32(4*level))), h.Last())
			h.Compact(level, from, to)
			from = to + 1
		}
	}
	for range 3 {
		h.Snapshot(1 + ltx.TXID(h.rng.Uint64N(uint64(h.Last()))))
	}
}

// Prune removes files at random.
func (h *History) Prune(share float64) {
	for _, n := range slices.SortedFunc(maps.Keys(h.Files), replica.Name.Compare) {
		if h.rng.Float64() < share {
			h.Remove(n)
		}
	}
}
