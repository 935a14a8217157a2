package database

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// sources are the files of a state, and the identity that its reader has.
func (r *rig) sources(t *testing.T, h history, s *State) (sources []Source, identity [32]byte) {
	t.Helper()
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	for _, f := range rd.Files() {
		sources = append(sources, Source{f, bytes.NewReader(h.Files[f.Name])})
	}
	return sources, rd.Identity()
}

// restored is all of a state out of sources.
func (r *rig) restored(t *testing.T, s *State, sources []Source) ([]byte, error) {
	t.Helper()
	before := r.budget.Used()
	restored, err := s.Restored(t.Context(), sources)
	if err != nil {
		require.Equal(t, before, r.budget.Used())
		return nil, err
	}
	require.LessOrEqual(t, r.budget.Used()-before, r.budget.Size()/restoredShare)
	defer restored.Close()
	return io.ReadAll(restored)
}

// TestRestored: of random histories with files missing at random, each state that can be restored
// is, out of its files alone, what it was.
func TestRestored(t *testing.T) {
	for seed := range uint64(40) {
		h := newHistory(t, seed, uint32(512)<<(seed%8))
		h.Checksums = seed%3 == 0
		h.Random(30, max(200_000/h.PageSize, 4))
		if seed%4 > 0 {
			h.Prune(float64(seed%4) * 0.2)
		}
		r := newRig(t, h.store, 16<<20)
		tl, err := r.Timeline(t.Context())
		require.NoError(t, err)
		for i := range tl.Len() {
			s := r.state(t, tl.TXID(i))
			sources, identity := r.sources(t, h, s)
			restored, err := s.Restored(t.Context(), sources)
			require.NoError(t, err)
			require.Equal(t, identity, restored.Identity)
			got, err := io.ReadAll(restored)
			require.NoError(t, err)
			restored.Close()
			require.True(t, bytes.Equal(h.File(s.TXID), got), "seed %d: state %s", seed, s.TXID)
		}
	}
}

// TestRestoredNoWAL: without Exact, page 1 says that there is no WAL, as who reads pages is told.
func TestRestoredNoWAL(t *testing.T) {
	h := newHistory(t, 1, 1024)
	h.Commit(20, 0)
	page := h.States[0].Pages[1]
	copy(page, magic)
	page[18], page[19] = 2, 2
	h.Add(replica.Name{MinTXID: 1, MaxTXID: 1}, h.Encode(1, 1, h.States[0].Time, func(uint32) bool { return true }))
	r := newRig(t, h.store, 4<<20)
	r.opts.Exact = false
	s := r.state(t, 1)
	sources, _ := r.sources(t, h, s)
	got, err := r.restored(t, s, sources)
	require.NoError(t, err)
	require.Equal(t, r.bytes(t, 1), got)
	require.Equal(t, "\x01\x01", string(got[18:20]))
}

// TestRestoredOfOthers: out of what isn't the state's files nothing is restored to its end.
func TestRestoredOfOthers(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(100, 0)
	h.Commit(90, 3)
	h.Commit(90, 3)
	h.Snapshot(1)
	r := newRig(t, h.store, 4<<20)
	s := r.state(t, 3)
	sources, _ := r.sources(t, h, s)
	require.Len(t, sources, 3)
	broken := errors.New("broken")
	with := func(i int, data io.ReaderAt) (changed []Source) {
		changed = append(changed, sources...)
		changed[i].ReaderAt = data
		return changed
	}
	other := newHistory(t, 2, 512)
	other.Commit(90, 0)
	base := h.Files[sources[0].Name]
	for name, tt := range map[string]struct {
		sources []Source
		want    error
	}{
		"a flipped bit":                       {with(1, bytes.NewReader(flipped(t, h.Files[sources[1].Name]))), ltx.ErrChecksumMismatch},
		"a flipped bit in the trailer":        {with(0, bytes.NewReader(flippedAt(base, len(base)-1))), ltx.ErrChecksumMismatch},
		"one that can't be read":              {with(0, &breaks{bytes.NewReader(base), int64(len(base) / 2), broken}), broken},
		"one that can't be read at its end":   {with(0, &breaks{bytes.NewReader(base), int64(len(base) - 8), broken}), broken},
		"without the first":                   {sources[1:], ErrIncomplete},
		"without the last, which has another": {sources[:1], ErrDamaged},
	} {
		_, err := r.restored(t, s, tt.sources)
		require.ErrorIs(t, err, tt.want, name)
	}
	_, err := r.restored(t, s, with(2, bytes.NewReader(other.Files[replica.Name{MinTXID: 1, MaxTXID: 1}])))
	require.ErrorContains(t, err, "page", "pages of another size")
	many := make([]Source, 200)
	for i := range many {
		many[i] = sources[0]
	}
	_, err = r.restored(t, s, many)
	require.ErrorContains(t, err, "its 200 files are too many for the memory of the cache")
}

