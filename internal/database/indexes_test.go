package database

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
)

// TestIndexesOnce: each file's index is read once, in whatever order states are opened, and
// however many at a time.
func TestIndexesOnce(t *testing.T) {
	const states = 60
	h := newHistory(t, 1, 512)
	for range states {
		h.Commit(100, 2)
	}
	r := newRig(t, h.store, 8<<20)
	all := make([]*State, states)
	for i := range all {
		all[i] = r.state(t, ltx.TXID(i+1))
	}
	h.store.ResetCalls()
	open := func(s *State) error {
		rd, err := s.Open(t.Context())
		if err == nil {
			rd.Close()
		}
		return err
	}
	var g errgroup.Group
	for _, s := range slices.Backward(all) {
		g.Go(func() error { return open(s) })
	}
	require.NoError(t, g.Wait())
	require.Equal(t, states, h.store.Calls(mock.OpOpen))
	for _, i := range []int{40, 3, 59, 20, 58, 0} {
		require.NoError(t, open(r.state(t, all[i].TXID)))
	}
	require.Equal(t, states, h.store.Calls(mock.OpOpen))

	// They have their share of the memory, and no more.
	small := newRig(t, h.store, 256<<10)
	for _, s := range all {
		require.NoError(t, open(small.state(t, s.TXID)))
		require.LessOrEqual(t, small.opts.Maps.kept, 256<<10/16)
	}
	require.Positive(t, small.opts.Maps.kept)
	require.Less(t, small.runs.Len(), states)
	for _, txid := range []ltx.TXID{1, 30, states} {
		require.Equal(t, h.File(txid), small.bytes(t, txid))
	}
}

// wrong is a store that gives other bytes in place of some bodies.
type wrong struct {
	replica.Wrapper
	left  atomic.Int32
	files map[replica.Name][]byte // what it gives of those; of others, zeros
}

func (w *wrong) OpenLTXFile(ctx context.Context, f replica.File, off, size int64) (io.ReadCloser, error) {
	body, err := w.Store.OpenLTXFile(ctx, f, off, size)
	if err == nil && w.left.Add(-1) >= 0 {
		err = body.Close()
		b := make([]byte, size)
		if other, ok := w.files[f.Name]; ok {
			copy(b, other[off:])
		}
		body = io.NopCloser(bytes.NewReader(b))
	}
	return body, err
}

// TestZeros: what the store gave wrongly isn't kept, and is asked for once more before it is
// an error.
func TestZeros(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(300, 0)
	for range 3 {
		h.Commit(300, 1)
	}
	z := &wrong{Wrapper: replica.Wrapper{Store: h.store}}
	r := newRig(t, z, 8<<20)
	z.left.Store(1)
	s := r.state(t, 4)
	z.left.Store(1)
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	page := make([]byte, 4096)
	read := func() error {
		_, err := rd.ReadAt(t.Context(), page, 200*4096)
		return err
	}
	z.left.Store(100)
	require.ErrorIs(t, read(), ErrDamaged)
	require.Equal(t, int32(98), z.left.Load())
	require.ErrorIs(t, read(), ErrDamaged)
	z.left.Store(1)
	require.NoError(t, read())
	z.left.Store(0)
	require.Equal(t, h.File(4), r.bytes(t, 4))
}

// TestFlippedBit: of a small file whose bytes don't match its checksum no page is given, though
// each may unpack.
func TestFlippedBit(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(100, 2)
	}
	h.Commit(100, 4)
	n := replica.Name{MinTXID: 2, MaxTXID: 2}
	good := h.Files[n]
	require.Less(t, len(good), endSize)
	h.Put(n, flipped(t, good))
	r := newRig(t, h.store, 8<<20)
	for txid := ltx.TXID(2); txid <= 4; txid++ {
		rd, err := r.state(t, txid).Open(t.Context())
		require.NoError(t, err)
		defer rd.Close()
		page, want, refused := make([]byte, 4096), h.File(txid), 0
		for i := range len(want) / 4096 {
			_, err := rd.ReadAt(t.Context(), page, int64(i)*4096)
			if err != nil {
				require.ErrorIs(t, err, ErrDamaged)
				refused++
				continue
			}
			require.Equal(t, want[i*4096:(i+1)*4096], page, "page %d", i+1)
		}
		assert.Positive(t, refused, "state %s", txid)
		assert.LessOrEqual(t, refused, 4, "state %s", txid)
	}
	require.Equal(t, h.File(1), r.bytes(t, 1))
}

