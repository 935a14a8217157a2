package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
)

func TestExactTimesAreAskedForOnce(t *testing.T) {
	s := newUploadStore(numbered(4)...)
	x, clock := newIndex(t, s, Options{ExactTimes: true, Freshness: freshness})
	require.Equal(t, numbered(4), listLevel(t, x))
	s.requireAsked(t, 1, 2, 3, 4)
	listLevel(t, x)
	clock.advance(freshness)
	require.Equal(t, numbered(4), listLevel(t, x))
	s.requireAsked(t)

	// One goes, one comes, one is replaced, one is this mount's own.
	clock.advance(freshness)
	s.delete(1, 1)
	s.write(fileOf(2, 2, 20))
	s.write(fileOf(5, 5, 5))
	s.write(fileOf(6, 6, 6))
	x.Put(fileOf(6, 6, 6))
	clock.advance(freshness)
	want := []replica.File{fileOf(2, 2, 20), fileOf(3, 3, 3), fileOf(4, 4, 4), fileOf(5, 5, 5), fileOf(6, 6, 6)}
	require.Equal(t, want, listLevel(t, x))
	s.requireAsked(t, 2, 5)

	// Back with the version that it had.
	clock.advance(freshness)
	s.write(fileOf(1, 1, 1))
	require.Len(t, listLevel(t, x), 6)
	s.requireAsked(t, 1)
}

func TestFindExactly(t *testing.T) {
	s := newUploadStore(numbered(1)...)
	x, clock := newIndex(t, s, Options{ExactTimes: true})
	f, _ := find(t, x, 1, 1)
	require.Equal(t, fileOf(1, 1, 1), *f)
	f, _ = find(t, x, 2, 2)
	require.Nil(t, f)
	s.requireAsked(t, 1, 2)
	listLevel(t, x)
	s.requireAsked(t, 1)
	find(t, x, 1, 1)
	s.requireAsked(t)
	clock.advance(freshness)
	f, _ = find(t, x, 1, 1)
	require.Equal(t, fileOf(1, 1, 1), *f)
	s.requireAsked(t, 1)
}

// What happens to a file between the listing and its stat counts as the stat found
// it.
func TestExactTimesWhileTheStoreChanges(t *testing.T) {
	s := newUploadStore(numbered(5)...)
	s.onExact = func(_ context.Context, min int) error {
		switch min {
		case 2:
			s.delete(2, 2)
		case 4:
			s.write(fileOf(4, 4, 44))
		}
		return nil
	}
	x, _ := newIndex(t, s, Options{ExactTimes: true})
	require.Equal(t, []replica.File{fileOf(1, 1, 1), fileOf(3, 3, 3), fileOf(4, 4, 44), fileOf(5, 5, 5)}, listLevel(t, x))
}

// No other time stands in for one that can't be found, and what was found so far
// isn't asked for again.
func TestExactTimesThatFail(t *testing.T) {
	broken := errors.New("broken")
	for kind, fail := range map[string]func() error{
		"error": func() error { return broken },
		"panic": func() error { panic("broken") },
	} {
		t.Run(kind, func(t *testing.T) {
			s := newUploadStore(numbered(9)...)
			s.onExact = func(_ context.Context, min int) error {
				if min == 7 {
					return fail()
				}
				return nil
			}
			x, _ := newIndex(t, s, Options{ExactTimes: true})
			for range 2 {
				_, err := x.Level(t.Context(), 2)
				require.ErrorContains(t, err, "list level 2: ")
				require.ErrorContains(t, err, "broken")
			}
			s.asked = nil
			s.onExact = nil
			require.Equal(t, numbered(9), listLevel(t, x))
			for _, min := range s.asked {
				require.Greater(t, min, 4, "asked for again")
			}
			require.NotZero(t, x.levels[2].base.seq, "what is left of the failed listing is no answer")
		})
	}
}

// A listing that fails by itself keeps what it has found as well.
func TestExactTimesOfAFailedListing(t *testing.T) {
	s := newUploadStore(numbered(3)...)
	s.endErr = errors.New("broken")
	x, _ := newIndex(t, s, Options{ExactTimes: true})
	_, err := x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "broken")
	s.requireAsked(t, 1, 2, 3)
	// A later failure that came less far takes nothing away.
	s.mangle = func(files []replica.File) []replica.File { return files[:1] }
	_, err = x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "broken")
	s.endErr, s.mangle = nil, nil
	require.Equal(t, numbered(3), listLevel(t, x))
	s.requireAsked(t)
}

