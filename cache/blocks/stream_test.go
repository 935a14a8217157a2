package blocks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// newStreams is a cache of that many MiB in blocks as users have them.
func newStreams(t *testing.T, size int) (*Cache, *Budget) {
	c, budget := newCache(t, size*mib/defaultBlockSize, defaultBlockSize)
	c.window = firstWindow
	return c, budget
}

// get reads through a handle, and checks.
func (s *source) get(t tester, h *Handle, off, n int64) {
	t.Helper()
	slice, err := h.Read(context.Background(), make([]byte, n), off)
	require.NoError(t, err)
	s.check(t, slice, off)
	slice.Release()
}

// span is a fetch as source tells of it.
func span(off, n int64) string { return fmt.Sprintf("%d+%d", off, n) }

// settle waits for all fetches and returns what was fetched.
func (s *source) settle() []string {
	synctest.Wait()
	return s.fetched()
}

// Small reads at random fetch a block each, wherever they are, and so does one that
// follows another in the same block.
func TestReadsAtRandomFetchABlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib+100)
		h := src.handle(c)
		for _, n := range []int64{5, 17, 9, 2, 60, 33, 8, 64} {
			at := n * defaultBlockSize
			src.get(t, h, at+10, 90)
			require.Equal(t, []string{span(at, min(defaultBlockSize, src.file.Size-at))}, src.settle())
		}
		src.get(t, h, 5*defaultBlockSize, 4*kib)
		src.get(t, h, 5*defaultBlockSize+4*kib, 8*kib)
		require.Empty(t, src.settle())
	})
}

// A stream begins at the beginning of a file, with one request, or with the second of two reads.
func TestStreamsBegin(t *testing.T) {
	for name, tt := range map[string]struct {
		size  int64
		reads [][2]int64 // offset and bytes
		want  []string
	}{
		"the header of a small file": {300 * kib, [][2]int64{{0, 100}}, []string{span(0, 300*kib)}},
		"the header of a large file": {30 * mib, [][2]int64{{0, 100}}, []string{span(0, 1152*kib)}},
		"all of a small file":        {300 * kib, [][2]int64{{0, 1 * mib}}, []string{span(0, 300*kib)}},
		"in the middle": {30 * mib, [][2]int64{{10 * mib, 128 * kib}, {10*mib + 128*kib, 4 * kib}},
			[]string{span(10*mib, 128*kib), span(10*mib+128*kib, 1152*kib)}},
		"the second is in the same block": {30 * mib, [][2]int64{{10 * mib, 4 * kib}, {10*mib + 4*kib, 4 * kib}},
			[]string{span(10*mib, 128*kib)}},
		"not right behind": {30 * mib, [][2]int64{{10 * mib, 128 * kib}, {10*mib + 132*kib, 4 * kib}},
			[]string{span(10*mib, 128*kib), span(10*mib+128*kib, 128*kib)}},
		"to the end": {10 * mib, [][2]int64{{9 * mib, 128 * kib}, {9*mib + 128*kib, 4 * kib}},
			[]string{span(9*mib, 128*kib), span(9*mib+128*kib, 896*kib)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := newStreams(t, 16)
				src := newSource(1, tt.size)
				h := src.handle(c)
				for _, r := range tt.reads {
					src.get(t, h, r[0], r[1])
				}
				require.Equal(t, tt.want, src.settle())
			})
		})
	}
}

// Who reads a file once fetches each byte once, in few requests, of which one is waited for
// at a time at the beginning, and none later.
func TestAStreamIsFetchedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 32)
		src := newSource(1, 20*mib+77)
		src.open = func(context.Context, int64, int64) error { time.Sleep(20 * time.Millisecond); return nil }
		h := src.handle(c)
		began := time.Now()
		for off := int64(0); off < src.file.Size; off += 128 * kib {
			src.get(t, h, off, min(128*kib, src.file.Size-off))
			require.LessOrEqual(t, budget.Used(), budget.Size())
		}
		require.LessOrEqual(t, time.Since(began), 140*time.Millisecond, "the window grows")
		src.settle()
		require.Equal(t, src.file.Size, c.Stats().FetchedBytes)
		require.LessOrEqual(t, len(h.streams), maxStreams)
	})
}

