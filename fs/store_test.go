package fs

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// TestRequests: what a listing, an open and a read ask of the store.
func TestRequests(t *testing.T) {
	m := mock.New()
	const n = 3000
	for i := ltx.TXID(1); i <= n; i++ {
		m.Put(0, i, i, []byte("x"))
	}
	big := m.Put(1, 1, 9, make([]byte, 1<<20))
	tr := newDriver(t, m, false)

	for _, dir := range [][]string{{}, {"ltx"}} {
		_, e := tr.list(tr.walk(dir...).NodeId, true)
		require.Zero(t, e)
	}
	level := tr.level(0)
	assert.Zero(t, m.Calls(mock.OpList)+m.Calls(mock.OpStat), "listing the root and ltx")

	for range 2 {
		names, e := tr.list(level, true)
		require.Zero(t, e)
		require.Len(t, names, n)
	}
	assert.Equal(t, 1, m.Calls(mock.OpList), "ls -l twice within the freshness interval")
	assert.Zero(t, m.Calls(mock.OpStat), "ls -l asks for no single file")

	node := tr.walk("ltx", "0001", big.Base()).NodeId
	m.ResetCalls()
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	assert.Zero(t, m.Calls(mock.OpOpen)+m.Calls(mock.OpStat)+m.Calls(mock.OpList), "open costs nothing")
	for range 2 {
		got, e := tr.read(node, fh, 500_000, 4096)
		require.Zero(t, e)
		require.Len(t, got, 4096)
	}
	assert.Equal(t, 1, m.Calls(mock.OpOpen), "a block is fetched once")
	assert.LessOrEqual(t, m.BytesRead(), int64(128<<10), "a small read fetches a block")
	tr.release(node, fh)
}

// TestStoreErrors: what the store says, as the caller sees it.
func TestStoreErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault mock.Fault
		want  syscall.Errno
	}{
		{"permission", mock.Fault{Err: os.ErrPermission}, syscall.EACCES},
		{"failure", mock.Fault{Err: errors.New("out of order")}, syscall.EIO},
		{"no answer", mock.Fault{Delay: time.Hour}, syscall.ETIMEDOUT},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				m.Put(0, 1, 1, storetest.LTX(t, 1, 1))
				deadline := far
				if tt.fault.Delay > 0 {
					deadline = soon
				}
				tr := newDriverOf(t, m, true, 0, deadline)
				level := tr.level(0)
				node := tr.walk("ltx", "0000", fileName(1, 1)).NodeId
				fh, e := tr.open(node, syscall.O_RDONLY)
				require.Zero(t, e)

				fail := func(op mock.Op) func() {
					f := tt.fault
					f.Op = op
					return m.Inject(f)
				}
				remove := fail(mock.OpList)
				_, e = tr.list(level, false)
				assert.Equal(t, tt.want, e, "list")
				remove()

				remove = fail(mock.OpStat)
				_, e = tr.lookup(level, fileName(1, 1))
				assert.Equal(t, tt.want, e, "look up")
				remove()

				remove = fail(mock.OpOpen)
				_, e = tr.read(node, fh, 0, 10)
				assert.Equal(t, tt.want, e, "read")
				remove()
				var got []byte
				read := func() bool { got, e = tr.read(node, fh, 0, 4); return e == 0 }
				if tt.want == syscall.ETIMEDOUT {
					assert.Eventually(t, read, far, 50*time.Millisecond, "a read that failed late isn't remembered for long")
				} else {
					assert.True(t, read(), "a failed read isn't remembered")
				}
				assert.Equal(t, "LTX1", string(got))
				tr.release(node, fh)

				remove = fail(mock.OpDelete)
				assert.Equal(t, tt.want, tr.unlink(level, fileName(1, 1)), "delete")
				remove()
				_, ok := m.Bytes(0, 1, 1)
				assert.True(t, ok, "the file is still there")

				remove = fail(mock.OpPublish)
				node, fh = tr.stageFile(level, fileName(2, 2), storetest.LTX(t, 2, 2))
				assert.Equal(t, tt.want, tr.flush(node, fh), "close")
				assert.Equal(t, []string{"ltx/0000/" + fileName(2, 2)}, tr.unpublishedNames())
				remove()
				assert.Zero(t, tr.fsync(node, fh), "what the store refused once may be tried again")
				assert.Empty(t, tr.unpublishedNames())
				_, ok = m.Bytes(0, 2, 2)
				assert.True(t, ok, "published")
				tr.release(node, fh)
			})
		})
	}
}

