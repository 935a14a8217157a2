package staging

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is a deadline for tests that wait for it; far is one that no test reaches,
// however busy the machine is.
const (
	soon = 200 * time.Millisecond
	far  = 2 * time.Minute
)

var errBroken = errors.New("broken")

// rig is Files over a mock store, without a mount.
type rig struct {
	*Files
	t     *testing.T
	store *mock.Store
	index *told
	memory
	calls *flight.Group
}

// told is an index that notes what it is told.
type told struct {
	mu          sync.Mutex
	files       *Files
	put         []replica.File
	removed     []replica.Name
	invalidated []int
	hidden      int // files that were staged no more when they were put
}

func (x *told) Put(f replica.File) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put = append(x.put, f)
	if len(x.files.Level(f.Level)) == 0 {
		x.hidden++
	}
}

func (x *told) Remove(name replica.Name) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removed = append(x.removed, name)
}

func (x *told) Invalidate(level int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.invalidated = append(x.invalidated, level)
}

// memory counts who takes some, which each verification does.
type memory struct {
	mu       sync.Mutex
	acquired int
	held     int64
	full     bool  // nobody gets any
	size     int64 // of all, 1 GiB if 0
}

func (m *memory) Size() int64 { return cmp.Or(m.size, 1<<30) }

func (m *memory) Acquire(ctx context.Context, n int64) error {
	m.mu.Lock()
	full := m.full
	if !full {
		m.acquired++
		m.held += n
	}
	m.mu.Unlock()
	if full {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (m *memory) Release(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held -= n
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, store: mock.New(), index: &told{}, calls: flight.NewGroup()}
	opts := Options{
		Dir: open(t, t.TempDir(), "mock"), Store: r.store, Index: r.index, Memory: &r.memory, Calls: r.calls,
		Mode: 0o644, Write: far, Publish: far, Delete: far, Logger: slog.New(slog.DiscardHandler),
	}
	for _, fn := range change {
		fn(&opts)
	}
	r.Files = New(opts)
	r.index.files = r.Files
	t.Cleanup(func() {
		r.Close()
		r.calls.Close(errBroken)
		// A check that has ended gives its memory back once it reads no more.
		for end := time.Now().Add(10 * time.Second); r.now() > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		assert.Zero(t, r.now(), "memory that nobody gave back")
		assert.Zero(t, r.index.hidden, "a name that nothing showed for a moment")
		require.NoError(t, opts.Dir.Close())
	})
	return r
}

// write stages a file and leaves it without a handle.
func (r *rig) write(name string, data []byte) *File {
	r.t.Helper()
	s, f, err := r.Create(Place{0, name}, CreateOptions{Mode: 0o600})
	require.NoError(r.t, err)
	defer s.Release()
	require.NoError(r.t, s.Change(r.t.Context(), func() error {
		_, err := f.WriteAt(data, 0)
		return err
	}))
	return s
}

// content is what a staged file holds.
func (r *rig) content(s *File) string {
	r.t.Helper()
	f, err := s.Open()
	require.NoError(r.t, err)
	defer s.Release()
	st, err := s.Stat()
	require.NoError(r.t, err)
	b := make([]byte, st.Size)
	_, err = f.ReadAt(b, 0)
	require.NoError(r.t, err)
	return string(b)
}

// requireStaged checks what is staged and so in no replica.
func (r *rig) requireStaged(names ...string) {
	r.t.Helper()
	var got []string
	for _, e := range r.Unpublished() {
		got = append(got, e.Name)
		require.FileExists(r.t, e.Path)
	}
	require.Equal(r.t, names, got)
}

// requirePublished checks what the store has under a name at level 0.
func (r *rig) requirePublished(txid ltx.TXID, want []byte) {
	r.t.Helper()
	got, ok := r.store.Bytes(0, txid, txid)
	require.Equal(r.t, want != nil, ok)
	require.Equal(r.t, want, got)
}

func name(txid ltx.TXID) replica.Name { return replica.Name{MinTXID: txid, MaxTXID: txid} }

func base(txid ltx.TXID) string { return name(txid).Base() }

func inTree(txid ltx.TXID) string { return "ltx/0000/" + base(txid) }

func file(t *testing.T, txid ltx.TXID, seed uint64) []byte {
	return storetest.LTX(t, txid, txid, storetest.Seed(seed))
}

// async runs fn and returns where its error comes.
func async(fn func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return done
}

// now is how much is taken.
func (m *memory) now() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held
}
