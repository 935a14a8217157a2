package fs

import (
	"context"
	"fmt"
	"io"
	"iter"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// The deadlines that docs/semantics.md promises, on a clock that waits for nobody.

// TestDeadlines: every request ends at its deadline, whether the store gives no
// answer, doesn't end what it has begun, or the budget has no room.
func TestDeadlines(t *testing.T) {
	content := storetest.LTX(t, 2, 2)
	for _, tt := range []struct {
		name   string
		within time.Duration
		fault  mock.Op // "" is a budget that is taken
		ask    func(tr *driver, published, staged uint64) syscall.Errno
	}{
		{"list", time.Minute, mock.OpList, func(tr *driver, _, _ uint64) syscall.Errno {
			_, e := tr.list(tr.level(0), false)
			return e
		}},
		{"list slowly", time.Minute, mock.OpNext, func(tr *driver, _, _ uint64) syscall.Errno {
			_, e := tr.list(tr.level(0), true)
			return e
		}},
		{"look up", 30 * time.Second, mock.OpStat, func(tr *driver, _, _ uint64) syscall.Errno {
			_, e := tr.lookup(tr.level(0), fileName(1, 1))
			return e
		}},
		{"open", 30 * time.Second, mock.OpStat, func(tr *driver, published, _ uint64) syscall.Errno {
			_, e := tr.open(published, syscall.O_RDONLY)
			return e
		}},
		{"create", 30 * time.Second, mock.OpStat, func(tr *driver, _, _ uint64) syscall.Errno {
			_, _, e := tr.create(tr.level(0), fileName(3, 3), syscall.O_WRONLY|syscall.O_EXCL)
			return e
		}},
		{"read", 30 * time.Second, mock.OpOpen, readSome},
		{"read slowly", 30 * time.Second, mock.OpRead, readSome},
		{"read without memory", 30 * time.Second, "", readSome},
		{"delete", time.Minute, mock.OpDelete, func(tr *driver, _, _ uint64) syscall.Errno {
			return tr.unlink(tr.level(0), fileName(1, 1))
		}},
		{"close", publishTime(len(content)), mock.OpWrite, flushStaged},
		{"close slowly", publishTime(len(content)), mock.OpPublish, flushStaged},
		{"close without memory", publishTime(len(content)), "", flushStaged},
		{"rename", publishTime(len(content)), mock.OpPublish, func(tr *driver, _, _ uint64) syscall.Errno {
			return tr.rename(tr.level(0), fileName(2, 2), fileName(2, 2), 0)
		}},
	} {
		for _, deaf := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/deaf=%t", tt.name, deaf), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := mock.New()
					m.Put(0, 1, 1, storetest.LTX(t, 1, 1))
					tr := newDriverWithin(t, Options{Tree: Tree{Store: &hangingStore{m, deaf}}, ReadWrite: true}, defaultDeadlines)
					published := tr.walk("ltx", "0000", fileName(1, 1)).NodeId
					staged, fh := tr.stageFile(tr.level(0), fileName(2, 2), content)
					answer := make(chan struct{})
					all := tr.mount.budget.Size()
					if tt.fault != "" {
						m.Inject(mock.Fault{Op: tt.fault, Wait: answer})
						all = 0
					}
					require.NoError(t, tr.mount.budget.Acquire(t.Context(), all))
					began := time.Now()
					assert.Equal(t, syscall.ETIMEDOUT, tt.ask(tr, published, staged))
					assert.Equal(t, tt.within, time.Since(began))
					assert.NotEmpty(t, tr.unpublishedNames())
					close(answer)
					tr.mount.budget.Release(all)
					tr.release(staged, fh)
					require.NoError(t, tr.tree.staged.Drain(t.Context()))
				})
			})
		}
	}
}

func publishTime(size int) time.Duration {
	return 5*time.Minute + time.Duration(float64(size)/(512<<10)*float64(time.Second))
}

func readSome(tr *driver, published, _ uint64) syscall.Errno {
	fh, e := tr.open(published, syscall.O_RDONLY)
	require.Zero(tr.t, e)
	defer tr.release(published, fh)
	_, e = tr.read(published, fh, 0, 4096)
	return e
}

func flushStaged(tr *driver, _, staged uint64) syscall.Errno {
	fh, e := tr.open(staged, syscall.O_WRONLY)
	require.Zero(tr.t, e)
	defer tr.release(staged, fh)
	return tr.flush(staged, fh)
}

// hangingStore is a store on this machine. If it is deaf, it ignores its context, as a
// disk that hangs.
type hangingStore struct {
	*mock.Store
	deaf bool
}

func (s *hangingStore) heard(ctx context.Context) context.Context {
	if s.deaf {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

func (s *hangingStore) Properties() replica.Properties { return replica.Properties{Local: true} }

func (s *hangingStore) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return s.Store.LTXFiles(s.heard(ctx), level, opts)
}

func (s *hangingStore) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	return s.Store.StatLTXFile(s.heard(ctx), name, opts)
}

func (s *hangingStore) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	return s.Store.OpenLTXFile(s.heard(ctx), f, offset, size)
}

func (s *hangingStore) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	return s.Store.WriteLTXFile(s.heard(ctx), name, content, opts)
}

func (s *hangingStore) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	return s.Store.DeleteLTXFiles(s.heard(ctx), names...)
}

// TestSmallBudget: a read that is larger than the budget is answered whole.
func TestSmallBudget(t *testing.T) {
	m := mock.New()
	want := storetest.Bytes(1, 1<<20)
	f := m.Put(0, 1, 1, want)
	tr := newDriverWith(t, Options{Tree: Tree{Store: m, Freshness: time.Minute}, CacheSize: 100_000}, far)
	node := tr.walk("ltx", "0000", f.Base()).NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	for _, off := range []int64{0, 5, 1<<20 - 10} {
		got, e := tr.read(node, fh, off, 1<<20)
		require.Zero(t, e)
		assert.Equal(t, want[off:], got)
	}
	got, e := tr.read(node, fh, 1<<20, 4096)
	require.Zero(t, e)
	assert.Empty(t, got)
	tr.release(node, fh)
}
