package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// uploadTime is what a store like S3 lists as the time of every file.
var uploadTime = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

func uploaded(files []replica.File) []replica.File {
	for i := range files {
		files[i].ModTime = uploadTime
	}
	return files
}

// uploadStore is a store that has the times of uploads, and can stat.
type uploadStore struct{ *store }

func newUploadStore(files ...replica.File) uploadStore {
	s := newStore(files...)
	s.mangle = uploaded
	return uploadStore{s}
}

func (s uploadStore) StatLTXFile(ctx context.Context, level int, min, max ltx.TXID) (replica.File, error) {
	f, err := statStore(s).StatLTXFile(ctx, level, min, max)
	if err == nil {
		f.ModTime = uploadTime
	}
	return f, err
}

// exactStore is an uploadStore that can also stat exactly.
type exactStore struct {
	uploadStore

	mu    sync.Mutex
	asked []int // the min TXIDs of StatLTXFileExact
	now   int   // calls under way, and the most there were
	most  int

	// onExact, if it isn't nil, is called before the file is looked for.
	onExact func(ctx context.Context, min int) error
}

func newExactStore(files ...replica.File) *exactStore {
	return &exactStore{uploadStore: newUploadStore(files...)}
}

func (s *exactStore) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	s.mu.Lock()
	s.asked = append(s.asked, int(minTXID))
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.now--; s.mu.Unlock() }()
	if s.onExact != nil {
		if err := s.onExact(ctx, int(minTXID)); err != nil {
			return replica.File{}, replica.NewFileError("stat", level, minTXID, maxTXID, err)
		}
	}
	return statStore{s.store}.StatLTXFile(ctx, level, minTXID, maxTXID)
}

// requireAsked fails the test unless those files were asked for since the last
// call.
func (s *exactStore) requireAsked(t tester, want ...int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.ElementsMatch(t, want, s.asked)
	s.asked = nil
}

func numbered(n int) (files []replica.File) {
	for i := range n {
		files = append(files, fileOf(i+1, i+1, i+1))
	}
	return files
}

func TestExactTimesAreAskedForOnce(t *testing.T) {
	s := newExactStore(numbered(4)...)
	x, clock := newIndex(t, s, IndexOptions{ExactTimes: true, Freshness: freshness})
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

// A client that has no versions can't tell that a file is still the same.
func TestExactTimesWithoutVersions(t *testing.T) {
	s := newExactStore(numbered(2)...)
	s.versions = false
	for _, f := range numbered(2) {
		f.Version = ""
		s.write(f)
	}
	x, clock := newIndex(t, s, IndexOptions{ExactTimes: true})
	for range 2 {
		require.Equal(t, fileOf(2, 2, 2).ModTime, listLevel(t, x)[1].ModTime)
		s.requireAsked(t, 1, 2)
		clock.advance(freshness)
	}
}

func TestFindExactly(t *testing.T) {
	s := newExactStore(numbered(1)...)
	x, clock := newIndex(t, s, IndexOptions{ExactTimes: true})
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
	s := newExactStore(numbered(5)...)
	s.onExact = func(_ context.Context, min int) error {
		switch min {
		case 2:
			s.delete(2, 2)
		case 4:
			s.write(fileOf(4, 4, 44))
		}
		return nil
	}
	x, _ := newIndex(t, s, IndexOptions{ExactTimes: true})
	require.Equal(t, []replica.File{fileOf(1, 1, 1), fileOf(3, 3, 3), fileOf(4, 4, 44), fileOf(5, 5, 5)}, listLevel(t, x))
}

// No other time stands in for one that can't be found, and what was found so far
// isn't asked for again.
func TestExactTimesThatFail(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]func() error{
		"error": func() error { return broken },
		"panic": func() error { panic("broken") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newExactStore(numbered(9)...)
			s.onExact = func(_ context.Context, min int) error {
				if min == 7 {
					return fail()
				}
				return nil
			}
			x, _ := newIndex(t, s, IndexOptions{ExactTimes: true, ExactConcurrency: 1})
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
			require.Nil(t, x.levels[2].times.partial)
		})
	}
}

// A listing that fails by itself keeps what it has found as well.
func TestExactTimesOfAFailedListing(t *testing.T) {
	s := newExactStore(numbered(3)...)
	s.endErr = errors.New("broken")
	x, _ := newIndex(t, s, IndexOptions{ExactTimes: true})
	_, err := x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "broken")
	s.requireAsked(t, 1, 2, 3)
	// A later failure that came less far takes nothing away.
	s.mangle = func(files []replica.File) []replica.File { return uploaded(files[:1]) }
	_, err = x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "broken")
	s.endErr, s.mangle = nil, uploaded
	require.Equal(t, numbered(3), listLevel(t, x))
	s.requireAsked(t)
}

// Many are asked at a time, and no more than that, and a listing doesn't run away
// from them.
func TestExactTimesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newExactStore(numbered(1000)...)
		s.onExact = func(context.Context, int) error { time.Sleep(time.Second); return nil }
		x, _ := newIndex(t, s, IndexOptions{ExactTimes: true})
		begin := time.Now()
		require.Equal(t, numbered(1000), listLevel(t, x))
		require.Equal(t, 1000/DefaultExactConcurrency*time.Second, time.Since(begin))
		require.Equal(t, DefaultExactConcurrency, s.most)
	})
	synctest.Test(t, func(t *testing.T) {
		const at = 10
		s := newExactStore(numbered(1000)...)
		gate := make(chan struct{})
		s.onExact = func(_ context.Context, min int) error {
			if min == 1 {
				<-gate
			}
			return nil
		}
		x, _ := newIndex(t, s, IndexOptions{ExactTimes: true, ExactConcurrency: at})
		c := levelLater(t.Context(), x)
		s.mu.Lock()
		require.LessOrEqual(t, len(s.asked), (exactWindow+1)*at+2)
		s.mu.Unlock()
		// Another caller, and one after an Invalidate, begin no listing of their own.
		x.Invalidate(2)
		other := levelLater(t.Context(), x)
		requireCounts(t, s.store, 1, len(s.asked)-1)
		close(gate)
		require.Len(t, filesOf(arrived(t, c).s), 1000)
		require.Len(t, filesOf(arrived(t, other).s), 1000)
		require.Len(t, s.asked, 1000, "a file was asked for twice")
	})
}

// A stat that never answers ends the listing at its deadline, and what was found
// counts for the next.
func TestExactTimesHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newExactStore(numbered(10)...)
		s.onExact = func(ctx context.Context, min int) error {
			if min == 8 {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		x, _ := newIndex(t, s, IndexOptions{ExactTimes: true})
		begin := time.Now()
		_, err := x.Level(t.Context(), 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, DefaultListTimeout, time.Since(begin))
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

// Without StatLTXFileExact, the listing itself has the times, and Find lists.
func TestExactTimesFromMetadata(t *testing.T) {
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
			x, _ := newIndex(t, m, IndexOptions{ExactTimes: exact})
			want, heads, stats := uploadTime, 0, 1
			if exact {
				want, heads, stats = time.UnixMilli(h.Timestamp).UTC(), 1, 0
			}
			f, _ := find(t, x, 1, 1)
			require.Equal(t, want, f.ModTime)
			require.Equal(t, want, listLevel(t, x)[0].ModTime)
			require.Equal(t, heads, m.Calls(mock.OpHead))
			require.Equal(t, stats, m.Calls(mock.OpStat))
			require.Equal(t, 1, m.Calls(mock.OpList))
		})
	}
}