// TestRestoredGivesBack: at its end the memory is given back, though it isn't closed yet.
func TestRestoredGivesBack(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(20, 0)
	r := newRig(t, h.store, 4<<20)
	s := r.state(t, 1)
	sources, _ := r.sources(t, h, s)
	before := r.budget.Used()
	restored, err := s.Restored(t.Context(), sources)
	require.NoError(t, err)
	require.Greater(t, r.budget.Used(), before)
	_, err = io.ReadAll(restored)
	require.NoError(t, err)
	require.Equal(t, before, r.budget.Used())
	n, err := restored.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.Zero(t, n)
	restored.Close()
	require.Equal(t, before, r.budget.Used())
}

// TestRestoredInBlocks: each block of a file is read once, however many files there are, and the one
// that has the checksum a second time.
func TestRestoredInBlocks(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(200, 0)
	for range 9 {
		h.Commit(200, 1)
	}
	r := newRig(t, h.store, 4<<20)
	s := r.state(t, 10)
	sources, _ := r.sources(t, h, s)
	require.Len(t, sources, 10)
	for i := range sources {
		sources[i].ReaderAt = &notes{ReaderAt: sources[i].ReaderAt}
	}
	got, err := r.restored(t, s, sources)
	require.NoError(t, err)
	require.True(t, bytes.Equal(h.File(10), got))
	require.Greater(t, sources[0].Size, int64(3*128<<10))
	for _, src := range sources {
		want := []int64{src.Size - 8}
		for off := int64(0); off < src.Size; off += 128 << 10 {
			want = append(want, off)
		}
		require.Equal(t, want, src.ReaderAt.(*notes).offsets)
	}
}

// notes notes from where on it is read.
type notes struct {
	io.ReaderAt
	offsets []int64
}

func (n *notes) ReadAt(p []byte, off int64) (int, error) {
	n.offsets = append(n.offsets, off)
	return n.ReaderAt.ReadAt(p, off)
}

// TestIdentityOnce: the identity of a state's files isn't computed for each who opens it.
func TestIdentityOnce(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(20, 0)
	h.Commit(20, 3)
	rd, err := newRig(t, h.store, 4<<20).state(t, 2).Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	require.NotZero(t, rd.Identity())
	require.Zero(t, testing.AllocsPerRun(10, func() { rd.Identity() }))
}

// TestRestoredWaits: memory that others have is waited for no longer than for a read.
func TestRestoredWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(t, 1, 4096)
		h.Commit(20, 0)
		r := newRig(t, h.store, 4<<20)
		s := r.state(t, 1)
		sources, _ := r.sources(t, h, s)
		require.NoError(t, r.budget.Acquire(t.Context(), r.budget.Size()))
		defer r.budget.Release(r.budget.Size())
		began := time.Now()
		_, err := s.Restored(t.Context(), sources)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, r.opts.ReadTimeout, time.Since(began))
	})
}

func flippedAt(file []byte, at int) []byte {
	file = bytes.Clone(file)
	file[at] ^= 1
	return file
}

// breaks is what can't be read from a place on.
type breaks struct {
	io.ReaderAt
	at  int64
	err error
}

func (b *breaks) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, b.err
	}
	return b.ReaderAt.ReadAt(p, off)
}

// TestRestoredLockPage: SQLite's lock page is zeros, though no file has it.
func TestRestoredLockPage(t *testing.T) {
	h := newHistory(t, 1, 65536)
	lock := ltx.LockPgno(h.PageSize)
	h.Commit(1, 0)
	h.Commit(1, 0)
	h.States[1].Size = lock + 1
	around := map[uint32][]byte{lock - 1: h.States[0].Pages[1], lock + 1: h.States[1].Pages[1]}
	h.States[1].Pages = around
	n := replica.Name{MinTXID: 2, MaxTXID: 2}
	h.Add(n, h.Encode(2, 2, h.States[1].Time, func(pgno uint32) bool { return around[pgno] != nil }))
	r := newRig(t, h.store, 4<<20)
	s := r.state(t, 2)
	sources, _ := r.sources(t, h, s)
	restored, err := s.Restored(t.Context(), sources)
	require.NoError(t, err)
	defer restored.Close()
	restored.pgno = lock - 2 // those before are in no file
	got, err := io.ReadAll(restored)
	require.NoError(t, err)
	require.Equal(t, bytes.Join([][]byte{around[lock-1], make([]byte, h.PageSize), around[lock+1]}, nil), got)
}
