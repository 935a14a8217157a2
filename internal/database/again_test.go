package database

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// TestWrittenAgain: a TXID that was written again is another state, and the one that is
// open doesn't become it.
func TestWrittenAgain(t *testing.T) {
	before := newHistory(t, 1, 4096)
	after := newHistoryIn(t, before.store, 2, 4096)
	for range 3 {
		before.Commit(300, 20)
	}
	r := newRig(t, before.store, 8<<20)
	s := r.state(t, 3)
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	for range 3 {
		after.Commit(300, 20)
	}
	// Even with the same time and size, the versions differ.
	r.refresh()
	assert.False(t, r.isStill(t, s))
	for range 2 {
		_, err = rd.ReadAt(t.Context(), make([]byte, 4096), 0)
		require.ErrorIs(t, err, replica.ErrReplaced)
	}
	require.Equal(t, after.File(3), r.bytes(t, 3))
}

// TestReopened: a state that nobody has open is another one once it would be read from other
// files, since programs may have pages of those before.
func TestReopened(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(300, 20)
	}
	r := newRig(t, h.store, 8<<20)
	s := r.state(t, 3)
	open := func(s *State) error {
		rd, err := s.Open(t.Context())
		if err == nil {
			rd.Close()
		}
		return err
	}
	require.NoError(t, open(s))
	require.NoError(t, open(r.state(t, 1)), "and s isn't the one that was closed last")
	require.NoError(t, open(s))
	assert.True(t, r.isStill(t, s))
	require.NoError(t, open(r.state(t, 1)))

	h.Compact(1, 1, 3)
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
	}
	r.refresh()
	require.ErrorIs(t, open(s), replica.ErrReplaced)
	assert.False(t, r.isStill(t, s))
	require.Equal(t, h.File(3), r.bytes(t, 3))
}