// slow is a store whose bodies take four seconds for each MiB.
type slow struct{ *source }

func (s slow) OpenLTXFile(ctx context.Context, f replica.File, off, n int64) (io.ReadCloser, error) {
	body, err := s.source.OpenLTXFile(ctx, f, off, n)
	return slowBody{body}, err
}

type slowBody struct{ io.ReadCloser }

func (b slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	time.Sleep(time.Duration(n) * 4 * time.Second / mib)
	return n, err
}

// A window doesn't grow for a store that has no bandwidth to fill it.
func TestSlowStreamsKeepTheirWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 64)
		src := newSource(1, 20*mib)
		h := c.Open("replica", slow{src}, src.file)
		for off := int64(0); off < 5*mib; off += 128 * kib {
			src.get(t, h, off, 128*kib)
			require.LessOrEqual(t, h.streams[0].fetched-h.streams[0].next, int64(firstWindow+128*kib))
		}
		require.Equal(t, int64(firstWindow), h.streams[0].window)
	})
}

// Streams that are read at the same time share half of the budget, and one that isn't read
// any more leaves its share to the others.
func TestStreamsShareTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		sources, handles := make([]*source, 4), make([]*Handle, 4)
		for i := range handles {
			sources[i] = newSource(i+1, 100*mib)
			sources[i].open = func(context.Context, int64, int64) error { time.Sleep(10 * time.Millisecond); return nil }
			handles[i] = sources[i].handle(c)
		}
		off := int64(0)
		read := func(handles []*Handle) {
			for end := off + 6*mib; off < end; off += 128 * kib {
				for i, h := range handles {
					sources[i].get(t, h, off, 128*kib)
				}
			}
		}
		read(handles)
		ahead := int64(0)
		for _, h := range handles {
			require.Equal(t, budget.Size()/8, h.streams[0].window)
			ahead += h.streams[0].fetched - h.streams[0].next
		}
		require.LessOrEqual(t, ahead, budget.Size()/2)
		require.LessOrEqual(t, budget.Used(), budget.Size())
		synctest.Wait()
		time.Sleep(2 * idleAfter)
		for range 2 {
			read(handles[:1])
		}
		require.Equal(t, budget.Size()/2, handles[0].streams[0].window)
		for _, h := range handles {
			h.Close()
		}
		require.Zero(t, c.streams.Len())
	})
}

// Without memory, nothing is fetched ahead and the reads go on.
func TestStreamsUnderPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		src := newSource(1, 10*mib)
		src.open = func(context.Context, int64, int64) error { time.Sleep(time.Millisecond); return nil }
		h := src.handle(c)
		upload := budget.Size() - 3*defaultBlockSize
		require.NoError(t, budget.Acquire(t.Context(), upload))
		for off := int64(0); off < 2*mib; off += 128 * kib {
			src.get(t, h, off, 128*kib)
		}
		require.Equal(t, int64(firstWindow), h.streams[0].window)
		require.Equal(t, int64(3*defaultBlockSize), budget.Used()-upload)
		budget.Release(upload)
		src.settle()
		for off := int64(2 * mib); off < 10*mib; off += 128 * kib {
			src.get(t, h, off, 128*kib)
		}
		src.settle()
		require.Greater(t, h.streams[0].window, int64(firstWindow))
		require.Equal(t, src.file.Size, c.Stats().FetchedBytes, "no block twice")
	})
}

