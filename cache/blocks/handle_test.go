package blocks

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// A read ends at its deadline, whatever it waits for, and takes no longer because it
// waits for several things one after the other.
func TestAReadHasOneDeadline(t *testing.T) {
	const timeout = 3 * time.Second
	for name, tt := range map[string]struct {
		blocks  int           // in the budget; the read is of four
		hangs   bool          // the store
		fetch   time.Duration // each takes so long
		acquire bool          // an upload takes the whole budget
		release time.Duration // after so long, it lets go; 0 is too late
		pinned  int           // blocks from the beginning of the file on
		other   time.Duration // another read began so much earlier
	}{
		"the store hangs":                {blocks: 8, hangs: true},
		"no memory":                      {blocks: 8, acquire: true},
		"memory for a part":              {blocks: 2, pinned: 2},
		"late memory and the store":      {blocks: 8, hangs: true, acquire: true, release: 2 * time.Second},
		"late memory, a little":          {blocks: 1, fetch: time.Second, acquire: true, release: 2 * time.Second},
		"slow fetches in a row":          {blocks: 1, fetch: 2 * time.Second},
		"another's fetch and one's own":  {blocks: 1, fetch: 2 * time.Second, other: time.Second},
		"another's fetch that is longer": {blocks: 3, fetch: 2500 * time.Millisecond, other: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				budget := NewBudget(int64(tt.blocks) * 16)
				c := New(budget, Options{BlockSize: 16, FetchTimeout: timeout})
				src := newSource(1, 64)
				pins, err := src.part(t.Context(), c, 0, max(16*tt.pinned, 1))
				require.NoError(t, err)
				if tt.pinned == 0 {
					pins.Release()
					c.Drop("replica", src.file)
				}
				over := make(chan struct{})
				src.open = func(context.Context, int64, int64) error {
					if tt.hangs {
						<-over
					}
					time.Sleep(tt.fetch)
					return nil
				}
				if tt.acquire {
					require.NoError(t, budget.Acquire(t.Context(), budget.Size()))
					if tt.release > 0 {
						time.AfterFunc(tt.release, func() { budget.Release(budget.Size()) })
					}
				}
				if tt.other > 0 {
					another := src.partLater(t.Context(), c, 0, 16)
					time.Sleep(tt.other)
					defer func() { arrived(t, another).slice.Release() }()
				}
				begin := time.Now()
				_, err = src.handle(c).ReadAt(make([]byte, 64), 0)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, timeout, time.Since(begin))

				close(over)
				pins.Release()
				c.Close()
				time.Sleep(tt.fetch) // the store, which heeds no context, answers
				if tt.acquire && tt.release == 0 {
					budget.Release(budget.Size())
				}
			})
		})
	}
}

// The caller's deadline counts as well, and the bytes that come later are cached.
func TestAReadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCache(t, 1, 16)
		src := newSource(1, 64)
		src.open = func(context.Context, int64, int64) error { time.Sleep(2 * time.Second); return nil }
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := src.handle(c).Read(ctx, make([]byte, 64), 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(begin))
		time.Sleep(time.Second)
		src.fetched()
		require.Equal(t, 16, src.read(t, c, 16, 16))
		require.Empty(t, src.fetched())
	})
}

func TestErrorsNameTheFileAndTheOffset(t *testing.T) {
	c, _ := newCache(t, 4, 16)
	src := newSource(1, 64)
	broken := errors.New("broken")
	for want, open := range map[string]func() error{
		"broken": func() error { return broken },
		"broken, too": func() error {
			return replica.NewFileError("open", src.file.Name, errors.New("broken, too"))
		},
	} {
		src.open = func(context.Context, int64, int64) error { return open() }
		_, err := src.handle(c).ReadAt(make([]byte, 20), 20)
		require.EqualError(t, err, "read level 1 0000000000000001-0000000000000001.ltx: at 16: "+want)
	}
	_, err := src.handle(c).ReadAt(make([]byte, 20), -3)
	require.EqualError(t, err, "read level 1 0000000000000001-0000000000000001.ltx: at -3: invalid argument")
}

// bodies is a store whose bodies are as a test wants them.
type bodies struct {
	*source
	change func(*body)
}

func (b bodies) OpenLTXFile(ctx context.Context, f replica.File, off, n int64) (io.ReadCloser, error) {
	rc, err := b.source.OpenLTXFile(ctx, f, off, n)
	if err == nil {
		b.change(rc.(*body))
	}
	return rc, err
}