// Whoever asks while exact times are found begins no listing of their own.
func TestOneListingOfExactTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUploadStore(numbered(100)...)
		gate := make(chan struct{})
		s.onExact = func(_ context.Context, min int) error {
			if min == 1 {
				<-gate
			}
			return nil
		}
		x, _ := newIndex(t, s, Options{ExactTimes: true})
		c := levelLater(t.Context(), x)
		// Another caller, and one after an Invalidate.
		x.Invalidate(2)
		other := levelLater(t.Context(), x)
		requireCounts(t, s, 1, 0)
		close(gate)
		require.Len(t, filesOf(arrived(t, c).s), 100)
		require.Len(t, filesOf(arrived(t, other).s), 100)
		require.Len(t, s.asked, 100, "a file was asked for twice")
	})
}

// A stat that never answers ends the listing at its deadline, and what was found
// counts for the next.
func TestExactTimesHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUploadStore(numbered(10)...)
		s.onExact = func(ctx context.Context, min int) error {
			if min == 8 {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		x, _ := newIndex(t, s, Options{ExactTimes: true})
		begin := time.Now()
		_, err := x.Level(t.Context(), 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, defaultListTimeout, time.Since(begin))
		synctest.Wait()
		s.asked, s.onExact = nil, nil
		require.Equal(t, numbered(10), listLevel(t, x))
		s.requireAsked(t, 8, 9, 10)

		s.onExact = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		s.write(fileOf(11, 11, 11))
		x.Invalidate(2)
		c := levelLater(t.Context(), x)
		x.Close()
		require.ErrorIs(t, arrived(t, c).err, os.ErrClosed)
	})
}

// A time that was found late, by a listing that nobody waits for any more, takes
// nothing from a later listing.
func TestExactTimesThatComeTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUploadStore(numbered(3)...)
		gate := make(chan struct{})
		var late atomic.Bool
		s.onExact = func(_ context.Context, min int) error {
			if min == 3 && late.CompareAndSwap(false, true) {
				<-gate
			}
			return nil
		}
		x, _ := newIndex(t, s, Options{ExactTimes: true, ListTimeout: time.Second})
		_, err := x.Level(t.Context(), 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.write(fileOf(2, 2, 22))
		want := []replica.File{fileOf(1, 1, 1), fileOf(2, 2, 22), fileOf(3, 3, 3)}
		require.Equal(t, want, listLevel(t, x))
		requireCounts(t, s, 2, 0)
		close(gate)
		synctest.Wait()
		require.Equal(t, want, listLevel(t, x))
		requireCounts(t, s, 0, 0)
	})
}

// The store is asked for the times that are wanted, once.
func TestExactTimesOfAStore(t *testing.T) {
	m := mock.New()
	m.SetClock(func() time.Time { return uploadTime })
	m.ListUploadTimes(true)
	h := ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 4096, Commit: 1,
		MinTXID: 1, MaxTXID: 1, Timestamp: 1_700_000_000_123}
	data, err := h.MarshalBinary()
	require.NoError(t, err)
	m.Put(2, 1, 1, data)
	for _, exact := range []bool{false, true} {
		t.Run(fmt.Sprint(exact), func(t *testing.T) {
			m.ResetCalls()
			x, clock := newIndex(t, m, Options{ExactTimes: exact})
			want, heads := uploadTime, 0
			if exact {
				want, heads = time.UnixMilli(h.Timestamp).UTC(), 2
			}
			f, _ := find(t, x, 1, 1)
			require.Equal(t, want, f.ModTime)
			require.Equal(t, want, listLevel(t, x)[0].ModTime)
			clock.advance(freshness)
			require.Equal(t, want, listLevel(t, x)[0].ModTime)
			require.Equal(t, heads, m.Calls(mock.OpHead), "one by the stat and one by the first listing")
			require.Equal(t, 1, m.Calls(mock.OpStat))
			require.Equal(t, 2, m.Calls(mock.OpList))
			require.Zero(t, m.OpenListings())
		})
	}
}