// hungStore is a store that doesn't answer writes until it is told to, and
// ignores its context.
type hungStore struct {
	*mock.Store
	answer chan struct{}
}

func (c *hungStore) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	<-c.answer
	return c.Store.WriteLTXFile(context.WithoutCancel(ctx), name, content, opts)
}

// TestLatePublication: close ends at its deadline, and a store that answers
// after it leaves the file published and nothing staged.
func TestLatePublication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		store := &hungStore{m, make(chan struct{})}
		tr := newDriverOf(t, store, true, time.Minute, soon)
		level := tr.level(0)
		want := storetest.LTX(t, 1, 1)
		node, fh := tr.stageFile(level, fileName(1, 1), want)
		assert.Equal(t, syscall.ETIMEDOUT, tr.flush(node, fh))
		assert.Equal(t, []string{"ltx/0000/" + fileName(1, 1)}, tr.unpublishedNames())
		assert.Equal(t, syscall.ETIMEDOUT, tr.write(node, fh, []byte("x"), 0), "what is being published doesn't change")
		assert.Equal(t, syscall.ETIMEDOUT, tr.unlink(level, fileName(1, 1)))

		waiting, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		require.ErrorIs(t, tr.tree.staged.Drain(waiting), context.DeadlineExceeded)
		close(store.answer)
		require.NoError(t, tr.tree.staged.Drain(t.Context()))
		assert.Empty(t, tr.unpublishedNames())
		got, ok := m.Bytes(0, 1, 1)
		require.True(t, ok)
		assert.Equal(t, want, got)
		assert.Zero(t, tr.flush(node, fh), "the next close hears of it")
		assert.Equal(t, syscall.EPERM, tr.write(node, fh, []byte("x"), 0), "published files don't change")
		tr.release(node, fh)
		names, e := tr.list(level, false)
		require.Zero(t, e)
		assert.Equal(t, []string{fileName(1, 1)}, names)
	})
}

// TestUnlinkWhileRenamed: rm of a staged name that a rename takes away meanwhile doesn't
// delete the published file that the staged one hid.
func TestUnlinkWhileRenamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		store := &hungStore{m, make(chan struct{})}
		tr := newDriverOf(t, store, true, time.Minute, time.Hour)
		level := tr.level(0)
		hidden, renamed := storetest.LTX(t, 1, 1, storetest.Seed(1)), storetest.LTX(t, 2, 2)
		node, fh := tr.stageFile(level, fileName(1, 1), renamed)
		m.Put(0, 1, 1, hidden)
		var errnos [2]syscall.Errno
		var calls sync.WaitGroup
		calls.Go(func() { errnos[0] = tr.rename(level, fileName(1, 1), fileName(2, 2), 0) })
		synctest.Wait()
		calls.Go(func() { errnos[1] = tr.unlink(level, fileName(1, 1)) })
		synctest.Wait()
		close(store.answer)
		calls.Wait()
		assert.Equal(t, [2]syscall.Errno{0, syscall.ENOENT}, errnos)
		for txid, want := range [][]byte{1: hidden, 2: renamed} {
			got, _ := m.Bytes(0, ltx.TXID(txid), ltx.TXID(txid))
			assert.Equal(t, want, got)
		}
		tr.release(node, fh)
	})
}

// TestReplacedUnderReader: a reader gets its version's bytes or ESTALE.
func TestReplacedUnderReader(t *testing.T) {
	m := mock.New()
	old := m.Put(0, 1, 1, storetest.LTX(t, 1, 1, storetest.Seed(1), storetest.Commit(2000), storetest.Noise()))
	tr := newDriver(t, m, false)
	node := tr.walk("ltx", "0000", old.Base()).NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	first, e := tr.read(node, fh, 0, 4096)
	require.Zero(t, e)

	changed := m.Put(0, 1, 1, storetest.LTX(t, 1, 1, storetest.Seed(2), storetest.Commit(2000), storetest.Noise()))
	again, e := tr.read(node, fh, 0, 4096)
	require.Zero(t, e, "what is cached stays readable")
	assert.Equal(t, first, again)
	_, e = tr.read(node, fh, 4_000_000, 4096)
	assert.Equal(t, syscall.ESTALE, e)

	entry := tr.walk("ltx", "0000", changed.Base())
	assert.NotEqual(t, node, entry.NodeId, "another version is another inode")
	m.Remove(0, 1, 1)
	_, e = tr.read(node, fh, 6_000_000, 4096)
	assert.Equal(t, syscall.ESTALE, e)
	tr.release(node, fh)
}

