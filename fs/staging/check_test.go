package staging

import (
	"bytes"
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// digesting is a store with a digest of its own, which keeps what each was given.
type digesting struct {
	*mock.Store
	mu    sync.Mutex
	made  []*keeping
	given []replica.Digest
}

// keeping is a digest that keeps what it was given.
type keeping struct {
	replica.Digest
	bytes.Buffer
}

func (k *keeping) Write(p []byte) (int, error) {
	_, _ = k.Buffer.Write(p)
	return k.Digest.Write(p)
}

func (s *digesting) Properties() replica.Properties {
	p := s.Store.Properties()
	p.NewDigest = func() replica.Digest {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.made = append(s.made, &keeping{Digest: replica.NewDigest()})
		return s.made[len(s.made)-1]
	}
	return p
}

func (s *digesting) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	s.given = append(s.given, opts.Digest)
	return s.Store.WriteLTXFile(ctx, name, content, opts)
}

// passes is how many passes over the file there were.
func (s *digesting) passes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.made)
}

func newDigesting(t *testing.T, change ...func(*Options)) (*rig, *digesting) {
	store := &digesting{Store: mock.New()}
	r := newRig(t, append(change, func(o *Options) { o.Store = store })...)
	r.store = store.Store
	return r, store
}

// writing is a staged file that is open.
type writing struct {
	*File
	t *testing.T
	f *os.File
}

func (r *rig) open(name string) *writing {
	r.t.Helper()
	s, f, err := r.Create(Place{0, name}, CreateOptions{Mode: 0o600})
	require.NoError(r.t, err)
	return &writing{s, r.t, f}
}

// write writes as the kernel does, in requests of 128 KiB.
func (w *writing) write(data []byte, off int) {
	w.t.Helper()
	for len(data) > 0 {
		n, err := w.WriteAt(w.t.Context(), w.f, data[:min(len(data), 128<<10)], int64(off))
		require.NoError(w.t, err)
		data, off = data[n:], off+n
	}
}

// large is a valid file that is checked while it is written.
func large(t *testing.T, seed uint64) []byte {
	data := storetest.LTX(t, 1, 1, storetest.Commit(1000), storetest.Noise(), storetest.Seed(seed))
	require.Greater(t, len(data), 3*checkFrom)
	return data
}

// requireGiven checks that the store was given a digest of data.
func (s *digesting) requireGiven(t *testing.T, data []byte) {
	t.Helper()
	require.Len(t, s.given, 1)
	require.Contains(t, s.made, s.given[0])
	require.True(t, bytes.Equal(data, s.given[0].(*keeping).Bytes()))
}

// What is written in order is read once, from the first byte to the last, while it is
// written; for the store's digest as well.
func TestCheckBesideTheWriter(t *testing.T) {
	r, store := newDigesting(t)
	data := large(t, 0)
	for _, how := range []string{"closed", "renamed", "begun anew"} {
		t.Run(how, func(t *testing.T) {
			store.made, store.given = nil, nil
			at, passes := base(1), 1
			if how == "renamed" {
				at = "upload.tmp"
			}
			w := r.open(at)
			defer w.Release()
			if how == "begun anew" {
				w.write(large(t, 1)[:2*checkFrom], 0)
				require.NoError(t, w.Truncate(t.Context(), 0))
				passes++
			}
			w.write(data[:2*checkFrom], 0)
			require.Equal(t, passes, store.passes(), "it hasn't begun")
			w.write(data[2*checkFrom:], 2*checkFrom)
			if how == "renamed" {
				require.NoError(t, w.PublishAs(t.Context(), name(1), false))
			} else {
				require.NoError(t, w.Publish(t.Context(), true))
			}
			r.requirePublished(1, data)
			require.Equal(t, passes, store.passes())
			store.requireGiven(t, data)
		})
	}
}

// A small file takes one pass as well, once it is whole.
func TestCheckOfSmall(t *testing.T) {
	r, store := newDigesting(t)
	data := storetest.LTX(t, 1, 1)
	w := r.open(base(1))
	defer w.Release()
	w.write(data, 0)
	require.Zero(t, store.passes())
	require.NoError(t, w.Publish(t.Context(), true))
	require.Equal(t, 1, store.passes())
	store.requireGiven(t, data)
}

