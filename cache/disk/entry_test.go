package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// What readers bring while an entry is verified, or has been, doesn't take the place of what was: not of what is
// there, nor of a block that is damaged meanwhile.
func TestVerifiedIsPublished(t *testing.T) {
	for name, damage := range map[string]bool{"sound": false, "damaged": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := r.cache()
			other := bytes.Repeat([]byte{7}, blockSize)
			var e *entry
			e = c.use(content{key: "a", size: int64(len(r.data)), verify: func(context.Context, io.ReaderAt) error {
				if damage {
					flip(t, e.path+partial, 5)
				}
				e.keep(0, 0, other)
				return nil
			}}, true)
			for i := range e.blocks() {
				e.keep(i, 0, r.data[i*blockSize:i*blockSize+e.blockLen(i)])
			}
			require.NoError(t, e.finish(t.Context()))
			got := make([]byte, blockSize)
			_, err := e.ReadAt(got, 0)
			require.Equal(t, damage, errors.Is(err, ErrIncomplete))
			if !damage {
				require.True(t, bytes.Equal(r.data[:blockSize], got))
			}
			c.letGo(e)
		})
	}
}

// What is there stays: to bring it again costs no write.
func TestKeptOnce(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	e := c.use((&Store{cache: c}).content(r.file), true)
	e.keep(0, 0, r.data[:5000])
	before := c.counters.kept.Load()
	e.keep(0, 100, bytes.Repeat([]byte{7}, 100))
	require.Equal(t, before, c.counters.kept.Load())
	got := make([]byte, 5000)
	_, err := e.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.data[:5000], got))
	c.letGo(e)
}

// impatient is a cache whose readers don't wait long for the disk.
func (r *rig) impatient() *Cache {
	c := r.cache()
	c.patience = 50 * time.Millisecond
	return c
}

// hangOpen has whoever opens a path hang, until it is released: then there is nothing.
func hangOpen(t *testing.T, path string) (release func()) {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), "fifo") // whoever opens one waits until somebody is to write to it
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	require.NoError(t, os.Link(fifo, path))
	return func() {
		require.NoError(t, os.Remove(path))
		end, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		require.NoError(t, err)
		require.NoError(t, end.Close())
	}
}

// settle has a disk that hung come back.
func (c *Cache) settle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return c.calls.Overdue() == 0 }, time.Minute, time.Millisecond)
}

// readLocked reads all but the last byte of the file while somebody holds the lock of its entry.
func (r *rig) readLocked(c *Cache) {
	r.t.Helper()
	want := r.data[:len(r.data)-1]
	rc, err := c.Around(r.mock, "replica").OpenLTXFile(r.t.Context(), r.file, 0, int64(len(want)))
	require.NoError(r.t, err)
	e := rc.(*reader).entry
	e.writing.Lock()
	got, err := io.ReadAll(rc)
	require.NoError(r.t, err)
	require.True(r.t, bytes.Equal(want, got))
	require.Equal(r.t, 1, c.calls.Overdue())
	e.writing.Unlock()
	c.settle(r.t)
	require.NoError(r.t, rc.Close())
}

// A disk that hangs when an entry is opened, read or written to costs a wait, and no read. Until it has come back, it
// isn't asked for anything else.
func TestHangs(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	c := r.impatient()
	key := (&Store{id: "replica"}).content(r.file).key

	release := hangOpen(t, c.path(key))
	require.Equal(t, size, r.read(c, 0, size))
	require.Equal(t, 1, c.calls.Overdue())
	require.False(t, c.Stats().Keeps)
	require.Equal(t, size, r.read(c, 0, size))
	_, err := c.OpenCopy("a", 1000)
	require.ErrorIs(t, err, errHangs)
	require.Nil(t, c.Copy("a", 1000))
	c.Around(r.mock, "replica").Forget(r.file)
	require.Equal(t, 1, c.calls.Overdue(), "nothing else has hung")
	release()
	c.settle(t)
	c.finish()
	require.Contains(t, r.log.String(), errHangs.Error())

	// Who writes to an entry holds its lock, and who reads what is damaged waits for that.
	c = r.impatient()
	r.readLocked(c)
	c.finish()

	c = r.cache()
	r.read(c, 0, size-1)
	c.finish()
	flip(t, r.entry(partial), 5)
	c = r.impatient()
	r.readLocked(c)
}

// Who makes an entry complete that another process has completed meanwhile leaves nothing behind, nor fails since its name
// has gone.
func TestCompletedTwice(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path string){
		"by another":             func(t *testing.T, path string) { require.NoError(t, os.Link(path+partial, path)) },
		"whose name was its own": func(t *testing.T, path string) { require.NoError(t, os.Rename(path+partial, path)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := r.cache()
			path := c.path("a")
			e := c.use(content{key: "a", size: 1000, verify: func(context.Context, io.ReaderAt) error {
				change(t, path)
				return nil
			}}, true)
			e.keep(0, 0, r.data[:1000])
			require.NoError(t, e.finish(t.Context()))
			c.letGo(e)
			require.FileExists(t, path)
			require.NoFileExists(t, path+partial)
			require.Empty(t, r.log.String())
		})
	}
}