// TestFlippedOnce: a small file that the store gave damaged once is sound the next time that
// the state is opened.
func TestFlippedOnce(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(100, 0)
	h.Commit(100, 2)
	n := replica.Name{MinTXID: 2, MaxTXID: 2}
	bad := &wrong{Wrapper: replica.Wrapper{Store: h.store}, files: map[replica.Name][]byte{n: flipped(t, h.Files[n])}}
	r := newRig(t, bad, 8<<20)
	require.Equal(t, h.File(1), r.bytes(t, 1))
	s, want := r.state(t, 2), h.File(2)
	read := func() error {
		rd, err := s.Open(t.Context())
		require.NoError(t, err)
		defer rd.Close()
		got := make([]byte, len(want))
		if _, err = rd.ReadAt(t.Context(), got, 0); err == nil {
			require.Equal(t, want, got)
		}
		return err
	}
	bad.left.Store(2)
	require.ErrorIs(t, read(), ErrDamaged)
	require.Zero(t, bad.left.Load())
	require.NoError(t, read())
	r.forget()
	bad.left.Store(1)
	require.NoError(t, read())
	require.True(t, r.isStill(t, s))
}

// TestIndexWaiters: who waits for an index that another one reads has its result, and doesn't
// lose it with that one; where nobody waits any more, reading ends.
func TestIndexWaiters(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 5 {
		h.Commit(100, 2)
	}
	r := newRig(t, h.store, 8<<20)
	states := []*State{r.state(t, 3), r.state(t, 4), r.state(t, 5)}
	third := replica.Name{MinTXID: 3, MaxTXID: 3}
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	v, ok := tl.version(third)
	require.True(t, ok)
	answer := make(chan struct{})
	hang := h.store.Inject(mock.Fault{Op: mock.OpOpen, File: &third, Wait: answer})
	h.store.ResetCalls()
	// openers opens the states, and returns once each waits for what the store was asked for.
	openers := func(asked int, ctx ...context.Context) []chan error {
		var results []chan error
		for i, s := range states {
			done := make(chan error, 1)
			results = append(results, done)
			go func() {
				rd, err := s.Open(ctx[i])
				if err == nil {
					rd.Close()
				}
				done <- err
			}()
		}
		require.Eventually(t, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			w := r.reading[version{third, v}]
			return w != nil && w.waiters == len(states) && h.store.CallsFor(mock.OpOpen, third) == asked
		}, time.Minute, time.Millisecond)
		return results
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := openers(1, ctx, ctx, ctx)
	cancel()
	for _, done := range results {
		require.ErrorIs(t, <-done, context.Canceled)
	}
	require.Empty(t, r.reading)
	hang()
	failure := errors.New("no")
	hang = h.store.Inject(mock.Fault{Op: mock.OpOpen, File: &third, Wait: answer, Err: failure})
	ctx, cancel = context.WithCancel(t.Context())
	results = openers(2, ctx, t.Context(), t.Context())
	cancel()
	require.ErrorIs(t, <-results[0], context.Canceled)
	close(answer)
	for _, done := range results[1:] {
		require.ErrorIs(t, <-done, failure)
	}
	require.Equal(t, 2, h.store.CallsFor(mock.OpOpen, third))
	hang()
	require.Equal(t, h.File(5), r.bytes(t, 5))
}

// flipped is a file with a flipped bit that nothing but its checksum shows.
func flipped(t *testing.T, file []byte) []byte {
	for i := ltx.HeaderSize; i < len(file); i++ {
		b := slices.Clone(file)
		b[i] ^= 1
		_, err := ltxfile.Verify(t.Context(), bytes.NewReader(b), int64(len(b)))
		require.Error(t, err)
		if errors.Is(err, ltx.ErrChecksumMismatch) {
			return b
		}
	}
	t.Fatal("each flipped bit shows otherwise")
	return nil
}
