package database

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
)

// TestGapIsListedAgain: a file that is missing since it was compacted between two
// listings is no gap.
func TestGapIsListedAgain(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 6 {
		h.Commit(10, 2)
	}
	h.Snapshot(1)
	r := newRig(t, h.store, 4<<20)
	// Level 1 is listed before the file comes, level 0 after the others have gone.
	_, err := r.index.Level(t.Context(), 1)
	require.NoError(t, err)
	h.Compact(1, 2, 4)
	for txid := ltx.TXID(2); txid <= 4; txid++ {
		h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
	}
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Empty(t, tl.gaps)
	assert.Equal(t, ltx.TXID(6), tl.TXID(tl.Len()-1))

	// Nor is what level 0 lacks before files that are still there.
	h.Compact(1, 2, 6)
	h.Remove(replica.Name{Level: 1, MinTXID: 2, MaxTXID: 4})
	r.refresh()
	h.store.ResetCalls()
	tl, err = r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Empty(t, tl.gaps)
	assert.Equal(t, []ltx.TXID{1, 6}, []ltx.TXID{tl.TXID(0), tl.TXID(tl.Len() - 1)})
	assert.Equal(t, 2, tl.Len())
	assert.Equal(t, replica.MaxLevel+1, h.store.Calls(mock.OpList), "listings")

	h.Remove(replica.Name{Level: 1, MinTXID: 2, MaxTXID: 6})
	r.refresh()
	tl, err = r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []gap{{2, 4}}, tl.gaps)
	assert.Contains(t, r.log.String(), `from=0000000000000002 to=0000000000000004 "last restorable"=0000000000000001`)
	h.store.ResetCalls()
	_, err = r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Zero(t, h.store.Calls(mock.OpList), "a gap that is known is believed")
}

// TestChangedSinceListed: a file that became another version since it was listed, as
// when its time is set late, is looked at anew.
func TestChangedSinceListed(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(20, 2)
	}
	for name, look := range map[string]func(r *rig) error{
		"state": func(r *rig) error { r.state(t, 3); return nil },
		"bytes": func(r *rig) error { require.Equal(t, h.File(3), r.bytes(t, 3)); return nil },
		"time": func(r *rig) error {
			return r.Current(t.Context(), func(tl *Timeline) error {
				i, err := r.At(t.Context(), tl, h.At(3).Time)
				if err == nil {
					assert.Equal(t, 2, i)
				}
				return err
			})
		},
		"instants": func(r *rig) error {
			return r.Current(t.Context(), func(tl *Timeline) error {
				all, err := r.Instants(t.Context(), tl)
				if err == nil {
					assert.Len(t, all, 3)
				}
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, h.store, 4<<20)
			_, err := r.Timeline(t.Context())
			require.NoError(t, err)
			for n, data := range h.Files {
				h.Put(n, data)
			}
			require.NoError(t, look(r))
		})
	}
}

// TestListedUnchanged: a replica that is as it was listed before has the same states, which aren't looked for again.
func TestListedUnchanged(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 6 {
		h.Commit(10, 2)
	}
	h.Snapshot(1)
	r := newRig(t, h.store, 4<<20)
	before, err := r.Timeline(t.Context())
	require.NoError(t, err)
	instants, err := r.Instants(t.Context(), before)
	require.NoError(t, err)

	r.refresh()
	h.store.ResetCalls()
	same, err := r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Equal(t, replica.MaxLevel+1, h.store.Calls(mock.OpList))
	assert.NotSame(t, before, same, "it is as old as the listings")
	assert.Same(t, &before.points[0], &same.points[0])
	again, err := r.Instants(t.Context(), same)
	require.NoError(t, err)
	assert.Same(t, &instants[0], &again[0])

	h.Commit(10, 2)
	r.refresh()
	more, err := r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Equal(t, same.Len()+1, more.Len())
	again, err = r.Instants(t.Context(), more)
	require.NoError(t, err)
	assert.Len(t, again, len(instants)+1)
}