// Who reads an entry while it becomes complete finds in it all that it has.
func TestReadWhileCompleted(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	for i := range 100 {
		e := c.use(content{key: fmt.Sprint(i), size: 1000, verify: func(context.Context, io.ReaderAt) error { return nil }}, true)
		e.keep(0, 0, r.data[:1000])
		var readers sync.WaitGroup
		done := make(chan struct{})
		for range 4 {
			readers.Go(func() {
				for open := true; open; {
					select {
					case <-done:
						open = false
					default:
					}
					if !e.has(0, 0, 1000) {
						t.Error("it has nothing")
						return
					}
				}
			})
		}
		require.NoError(t, e.finish(t.Context()))
		close(done)
		readers.Wait()
		c.letGo(e)
	}
}

// Who wants an entry begun gets one, though somebody else looks at the same time whether there is one.
func TestBegunBeside(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	what := copyOf("a", 1000)
	path := c.path(what.key)
	release := hangOpen(t, path)
	var both sync.WaitGroup
	both.Go(func() { require.Nil(t, c.use(what, false)) })
	waits := func(n int) func() bool {
		return func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.open[path] != nil && c.open[path].refs == n
		}
	}
	require.Eventually(t, waits(1), time.Minute, time.Millisecond)
	both.Go(func() {
		e := c.use(what, true)
		if e == nil {
			t.Error("it wasn't begun")
			return
		}
		c.letGo(e)
	})
	require.Eventually(t, waits(2), time.Minute, time.Millisecond)
	release()
	both.Wait()
}

// A disk that refuses for one reason and another is told of once, and again when that was long ago.
func TestWarnsRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, dir: filepath.Join(t.TempDir(), "cache")}
		c := r.cache()
		require.True(t, c.Stats().Keeps)
		for range 2 {
			for range 10 {
				c.fault(unix.ENOSPC)
				require.False(t, c.Stats().Keeps)
				time.Sleep(retryAfter + time.Second)
				require.True(t, c.Stats().Keeps)
				c.fault(errNoRoom)
			}
			time.Sleep(warnEvery)
		}
		require.Equal(t, 2, strings.Count(r.log.String(), "keeps nothing for now"))
		c.Close()
	})
}

// What isn't valid is verified again once, and from then on kept as what isn't whole.
func TestInvalidIsKept(t *testing.T) {
	r := newRig(t)
	r.data[len(r.data)/2] ^= 1
	r.file = r.mock.Put(0, 1, 1, r.data)
	size := int64(len(r.data))
	c := r.cache()
	s := c.Around(r.mock, "replica")
	for range mostInvalid {
		_, err := s.Complete(t.Context(), r.file, time.Minute)
		require.ErrorIs(t, err, ltxfile.ErrInvalid)
	}
	require.Equal(t, size, r.read(c, 0, size))
	require.Zero(t, r.read(c, 0, size))
	_, err := s.Complete(t.Context(), r.file, time.Minute)
	require.ErrorIs(t, err, ErrIncomplete)
	require.Zero(t, r.read(c, 0, size))
}

// What would take more than half of the room isn't kept: it would have all else go.
func TestTooLarge(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	c := r.cache(func(o *Options) { o.Size = 2*size - 2 })
	require.Equal(t, size, r.read(c, 0, size))
	require.Equal(t, size, r.read(c, 0, size))
	require.Empty(t, r.entries())
}

// Who comes back from a disk that hung when the entry has been closed takes that for no damage.
func TestClosedIsNotDamaged(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	require.NoError(t, c.MakeCopy(t.Context(), "a", int64(len(r.data)), bytes.NewReader(r.data)))
	k := c.Copy("a", int64(len(r.data)))
	k.Close()
	require.Empty(t, k.entry.read(0, 100, new(buffer)))
	require.Zero(t, c.Stats().Damaged)
	require.FileExists(t, k.entry.path)
	require.Empty(t, r.log.String())
}

// Of what isn't whole, a block that is damaged comes again, and no other.
func TestDamagedBlockComesAgain(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	c := r.cache()
	s := c.Around(r.mock, "replica")
	e := c.use(s.content(r.file), true)
	for i := range e.blocks() {
		e.keep(i, 0, r.data[i*blockSize:i*blockSize+e.blockLen(i)])
	}
	flip(t, e.path+partial, 2*blockSize+5)
	require.ErrorIs(t, e.finish(t.Context()), ErrIncomplete)
	require.EqualValues(t, 1, c.Stats().Damaged)
	c.letGo(e)
	w, err := s.Complete(t.Context(), r.file, time.Minute)
	require.NoError(t, err)
	w.Close()
	require.EqualValues(t, blockSize, r.mock.BytesRead())
	require.Zero(t, r.read(c, 0, size))
	require.EqualValues(t, 1, c.Stats().Damaged)
}

// An entry lacks what it lacks wherever one begins to look, and nothing in the end.
func TestHasAll(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	e := c.use(copyOf("a", 5*blockSize), true)
	keep := func(i int64) { e.keep(i, 0, r.data[:blockSize]) }
	all := func(want bool) {
		t.Helper()
		for first := range e.blocks() + 1 {
			require.Equal(t, want, e.hasAll(first), first)
		}
	}
	for i := range e.blocks() {
		all(false)
		keep(i)
	}
	all(true)
	for i := range e.blocks() {
		require.NoError(t, e.records.Load().put(i, record{}))
		all(false)
		keep(i)
		all(true)
	}
	c.letGo(e)
}