// What is changed behind its check is checked again, whole: nothing is published that
// was valid only once.
func TestCheckOfChanged(t *testing.T) {
	valid, other := large(t, 0), large(t, 1)
	damaged := bytes.Clone(valid)
	damaged[checkFrom]++
	for how, tt := range map[string]struct {
		change func(w *writing)
		want   []byte // nil if what is there is no valid file
	}{
		"a byte": {func(w *writing) { w.write(damaged[checkFrom:checkFrom+1], checkFrom) }, nil},
		"a byte, and back": {func(w *writing) {
			w.write(damaged[checkFrom:checkFrom+1], checkFrom)
			w.write(valid[checkFrom:], checkFrom)
		}, valid},
		"all":     {func(w *writing) { w.write(other, 0) }, other},
		"cut off": {func(w *writing) { require.NoError(t, w.Truncate(t.Context(), int64(len(valid)-1))) }, nil},
		"cut off, and written": {func(w *writing) {
			require.NoError(t, w.Truncate(t.Context(), checkFrom))
			w.write(valid[checkFrom:], checkFrom)
		}, valid},
		"more, with a hole": {func(w *writing) { w.write([]byte{0}, len(valid)+1) }, nil},
		"more":              {func(w *writing) { w.write([]byte{0}, len(valid)) }, nil},
		"a hole": {func(w *writing) {
			require.NoError(t, w.Change(t.Context(), func() error {
				return unix.Fallocate(int(w.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, checkFrom, 4096)
			}))
		}, nil},
	} {
		t.Run(how, func(t *testing.T) {
			r, store := newDigesting(t)
			w := r.open(base(1))
			defer w.Release()
			w.write(valid, 0)
			require.Equal(t, 1, store.passes())
			tt.change(w)
			err := w.Publish(t.Context(), true)
			if tt.want == nil {
				require.ErrorIs(t, err, ltxfile.ErrInvalid)
				r.requirePublished(1, nil)
				r.requireStaged("ltx/0000/" + base(1))
				return
			}
			require.NoError(t, err)
			r.requirePublished(1, tt.want)
			store.requireGiven(t, tt.want)
		})
	}
}

// A check that can't go on is no refusal: all is read again.
func TestCheckEnds(t *testing.T) {
	data := large(t, 0)
	for how, size := range map[string]int{"its writer waits": 2 * checkFrom, "its writer waits in the index": len(data) - 1} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r, store := newDigesting(t)
			w := r.open(base(1))
			defer w.Release()
			w.write(data[:size], 0)
			select {
			case <-w.order.check.done:
			case <-time.After(far):
				t.Fatal("it waits for ever")
			}
			require.Zero(t, r.memory.now(), "an idle file holds memory")
			w.write(data[size:], size)
			require.NoError(t, w.Publish(t.Context(), true))
			require.Equal(t, 2, store.passes())
			store.requireGiven(t, data)
		})
	}
}

// Invalid bytes are refused as soon as they're there, and published never.
func TestCheckOfInvalid(t *testing.T) {
	r, store := newDigesting(t)
	data := large(t, 0)
	data[4096]++
	w := r.open(base(1))
	defer w.Release()
	w.write(data, 0)
	require.ErrorIs(t, w.Publish(t.Context(), true), ltxfile.ErrInvalid)
	require.ErrorIs(t, w.Publish(t.Context(), true), ltxfile.ErrInvalid)
	require.Equal(t, 1, store.passes())
	require.Empty(t, store.given)
}

// Checks hold no more than half of the memory, however many write at once; each file is
// published.
func TestManyChecks(t *testing.T) {
	for size, most := range map[int64]int{2 << 20: 1, 1 << 30: maxChecks} {
		r, store := newDigesting(t)
		r.memory.size = size
		r.Files.checks = checksOf(&r.memory)
		data := large(t, 0)
		var writers []*writing
		for range 2 * maxChecks {
			w := r.open(base(1))
			w.write(data[:2*checkFrom], 0)
			writers = append(writers, w)
			require.NoError(t, w.Rename(t.Context(), Place{0, "waits." + time.Now().Format("150405.000000000")}))
		}
		require.Equal(t, most, store.passes())
		require.LessOrEqual(t, r.memory.now(), int64(most*publishMemory))
		for _, w := range writers {
			w.write(data[2*checkFrom:], 2*checkFrom)
			assert.NoError(t, w.PublishAs(t.Context(), name(1), false))
			w.Release()
		}
		require.Equal(t, len(writers), len(store.given))
	}
}

// A mount that closes doesn't wait for writers.
func TestCheckOfClosed(t *testing.T) {
	r, _ := newDigesting(t)
	w := r.open(base(1))
	w.write(large(t, 0)[:2*checkFrom], 0)
	r.Close()
	r.calls.Close(errBroken)
	require.Eventually(t, func() bool { return r.memory.now() == 0 }, far, time.Millisecond)
	r.requireStaged("ltx/0000/" + base(1))
}

// What is removed takes no room on disk any more.
func TestRemoveOfChecked(t *testing.T) {
	r, _ := newDigesting(t)
	w := r.open("upload.tmp")
	w.write(large(t, 0)[:2*checkFrom], 0)
	w.Release()
	require.NoError(t, w.Remove(t.Context()))
	require.Nil(t, w.File.f, "it is still open")
}

// A change that was begun before the check, and is made after what it read, ends it.
func TestCheckOfChangedMeanwhile(t *testing.T) {
	r, _ := newDigesting(t)
	data := large(t, 0)
	w := r.open(base(1))
	defer w.Release()
	require.NoError(t, w.Change(t.Context(), func() error {
		require.NoError(t, w.Truncate(t.Context(), 0))
		w.write(data, 0)
		_, err := w.f.WriteAt(make([]byte, 4096), 100<<10) // as fallocate zeroes a range
		return err
	}))
	require.ErrorIs(t, w.Publish(t.Context(), true), ltxfile.ErrInvalid)
}

// A file whose size isn't what was written in order is verified whole: by whatever it has
// become longer, or however the rest has come.
func TestCheckOfAnotherSize(t *testing.T) {
	data := large(t, 0)
	for name, tt := range map[string]struct {
		inOrder []byte
		rest    []byte
		valid   bool
	}{
		"longer":  {data, make([]byte, 100), false},
		"shorter": {data[:len(data)-1000], data[len(data)-1000:], true},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newDigesting(t)
			w := r.open(base(1))
			defer w.Release()
			w.write(tt.inOrder, 0)
			_, err := w.f.WriteAt(tt.rest, int64(len(tt.inOrder))) // as a write that failed leaves it
			require.NoError(t, err)
			err = w.Publish(t.Context(), true)
			if tt.valid {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ltxfile.ErrInvalid)
			}
		})
	}
}
