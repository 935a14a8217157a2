package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
)

// Bytes makes n bytes that are no LTX file. The same seed gives the same ones.
func Bytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = NewReader(seed, int64(n)).Read(b)
	return b
}

// NewReader returns a reader of what Bytes makes, for more than should be in
// memory at once.
func NewReader(seed uint64, n int64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// Name is the name of a file.
func Name(level int, minTXID, maxTXID ltx.TXID) replica.Name {
	return replica.Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
}

// List returns all files of a level that are listed.
func List(tb testing.TB, s replica.Store, level int) []replica.File {
	tb.Helper()
	return ListWith(tb, s, level, replica.ListOptions{})
}

// ListWith is List with options.
func ListWith(tb testing.TB, s replica.Store, level int, opts replica.ListOptions) []replica.File {
	tb.Helper()
	files, err := collect(context.Background(), s, level, opts)
	require.NoError(tb, err)
	return files
}

// collect returns what a listing gives, until its error.
func collect(ctx context.Context, s replica.Store, level int, opts replica.ListOptions) (files []replica.File, err error) {
	for f, err := range s.LTXFiles(ctx, level, opts) {
		if err != nil {
			if f != (replica.File{}) {
				err = errors.Join(err, fmt.Errorf("the error has %v beside it", f))
			}
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// Write stores a file.
func Write(tb testing.TB, s replica.Store, name replica.Name, data []byte) replica.File {
	tb.Helper()
	f, err := s.WriteLTXFile(context.Background(), name, bytes.NewReader(data), replica.WriteOptions{})
	require.NoError(tb, err)
	return f
}

// Read returns a range of a file, as OpenLTXFile has it.
func Read(tb testing.TB, s replica.Store, f replica.File, offset, size int64) []byte {
	tb.Helper()
	r, err := s.OpenLTXFile(context.Background(), f, offset, size)
	require.NoError(tb, err)
	data, err := io.ReadAll(r)
	require.NoError(tb, err)
	require.NoError(tb, r.Close())
	return data
}

func bases(files []replica.File) []string {
	bases := []string{}
	for _, f := range files {
		bases = append(bases, f.Base())
	}
	return bases
}

func namesOf(files ...replica.File) []replica.Name {
	names := make([]replica.Name, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	return names
}

func (s *suite) write(t *testing.T, name replica.Name, data []byte) replica.File {
	t.Helper()
	f := Write(t, s.store, name, data)
	require.Equal(t, name, f.Name)
	require.False(t, f.Version.IsZero(), "what was written has no version")
	return f
}

// read returns a range of whatever bears a name.
func (s *suite) read(t *testing.T, name replica.Name, offset, size int64) []byte {
	t.Helper()
	return Read(t, s.store, replica.File{Name: name}, offset, size)
}

func (s *suite) list(t *testing.T, level int) []replica.File {
	t.Helper()
	return List(t, s.store, level)
}

// exact is a listing with exact times.
func (s *suite) exact(t *testing.T, level int) []replica.File {
	t.Helper()
	return ListWith(t, s.store, level, replica.ListOptions{ExactTimes: true})
}

// find returns a file as a listing has it.
func (s *suite) find(t *testing.T, name replica.Name) replica.File {
	t.Helper()
	for _, f := range ListWith(t, s.store, name.Level, replica.ListOptions{From: name.MinTXID}) {
		if f.Name == name {
			return f
		}
	}
	require.Fail(t, "not listed", "%s", name)
	return replica.File{}
}

// delete deletes files, which must succeed.
func (s *suite) delete(t *testing.T, files ...replica.File) {
	t.Helper()
	require.NoError(t, s.store.DeleteLTXFiles(t.Context(), namesOf(files...)...))
}

// requireMissing fails the test unless there is no such file.
func (s *suite) requireMissing(t *testing.T, name replica.Name) {
	t.Helper()
	_, err := s.store.OpenLTXFile(t.Context(), replica.File{Name: name}, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotContains(t, bases(s.list(t, name.Level)), name.Base())
}

// requireFileError fails the test unless err names the operation and the file.
func requireFileError(t *testing.T, err error, op string, name replica.Name) {
	t.Helper()
	require.Error(t, err)
	var fe *replica.FileError
	require.True(t, errors.As(err, &fe), "%v is no FileError", err)
	assert.Equal(t, op, fe.Op)
	assert.Equal(t, name, fe.Name)
	assert.ErrorContains(t, err, ltx.FormatFilename(name.MinTXID, name.MaxTXID))
}

// idleTime is how long a store may keep what it doesn't use any more, such as a
// connection.
const idleTime = 10 * time.Second

// watchLeaks returns a function that fails the test if the process has gained
// descriptors or goroutines since, and keeps them.
func watchLeaks(t *testing.T) (check func()) {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	before := descriptors(t)
	return func() {
		t.Helper()
		leak := func() error {
			// A store with connections may keep one, but not one a file.
			if n := descriptors(t); n >= before+8 {
				return fmt.Errorf("descriptors leak: %d, of %d before", n, before)
			}
			return goleak.Find(goroutines)
		}
		err := leak()
		for deadline := time.Now().Add(idleTime); err != nil && time.Now().Before(deadline); err = leak() {
			time.Sleep(10 * time.Millisecond)
		}
		require.NoError(t, err)
	}
}

// descriptors is how many descriptors the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// doneContext returns a context that is done already.
func doneContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// hooked is content that calls then, once, before anything at or past a position is
// read, and fails there with err if that isn't nil.
type hooked struct {
	replica.Content
	at   int64
	then func()
	err  error

	once sync.Once
}

func (h *hooked) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= h.at {
		return h.Content.ReadAt(p, off)
	}
	if h.then != nil {
		h.once.Do(h.then)
	}
	if h.err == nil {
		return h.Content.ReadAt(p, off)
	}
	n, err := h.Content.ReadAt(p[:max(h.at-off, 0)], off)
	if err == nil || err == io.EOF {
		err = h.err
	}
	return n, err
}

// failingReader gives some bytes, then calls then, then fails.
type failingReader struct {
	r    io.Reader
	then func()
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != io.EOF {
		return n, err
	}
	if r.then != nil {
		r.then()
		r.then = nil
	}
	return n, r.err
}

// endless gives bytes for as long as it is asked, up to a limit that a test
// never reaches if its store looks at its context.
type endless struct {
	mu    sync.Mutex
	given int64
}

const endlessLimit = 16 << 30

func (r *endless) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.given += int64(len(p)); r.given > endlessLimit {
		return 0, fmt.Errorf("%d bytes were read after the context was done", r.given)
	}
	return len(p), nil
}

func (r *endless) ReadAt(p []byte, _ int64) (int, error) { return r.Read(p) }

// Size is small enough for any store.
func (r *endless) Size() int64 { return 4 << 30 }

// within fails the test if f takes longer than the test's timeout.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(testTimeout):
		t.Fatal("it hangs")
	}
}