// A stream may skip a little and look back a little: what was fetched is used.
func TestStreamsSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 100*mib)
		h := src.handle(c)
		src.get(t, h, 0, 128*kib)
		src.settle()
		src.get(t, h, 700*kib, 4*kib)
		require.Equal(t, []string{span(1152*kib, 768*kib)}, src.settle(), "it has come so far")
		src.get(t, h, 10*kib, 4*kib)
		require.Empty(t, src.settle())
		src.get(t, h, 2*mib, 4*kib)
		require.Len(t, src.settle(), 1)
		src.get(t, h, 2*mib+4*kib, 128*kib)
		require.Empty(t, src.settle())
		src.get(t, h, 50*mib, 4*kib)
		require.Equal(t, []string{span(50*mib, 128*kib)}, src.settle())
		require.Equal(t, int64(2*mib+132*kib), h.streams[0].next, "and the stream is where it was")
	})
}

// Streams through one handle are told apart.
func TestStreamsOfOneHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 32)
		src := newSource(1, 100*mib)
		src.open = func(context.Context, int64, int64) error { time.Sleep(time.Millisecond); return nil }
		h := src.handle(c)
		for i := range int64(40) {
			for s := range int64(3) {
				src.get(t, h, s*30*mib+i*128*kib, 128*kib)
			}
			src.get(t, h, 95*mib+i*7%40*128*kib, 4*kib)
		}
		src.settle()
		require.Less(t, c.Stats().Misses, int64(40+3*12), "one for each read at random, and a few for each stream")
	})
}

// What a stream leaves behind goes first, but for the last MiB and the file's end.
func TestStreamsGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 8)
		other, src := newSource(2, 2*mib), newSource(1, 10*mib+4*kib)
		other.get(t, other.handle(c), 0, mib)
		h := src.handle(c)
		for off := int64(0); off < src.file.Size; off += 128 * kib {
			src.get(t, h, off, min(128*kib, src.file.Size-off))
		}
		src.settle()
		other.settle()
		src.get(t, h, 9*mib+128*kib, mib-128*kib+4*kib)
		require.Empty(t, src.settle())
		other.get(t, other.handle(c), 0, mib)
		require.Empty(t, other.settle(), "a stream of 10 MiB has left it in 8 MiB of memory")
	})
}

// A fetch ahead that fails fails no read: whoever comes to where it was asks for itself.
func TestFetchesAheadThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		src := newSource(1, 8*mib)
		broken := errors.New("broken")
		failing := false
		src.open = func(context.Context, int64, int64) error {
			if failing {
				return broken
			}
			return nil
		}
		h := src.handle(c)
		src.get(t, h, 0, 128*kib)
		require.Equal(t, []string{span(0, 1152*kib)}, src.settle())
		failing = true
		src.get(t, h, 512*kib, 128*kib) // what comes next is asked for, and fails
		require.Equal(t, []string{span(1152*kib, 640*kib)}, src.settle())
		require.Equal(t, int64(1152*kib), budget.Used())
		failing = false
		src.get(t, h, 1152*kib, 128*kib)
		src.get(t, h, 1280*kib, 128*kib)
		require.Equal(t, int64(1152*kib), src.settleAt(t, 0))
		failing = true
		_, err := h.Read(t.Context(), make([]byte, 4*kib), 7*mib)
		require.ErrorIs(t, err, broken, "a read that asks the store gets its answer")
	})
}

// settleAt is where the fetch of that number began.
func (s *source) settleAt(t tester, n int) (off int64) {
	fetches := s.settle()
	require.Greater(t, len(fetches), n)
	_, err := fmt.Sscanf(fetches[n], "%d+", &off)
	require.NoError(t, err)
	return off
}

