package fs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// TestLastPublicationWins: an older publication that the store is slow to take
// doesn't undo a newer one that was acknowledged, nor a delete.
func TestLastPublicationWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		tr := newDriver(t, m, true)
		level := tr.level(0)
		older := storetest.LTX(t, 1, 1, storetest.Seed(1))
		newer := storetest.LTX(t, 1, 1, storetest.Seed(2))
		node, fh := tr.stageFile(level, fileName(1, 1), older)
		newNode, newFH := tr.stageFile(level, "new.tmp", newer)

		answer := make(chan struct{})
		m.Inject(mock.Fault{Op: mock.OpPublish, Wait: answer, Times: 1})
		closed := make(chan syscall.Errno)
		go func() { closed <- tr.flush(node, fh) }()
		synctest.Wait()
		require.Equal(t, 1, m.Calls(mock.OpPublish))
		renamed := make(chan syscall.Errno, 1)
		go func() { renamed <- tr.rename(level, "new.tmp", fileName(1, 1), 0) }()
		synctest.Wait()
		require.Empty(t, renamed, "the rename overtook the publication")
		close(answer)
		assert.Zero(t, <-closed)
		assert.Zero(t, <-renamed)
		got, ok := m.Bytes(0, 1, 1)
		require.True(t, ok)
		assert.Equal(t, newer, got)
		tr.release(node, fh)
		tr.release(newNode, newFH)
		assert.Empty(t, tr.unpublishedNames())
	})
}

// TestRenameDuringPublication: a file that is being published can't get away to
// another name and be lost there.
func TestRenameDuringPublication(t *testing.T) {
	m := mock.New()
	tr := newDriver(t, m, true)
	level := tr.level(0)
	want := storetest.LTX(t, 1, 1)
	node, fh := tr.stageFile(level, fileName(1, 1), want)
	answer := make(chan struct{})
	m.Inject(mock.Fault{Op: mock.OpPublish, Wait: answer, Times: 1})
	closed := make(chan syscall.Errno)
	go func() { closed <- tr.flush(node, fh) }()
	require.Eventually(t, func() bool { return m.Calls(mock.OpPublish) == 1 }, far, time.Millisecond)
	renamed := make(chan syscall.Errno)
	go func() { renamed <- tr.rename(level, fileName(1, 1), "y.tmp", 0) }()
	close(answer)
	assert.Zero(t, <-closed)
	assert.Equal(t, syscall.EPERM, <-renamed, "it is published by then")
	names, e := tr.list(level, false)
	require.Zero(t, e)
	assert.Equal(t, []string{fileName(1, 1)}, names)
	tr.release(node, fh)
}

// TestStagingDiskFails: a published file is published, even if the staging disk
// doesn't let go of its copy.
func TestStagingDiskFails(t *testing.T) {
	m := mock.New()
	tr := newDriver(t, m, true)
	level := tr.level(0)
	want := storetest.LTX(t, 1, 1)
	node, fh := tr.stageFile(level, fileName(1, 1), want)
	// A directory in the file's place can't be removed as one.
	copied := tr.tree.Staging.FilePath("ltx/0000/" + fileName(1, 1))
	require.NoError(t, os.Remove(copied))
	require.NoError(t, os.MkdirAll(filepath.Join(copied, "x"), 0o700))
	assert.Zero(t, tr.flush(node, fh))
	tr.release(node, fh)
	require.NoError(t, os.RemoveAll(copied))

	assert.Empty(t, tr.unpublishedNames())
	node = tr.walk("ltx", "0000", fileName(1, 1)).NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	got, e := tr.read(node, fh, 0, len(want))
	require.Zero(t, e)
	assert.Equal(t, want, got)
	tr.release(node, fh)
	assert.Zero(t, tr.unlink(level, fileName(1, 1)))
	names, e := tr.list(level, false)
	require.Zero(t, e)
	assert.Empty(t, names)
}

// TestReplacementWaitsForItsOpen: a reader that comes and goes between the two
// opens of an overwriting program doesn't take the file away from it.
func TestReplacementWaitsForItsOpen(t *testing.T) {
	m := mock.New()
	want := storetest.LTX(t, 1, 1)
	f := m.Put(0, 1, 1, want)
	tr := newDriver(t, m, true)
	published := tr.walk("ltx", "0000", f.Base()).NodeId
	_, e := tr.open(published, syscall.O_WRONLY|syscall.O_TRUNC)
	require.Equal(t, syscall.ESTALE, e)
	emptied := tr.walk("ltx", "0000", f.Base()).NodeId
	fh, e := tr.open(emptied, syscall.O_RDONLY)
	require.Zero(t, e)
	tr.release(emptied, fh)

	fh, e = tr.open(emptied, syscall.O_WRONLY|syscall.O_TRUNC)
	require.Zero(t, e, "the open that it waited for")
	require.Zero(t, tr.write(emptied, fh, []byte("LTX1"), 0))
	assert.Equal(t, emptied, tr.walk("ltx", "0000", f.Base()).NodeId)
	assert.Equal(t, syscall.EBADMSG, tr.flush(emptied, fh))
	tr.release(emptied, fh)
	assert.Equal(t, []string{"ltx/0000/" + f.Base()}, tr.unpublishedNames())
}