// TestInterruptedCaller: a signal to the caller ends no request, since Go
// programs send themselves signals all the time.
func TestInterruptedCaller(t *testing.T) {
	m := mock.New()
	f := m.Put(0, 1, 1, storetest.LTX(t, 1, 1))
	tr := newDriver(t, m, false)
	node := tr.walk("ltx", "0000", f.Base()).NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	interrupted := make(chan struct{})
	close(interrupted)
	got, e := tr.readUnless(interrupted, node, fh, 0, 4)
	assert.Zero(t, e)
	assert.Equal(t, "LTX1", string(got))
	tr.release(node, fh)
}

// TestExclusiveNames: a name that another writer took a moment ago is taken,
// whatever the index remembers.
func TestExclusiveNames(t *testing.T) {
	m := mock.New()
	tr := newDriver(t, m, true)
	level := tr.level(0)
	_, e := tr.list(level, false)
	require.Zero(t, e)
	m.Put(0, 1, 1, storetest.LTX(t, 1, 1))
	_, _, e = tr.create(level, fileName(1, 1), syscall.O_WRONLY|syscall.O_EXCL)
	assert.Equal(t, syscall.EEXIST, e)

	m.Put(0, 2, 2, storetest.LTX(t, 2, 2))
	node, fh := tr.stageFile(level, "tmp", storetest.LTX(t, 2, 2))
	assert.Equal(t, syscall.EEXIST, tr.rename(level, "tmp", fileName(2, 2), unix.RENAME_NOREPLACE))
	assert.Equal(t, syscall.EINVAL, tr.rename(level, "tmp", fileName(2, 2), unix.RENAME_EXCHANGE))
	assert.Zero(t, tr.rename(level, "tmp", fileName(2, 2), 0))
	assert.Zero(t, tr.flush(node, fh))
	tr.release(node, fh)
	assert.Empty(t, tr.unpublishedNames())
}

// TestReplacementThatNobodyOpens: a file emptied by an open that never comes
// gives way to the published one.
func TestReplacementThatNobodyOpens(t *testing.T) {
	m := mock.New()
	want := storetest.LTX(t, 1, 1)
	f := m.Put(0, 1, 1, want)
	tr := newDriver(t, m, true)
	published := tr.walk("ltx", "0000", f.Base())
	_, e := tr.open(published.NodeId, syscall.O_WRONLY|syscall.O_TRUNC)
	require.Equal(t, syscall.ESTALE, e, "the kernel is sent to look again")
	stagedEntry := tr.walk("ltx", "0000", f.Base())
	require.NotEqual(t, published.NodeId, stagedEntry.NodeId)
	require.Zero(t, stagedEntry.Size)
	assert.Empty(t, tr.unpublishedNames(), "an empty copy holds nothing of the user's")

	fh, e := tr.open(stagedEntry.NodeId, syscall.O_WRONLY|syscall.O_TRUNC)
	require.Zero(t, e)
	assert.Zero(t, tr.flush(stagedEntry.NodeId, fh), "closing an empty file is no error")
	tr.release(stagedEntry.NodeId, fh)
	again := tr.walk("ltx", "0000", f.Base())
	assert.Equal(t, published.NodeId, again.NodeId)
	got, ok := m.Bytes(0, 1, 1)
	require.True(t, ok)
	assert.Equal(t, want, got)
}

// TestGuidesClient: a client with no more than the guide's methods serves as well.
func TestGuidesClient(t *testing.T) {
	m := mock.New()
	want := storetest.LTX(t, 1, 1)
	m.Put(0, 1, 1, want)
	tr := newDriverOf(t, replica.StoreOf(mock.NewReplicaClient(m)), true, time.Minute, far)
	level := tr.level(0)
	node := tr.walk("ltx", "0000", fileName(1, 1)).NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	got, e := tr.read(node, fh, 0, len(want)+10)
	require.Zero(t, e)
	assert.Equal(t, want, got)
	tr.release(node, fh)

	node, fh = tr.stageFile(level, fileName(2, 2), storetest.LTX(t, 2, 2))
	require.Zero(t, tr.flush(node, fh))
	tr.release(node, fh)
	names, e := tr.list(level, true)
	require.Zero(t, e)
	assert.Equal(t, []string{fileName(1, 1), fileName(2, 2)}, names)
	require.Zero(t, tr.unlink(level, fileName(1, 1)))
	names, e = tr.list(level, false)
	require.Zero(t, e)
	assert.Equal(t, []string{fileName(2, 2)}, names)
}
