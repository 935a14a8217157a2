package database

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// TestInstants: the states by time, with few requests, and with all where times don't
// ascend.
func TestInstants(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 200 {
		h.Commit(4, 1)
	}
	h.Snapshot(1)
	h.Snapshot(150)
	r := newRig(t, h.store, 8<<20)
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{-1, -1}, {0, 0}, {1499 * time.Millisecond, 0}, {1500 * time.Millisecond, 1}, {100 * time.Second, 66}, {time.Hour, 199}} {
		h.store.ResetCalls()
		i, err := r.At(t.Context(), tl, storetest.HistoryBegan.Add(c.after))
		require.NoError(t, err)
		assert.Equal(t, c.want, i, "%v", c.after)
		assert.LessOrEqual(t, h.store.Calls(mock.OpOpen), 9+maxChecked, "requests of a search among 200")
	}
	all, err := r.Instants(t.Context(), tl)
	require.NoError(t, err)
	require.Len(t, all, 200)
	for i, a := range all {
		require.Equal(t, Instant{h.States[i].Time, i}, a)
	}
}

// TestInstantsUnordered: where the clock was set back, an instant is the last state
// before which none is later, as Litestream has it, and a warning says so.
func TestInstantsUnordered(t *testing.T) {
	for back := ltx.TXID(1); back < 9; back++ {
		h := newHistory(t, 1, 512)
		for range 9 {
			h.Commit(4, 1)
		}
		for txid := back + 1; txid <= h.Last(); txid++ {
			at := &h.States[txid-1].Time
			*at = at.Add(-7 * time.Second)
			h.Add(replica.Name{MinTXID: txid, MaxTXID: txid}, h.Encode(txid, txid, *at, func(uint32) bool { return true }))
		}
		for i := range h.States {
			r := newRig(t, h.store, 8<<20)
			tl, err := r.Timeline(t.Context())
			require.NoError(t, err)
			at, want := h.States[i].Time, -1
			for j, s := range h.States {
				if s.Time.After(at) {
					break
				}
				want = j
			}
			got, err := r.At(t.Context(), tl, at)
			require.NoError(t, err)
			assert.Equal(t, want, got, "set back after state %d, at the time of state %d", back, i+1)
			_, err = r.Instants(t.Context(), tl)
			require.NoError(t, err)
			got, err = r.At(t.Context(), tl, at)
			require.NoError(t, err)
			assert.Equal(t, want, got, "set back after state %d, at the time of state %d, with all known", back, i+1)
			assert.Contains(t, r.log.String(), "level=WARN msg=\"the times of transactions don't ascend")
		}
	}
}

// TestInstantsOfSnapshots: that a snapshot was taken after later transactions is no clock
// that was set back.
func TestInstantsOfSnapshots(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 9 {
		h.Commit(4, 1)
	}
	h.Add(replica.Name{Level: 9, MinTXID: 1, MaxTXID: 6}, h.Encode(1, 6, h.At(8).Time, func(uint32) bool { return true }))
	for txid := ltx.TXID(1); txid <= 6; txid++ {
		h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
	}
	r := newRig(t, h.store, 8<<20)
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	for i, want := range map[ltx.TXID]int{6: -1, 7: -1, 8: 2, 9: 3} {
		got, err := r.At(t.Context(), tl, h.At(i).Time)
		require.NoError(t, err)
		assert.Equal(t, want, got, "at the time of state %d", i)
	}
	_, err = r.Instants(t.Context(), tl)
	require.NoError(t, err)
	assert.NotContains(t, r.log.String(), "WARN")
}

func TestParseTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2026-01-02T03:04:05.000Z":       at,
		"2026-01-02T03:04:05Z":           at,
		"2026-01-02T05:04:05+02:00":      at,
		"2026-01-02t03:04:05z":           at,
		"2026-01-02 03:04:05":            at,
		"2026-01-02T03:04:05.123456789Z": at.Add(123456789),
		"2026-01-02T03:04Z":              at.Add(-5 * time.Second),
		"2026-01-02T03:04":               at.Add(-5 * time.Second),
		"2026-01-02T05:04:05+0200":       at,
		"2026-01-02T01:04:05.5-02":       at.Add(time.Second / 2),
		"2026-01-02T03:04+00":            at.Add(-5 * time.Second),
		"2026-01-02":                     time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
	} {
		got, ok := ParseTime(s)
		require.True(t, ok, s)
		assert.True(t, want.Equal(got), "%s is %v", s, got)
	}
	for _, s := range []string{"", "now", "2026", "2026-13-01", "2026-01-02T25:00:00Z", "latest", "2026-01-02-journal"} {
		_, ok := ParseTime(s)
		assert.False(t, ok, s)
	}
}