// TestExclusiveUntilPublished: O_EXCL holds until the file is in the store.
func TestExclusiveUntilPublished(t *testing.T) {
	m := mock.New()
	tr := newDriver(t, m, true)
	level := tr.level(0)
	node, fh, e := tr.create(level, fileName(1, 1), syscall.O_WRONLY|syscall.O_EXCL)
	require.Zero(t, e)
	require.Zero(t, tr.write(node, fh, storetest.LTX(t, 1, 1, storetest.Seed(1)), 0))
	foreign := storetest.LTX(t, 1, 1, storetest.Seed(2))
	m.Put(0, 1, 1, foreign)
	assert.Equal(t, syscall.EEXIST, tr.flush(node, fh))
	got, ok := m.Bytes(0, 1, 1)
	require.True(t, ok)
	assert.Equal(t, foreign, got)
	assert.Equal(t, []string{"ltx/0000/" + fileName(1, 1)}, tr.unpublishedNames())
	tr.release(node, fh)
}

// TestDescriptors: a staged file that nobody has open holds no descriptor.
func TestDescriptors(t *testing.T) {
	tr := newDriver(t, mock.New(), true)
	level := tr.level(0)
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(fds)
	}
	before := count()
	for i := range 100 {
		node, fh := tr.stageFile(level, fmt.Sprint("tmp", i), []byte("x"))
		require.Zero(t, tr.flush(node, fh))
		tr.release(node, fh)
	}
	assert.Equal(t, before, count())
	node := tr.walk("ltx", "0000", "tmp7").NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	got, e := tr.read(node, fh, 0, 10)
	require.Zero(t, e)
	assert.Equal(t, "x", string(got))
	tr.release(node, fh)
	assert.Len(t, tr.unpublishedNames(), 100)
}

// TestPanicInTheStore: it is the caller's error, not the daemon's end.
func TestPanicInTheStore(t *testing.T) {
	m := mock.New()
	tr := newDriverOf(t, panicking{m}, true, time.Minute, far)
	node, fh := tr.stageFile(tr.level(0), fileName(1, 1), storetest.LTX(t, 1, 1))
	assert.Equal(t, syscall.EIO, tr.flush(node, fh))
	assert.Equal(t, syscall.EIO, tr.unlink(tr.level(0), fileName(2, 2)))
	tr.release(node, fh)
}

type panicking struct{ *mock.Store }

func (panicking) WriteLTXFile(context.Context, replica.Name, replica.Content, replica.WriteOptions) (replica.File, error) {
	panic("a bug in the client")
}

func (panicking) DeleteLTXFiles(context.Context, ...replica.Name) error { panic("a bug in the client") }

// TestAfterClose: once the mount closes, nothing more is taken that nobody would
// be told of.
func TestAfterClose(t *testing.T) {
	tr := newDriver(t, mock.New(), true)
	level := tr.level(0)
	node, fh := tr.stageFile(level, "kept.tmp", []byte("x"))
	tr.mount.close()
	assert.Equal(t, syscall.EIO, tr.write(node, fh, []byte("y"), 0))
	assert.Equal(t, syscall.EIO, tr.fsync(node, fh))
	_, _, e := tr.create(level, "late.tmp", syscall.O_WRONLY)
	assert.NotZero(t, e)
	assert.Equal(t, []string{"ltx/0000/kept.tmp"}, tr.unpublishedNames())
	tr.release(node, fh)
}

// TestReadsBesidePublications: whoever writes, be it in several replicas, and however long
// the store takes, who reads has half of the smallest budget.
func TestReadsBesidePublications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		stores, trees, _ := twoTrees(t)
		tr := newDriverWith(t, Options{Databases: databasesOf(t, trees...), ReadWrite: true, CacheSize: 4 * mib}, far)
		content := make([]byte, 6*mib)
		stores[0].Put(9, 1, 1, content)
		answer := make(chan struct{})
		closed := make(chan syscall.Errno, 8)
		for i, name := range []string{"db0", "db1"} {
			stores[i].Inject(mock.Fault{Op: mock.OpPublish, Wait: answer})
			for txid := ltx.TXID(1); txid <= ltx.TXID(cap(closed)/2); txid++ {
				node, fh := tr.stageFile(tr.walk(name, "ltx", "0000").NodeId, fileName(txid+1, txid+1), storetest.LTX(t, txid+1, txid+1))
				defer tr.release(node, fh)
				go func() { closed <- tr.flush(node, fh) }()
			}
		}
		synctest.Wait()
		require.Equal(t, 2, stores[0].Calls(mock.OpPublish)+stores[1].Calls(mock.OpPublish))
		require.EqualValues(t, 2*mib, tr.mount.budget.Used())
		node := tr.walk("db0", "ltx", "0009", fileName(1, 1)).NodeId
		fh, e := tr.open(node, syscall.O_RDONLY)
		require.Zero(t, e)
		for off := int64(0); off < int64(len(content)); off += mib {
			got, e := tr.read(node, fh, off, mib)
			require.Zero(t, e)
			require.Len(t, got, mib)
		}
		tr.release(node, fh)
		require.Empty(t, closed)
		close(answer)
		for range cap(closed) {
			require.Zero(t, <-closed)
		}
	})
}

// TestListWhilePublished: a file that is published while a directory is opened is there, once.
func TestListWhilePublished(t *testing.T) {
	m := mock.New()
	tr := newDriver(t, m, true)
	level := tr.level(0)
	for i := ltx.TXID(1); i <= 300; i++ {
		node, fh := tr.stageFile(level, fileName(i, i), storetest.LTX(t, i, i))
		published := make(chan struct{})
		go func() {
			defer close(published)
			assert.Zero(t, tr.flush(node, fh))
		}()
		for done := false; !done; {
			select {
			case <-published:
				done = true
			default:
			}
			names, e := tr.list(level, false)
			require.Zero(t, e)
			require.Equal(t, []string{fileName(i, i)}, names)
		}
		tr.release(node, fh)
		require.Zero(t, tr.unlink(level, fileName(i, i)))
	}
}