// What isn't whole is an error. The blocks that were there before it are cached.
func TestBodiesThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*body)
		want   error
		cached int64 // blocks
	}{
		"short":      {func(b *body) { b.end-- }, io.ErrUnexpectedEOF, 3},
		"a block":    {func(b *body) { b.end -= 16 }, io.ErrUnexpectedEOF, 3},
		"two blocks": {func(b *body) { b.end -= 17 }, io.ErrUnexpectedEOF, 2},
		"empty":      {func(b *body) { b.end = b.off }, io.ErrUnexpectedEOF, 0},
		"close":      {func(b *body) { b.closeErr = replica.ErrReplaced }, replica.ErrReplaced, 0},
		"both":       {func(b *body) { b.end--; b.closeErr = replica.ErrReplaced }, replica.ErrReplaced, 0},
		"both count": {func(b *body) { b.end--; b.closeErr = replica.ErrReplaced }, io.ErrUnexpectedEOF, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, budget := newCache(t, 4, 16)
			src := newSource(1, 64)
			_, err := c.Open("replica", bodies{src, tt.change}, src.file).ReadAt(make([]byte, 64), 0)
			require.ErrorIs(t, err, tt.want)
			require.Eventually(t, func() bool { return budget.Used() == tt.cached*16 }, time.Minute, time.Millisecond)
			require.Equal(t, tt.cached*16, c.Stats().CachedBytes)
			require.Equal(t, 64, src.read(t, c, 0, 64))
		})
	}
}

// Once the store says that a version is gone, none of its blocks is shown.
func TestAVersionThatIsGoneIsDropped(t *testing.T) {
	for _, gone := range []error{replica.ErrReplaced, os.ErrNotExist} {
		c, _ := newCache(t, 8, 16)
		src, other := newSource(1, 64), newSource(2, 64)
		src.read(t, c, 0, 16)
		other.read(t, c, 0, 16)
		held := src.slice(t, c, 0, 16)
		src.open = func(context.Context, int64, int64) error { return gone }
		_, err := src.handle(c).ReadAt(make([]byte, 32), 0)
		require.ErrorIs(t, err, gone)
		_, err = src.handle(c).ReadAt(make([]byte, 16), 0)
		require.ErrorIs(t, err, gone)
		src.check(t, held, 0)
		held.Release()
		other.fetched()
		other.read(t, c, 0, 16)
		require.Empty(t, other.fetched())

		// Any other error says nothing about what is cached.
		src.open = nil
		src.read(t, c, 0, 16)
		src.open = func(context.Context, int64, int64) error { return replica.ErrUnavailable }
		_, err = src.handle(c).ReadAt(make([]byte, 32), 0)
		require.ErrorIs(t, err, replica.ErrUnavailable)
		require.Equal(t, 16, src.read(t, c, 0, 16))
	}
}

// What is in memory can be had without asking the store, all or nothing, and stays if
// the handle says so once a version is gone.
func TestCached(t *testing.T) {
	c, budget := newCache(t, 8, 16)
	src := newSource(1, 60)
	h := src.handle(c)
	h.Keep = true
	require.Nil(t, h.Cached(0, 16))
	src.read(t, c, 0, 32)
	src.read(t, c, 48, 12)
	src.fetched()
	src.open = func(context.Context, int64, int64) error { return replica.ErrReplaced }
	for range 2 {
		for _, r := range [][2]int64{{0, 32}, {3, 20}, {16, 16}, {50, 10}} {
			slice := h.Cached(r[0], r[1])
			require.NotNil(t, slice)
			require.EqualValues(t, r[1], slice.Len())
			src.check(t, slice, r[0])
			slice.Release()
		}
		for _, r := range [][2]int64{{0, 33}, {32, 1}, {20, 30}} {
			require.Nil(t, h.Cached(r[0], r[1]))
		}
		require.Empty(t, src.fetched())
		_, err := h.ReadAt(make([]byte, 1), 40)
		require.ErrorIs(t, err, replica.ErrReplaced)
		src.fetched()
	}
	// What failed to come gives its memory back once it has ended.
	require.Eventually(t, func() bool { return budget.Used() == 3*16 }, time.Minute, time.Millisecond)
}

// TestForget: what is forgotten is fetched anew, but for what is on its way; a slice of it
// stays as it is, and its memory is given back after that.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 8, 16)
		src := newSource(1, 60)
		src.read(t, c, 0, 48)
		h := src.handle(c)
		defer h.Close()
		pinned := src.slice(t, c, 0, 16)
		gate := make(chan struct{})
		src.open = func(context.Context, int64, int64) error { <-gate; return nil }
		coming := src.readLater(t.Context(), c, 48, 12)
		src.fetched()

		h.Forget(10, 10) // of the first two blocks
		h.Forget(50, 5)
		src.check(t, pinned, 0)
		require.Equal(t, int64(3*16), budget.Used(), "bytes: pinned, cached, on their way")
		pinned.Release()
		require.Equal(t, int64(2*16), budget.Used())
		close(gate)
		r := arrived(t, coming)
		require.NoError(t, r.err)
		r.slice.Release()
		require.Empty(t, src.fetched())
		src.read(t, c, 32, 28)
		require.Empty(t, src.fetched())
		src.read(t, c, 0, 32)
		require.Equal(t, []string{"0+32"}, src.fetched())
	})
}

// TestOneBlockHasNoStream: a file of one block has nothing ahead, and takes no share of the
// memory for that.
func TestOneBlockHasNoStream(t *testing.T) {
	c, _ := newCache(t, 8, 16)
	for size, streams := range map[int64]bool{15: false, 16: false, 17: true} {
		src := newSource(int(size), size)
		h := src.handle(c)
		_, err := h.ReadAt(make([]byte, 1), 0)
		require.NoError(t, err)
		require.Equal(t, streams, h.streams != nil, "of a file of %d bytes", size)
		h.Close()
	}
}