// A read that waits for what is fetched ahead when that fails asks for it once more, within
// the same deadline.
func TestAReadThatWaitsForAFetchAheadThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		h := src.handle(c)
		src.get(t, h, 0, 128*kib)
		src.settle()
		answer := make(chan error, 1)
		src.open = func(context.Context, int64, int64) error { return <-answer }
		src.get(t, h, 512*kib, 128*kib)
		read := later(func() (*Slice, error) { return h.Read(t.Context(), make([]byte, 4*kib), 1152*kib) })
		pending(t, read)
		answer <- errors.New("broken")
		pending(t, read)
		close(answer)
		r := arrived(t, read)
		require.NoError(t, r.err)
		src.check(t, r.slice, 1152*kib)
		r.slice.Release()
		require.Equal(t, span(1152*kib, 640*kib), src.settle()[0])
	})
}

// What is fetched ahead of another version ends as a read of it does.
func TestFetchesAheadOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		src := newSource(1, 8*mib)
		h := src.handle(c)
		src.get(t, h, 0, 128*kib)
		src.settle()
		src.open = func(context.Context, int64, int64) error { return replica.ErrReplaced }
		src.get(t, h, 512*kib, 128*kib)
		src.settle()
		require.Zero(t, budget.Used(), "the version is gone")
		_, err := h.Read(t.Context(), make([]byte, 4*kib), 0)
		require.ErrorIs(t, err, replica.ErrReplaced)
	})
}

// Who closes a file, or the cache, ends what is fetched ahead, unless somebody waits for it.
func TestCloseEndsFetchesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		src := newSource(1, 8*mib)
		src.open = func(ctx context.Context, off, _ int64) error {
			if off > 0 {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		}
		h, other := src.handle(c), src.handle(c)
		src.get(t, h, 0, 128*kib)
		src.get(t, h, 512*kib, 128*kib)
		require.Equal(t, int64(1792*kib), budget.Used())
		other.Close()
		synctest.Wait()
		require.Equal(t, int64(1792*kib), budget.Used(), "it is for another handle")

		ctx, cancel := context.WithCancel(t.Context())
		read := later(func() (*Slice, error) { return other.Read(ctx, make([]byte, 4*kib), 1152*kib) })
		h.Close()
		pending(t, read)
		cancel()
		require.ErrorIs(t, arrived(t, read).err, context.Canceled)
		h.Close()
		time.Sleep(linger)
		synctest.Wait()
		require.Equal(t, int64(1152*kib), budget.Used())

		third := src.handle(c)
		src.get(t, third, 0, 128*kib)
		src.get(t, third, 512*kib, 128*kib)
		require.Greater(t, budget.Used(), int64(1152*kib))
		began := time.Now()
		c.Close()
		synctest.Wait()
		require.Zero(t, time.Since(began))
		require.Zero(t, budget.Used())
	})
}

// A handle that is closed has nothing fetched ahead of who reads through it still.
func TestStreamsOfAClosedHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		h := src.handle(c)
		h.Close()
		for off := int64(0); off < 1*mib; off += 128 * kib {
			src.get(t, h, off, 128*kib)
			require.Equal(t, []string{span(off, 128*kib)}, src.settle())
		}
	})
}

// Where what comes next was evicted and more behind it is there, each is fetched once.
func TestStreamsWithHoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 30*mib)
		h := src.handle(c)
		src.get(t, h, 0, 128*kib)
		src.settle()
		src.get(t, h, 128*kib, 128*kib)
		src.get(t, h, 256*kib, 128*kib)
		c.reclaim(2 * defaultBlockSize) // the first, and the one that is to be read next
		requireConsistent(t, c)
		src.get(t, h, 384*kib, 128*kib)
		require.Equal(t, []string{span(384*kib, 128*kib)}, src.settle())
		requireConsistent(t, c)
		src.get(t, h, 100*kib, 4*kib)
		require.Equal(t, []string{span(0, 128*kib)}, src.settle())
		c.reclaim(c.budget.Size())
		src.get(t, h, 256*kib, 4*kib) // behind where it is
		require.Equal(t, []string{span(256*kib, 128*kib)}, src.settle())
		requireConsistent(t, c)
	})
}
