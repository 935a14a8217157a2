package fs

import (
	"context"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cache"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// The tests here are of stores that aren't on local disk.

// TestPublishWithin: a large file has the time that a slow link takes.
func TestPublishWithin(t *testing.T) {
	for size, want := range map[int64]time.Duration{
		0:         5 * time.Minute,
		512 << 10: 5*time.Minute + time.Second,
		2 << 30:   5*time.Minute + 4096*time.Second,
		1 << 40:   5*time.Minute + (1<<21)*time.Second,
	} {
		assert.Equal(t, want, defaultDeadlines.publishWithin(size))
	}
}

// TestLargePublication: what is publishing a large file isn't given up at the
// deadline of a small one.
func TestLargePublication(t *testing.T) {
	m := mock.New()
	tr := newTreeOf(t, m, m, true, time.Minute, far)
	tr.fsys.within.publish = 0 // so that the size alone counts
	large := replicatest.LTX(t, 1, 1, replicatest.Commit(2000), replicatest.Noise())
	require.Greater(t, len(large), 8*slowestUpload, "to have seconds")
	deadlines := make(chan time.Duration, 2)
	tr.fsys.client = &deadlineWriter{m, deadlines}
	level := tr.level(0)
	node, fh := tr.stageFile(level, fileName(1, 1), large)
	require.Zero(t, tr.flush(node, fh))
	tr.release(node, fh)
	left := <-deadlines
	assert.Greater(t, left, time.Second)
	assert.LessOrEqual(t, left, time.Duration(len(large))*time.Second/slowestUpload)
}

// deadlineWriter tells how much time its writes have left.
type deadlineWriter struct {
	*mock.ReplicaClient
	left chan time.Duration
}

func (c *deadlineWriter) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	deadline, _ := ctx.Deadline()
	c.left <- time.Until(deadline)
	return c.ReplicaClient.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
}

// TestStatfsTouchesNoStore: df shows room, and asks nobody.
func TestStatfsTouchesNoStore(t *testing.T) {
	m := mock.New()
	m.Inject(mock.Fault{Wait: make(chan struct{})})
	tr := newTree(t, m, true)
	var out fuse.StatfsOut
	h := header(1)
	require.Equal(t, fuse.OK, tr.raw.StatFs(nil, &h, &out))
	assert.Equal(t, uint64(1<<50), out.Blocks*uint64(out.Bsize))
	assert.Equal(t, uint64(1<<49), out.Bavail*uint64(out.Bsize))
	assert.Equal(t, out.Bavail, out.Bfree)
	assert.Positive(t, out.Ffree)
	assert.Equal(t, uint32(255), out.NameLen)
	for _, op := range []mock.Op{mock.OpList, mock.OpStat, mock.OpOpen} {
		assert.Zero(t, m.Calls(op), op)
	}
}

// TestOpenAfterReplacement: once a read has said that its file was replaced, the
// next open gets the new one, although the kernel still has the old name.
func TestOpenAfterReplacement(t *testing.T) {
	for _, listed := range []bool{false, true} {
		m := mock.New()
		old := replicatest.LTX(t, 1, 1, replicatest.Seed(1))
		changed := replicatest.LTX(t, 1, 1, replicatest.Seed(2))
		name := m.Put(0, 1, 1, old).Name()
		tr := newTree(t, m, false)
		level := tr.level(0)
		if listed {
			_, e := tr.list(level, true)
			require.Zero(t, e)
		}
		node := tr.walk("ltx", "0000", name).NodeId
		fh, e := tr.open(node, syscall.O_RDONLY)
		require.Zero(t, e)
		current := m.Put(0, 1, 1, changed)
		_, e = tr.read(node, fh, 0, 10)
		require.Equal(t, syscall.ESTALE, e)
		tr.release(node, fh)

		// The kernel, sent to look again, asks for the name.
		_, e = tr.open(node, syscall.O_RDONLY)
		require.Equal(t, syscall.ESTALE, e)
		again := tr.walk("ltx", "0000", name).NodeId
		require.NotEqual(t, node, again)
		fh, e = tr.open(again, syscall.O_RDONLY)
		require.Zero(t, e)
		got, e := tr.read(again, fh, 0, len(changed))
		require.Zero(t, e)
		assert.Equal(t, changed, got)
		tr.release(again, fh)

		// The same for one that was deleted.
		m.Remove(0, 1, 1)
		fh, e = tr.open(again, syscall.O_RDONLY)
		require.Zero(t, e, "opening costs no request")
		tr.fsys.blocks.Forget(cache.FileKey{MinTXID: 1, MaxTXID: 1, Version: current.Version})
		_, e = tr.read(again, fh, 0, 10)
		require.Equal(t, syscall.ESTALE, e)
		tr.release(again, fh)
		_, e = tr.open(again, syscall.O_RDONLY)
		require.Equal(t, syscall.ESTALE, e)
		_, e = tr.lookup(level, name)
		require.Equal(t, syscall.ENOENT, e)
	}
}

// TestOpenAfterAFalseAlarm: a store that takes back what it said has its file
// back.
func TestOpenAfterAFalseAlarm(t *testing.T) {
	m := mock.New()
	want := replicatest.LTX(t, 1, 1)
	name := m.Put(0, 1, 1, want).Name()
	tr := newTree(t, m, false)
	node := tr.walk("ltx", "0000", name).NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	m.FailOnce(mock.OpOpen, replica.ErrReplaced)
	_, e = tr.read(node, fh, 0, 10)
	require.Equal(t, syscall.ESTALE, e)
	tr.release(node, fh)
	_, e = tr.open(node, syscall.O_RDONLY)
	require.Equal(t, syscall.ESTALE, e)
	require.Equal(t, node, tr.walk("ltx", "0000", name).NodeId)
	fh, e = tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	got, e := tr.read(node, fh, 0, len(want))
	require.Zero(t, e)
	assert.Equal(t, want, got)
	tr.release(node, fh)
}

// exactStore is a store like S3, which lists the times of uploads and can find out
// better ones.
type exactStore struct {
	*mock.ReplicaClient
	asked chan ltx.TXID
}

func (c *exactStore) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	c.asked <- minTXID
	f, err := c.StatLTXFile(ctx, level, minTXID, maxTXID)
	f.ModTime = replicatest.DefaultTime
	return f, err
}

// TestMtime: what this mount wrote keeps its LTX timestamp, and with exact times
// everything has it, for one request each.
func TestMtime(t *testing.T) {
	upload := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, exact := range []bool{false, true} {
		m := mock.New()
		m.ListUploadTimes(true)
		m.SetClock(func() time.Time { return upload })
		foreign := m.Put(0, 2, 2, replicatest.LTX(t, 2, 2)).Name()
		store := &exactStore{m, make(chan ltx.TXID, 100)}
		tr := newTreeWith(t, m, Options{Client: store, ReadWrite: true, ExactTimes: exact}, far)
		level := tr.level(0)
		node, fh := tr.stageFile(level, fileName(1, 1), replicatest.LTX(t, 1, 1))
		require.Zero(t, tr.flush(node, fh))
		tr.release(node, fh)
		for len(store.asked) > 0 {
			<-store.asked // whether the name is free
		}
		mtime := func(name string) time.Time {
			out, e := tr.lookup(level, name)
			require.Zero(t, e)
			return out.ModTime().UTC()
		}
		want := upload
		if exact {
			want = replicatest.DefaultTime
		}
		for range 3 { // with no freshness, each asks the store
			names, e := tr.list(level, true)
			require.Zero(t, e)
			require.Len(t, names, 2)
			snapshot, err := tr.fsys.index.Level(t.Context(), 0)
			require.NoError(t, err)
			assert.True(t, snapshot.At(0).ModTime.Equal(replicatest.DefaultTime), "listed as %v", snapshot.At(0).ModTime)
			assert.True(t, snapshot.At(1).ModTime.Equal(want), "listed as %v", snapshot.At(1).ModTime)
		}
		if exact {
			require.Len(t, store.asked, 1, "the own file's is known, and the other's after the first listing")
			assert.Equal(t, ltx.TXID(2), <-store.asked)
		} else {
			assert.Empty(t, store.asked)
		}
		assert.Equal(t, replicatest.DefaultTime, mtime(fileName(1, 1)))
		assert.Equal(t, want, mtime(foreign))
	}
}

// TestSettle: a store that is slow to show what this mount did is not believed
// too early.
func TestSettle(t *testing.T) {
	m := mock.New()
	m.Put(0, 1, 1, replicatest.LTX(t, 1, 1))
	m.SetLag(mock.Lag{Writes: 100, Deletes: 100})
	tr := newTreeWith(t, m, Options{Client: m, ReadWrite: true, Settle: time.Hour}, far)
	level := tr.level(0)
	require.Zero(t, tr.unlink(level, fileName(1, 1)))
	node, fh := tr.stageFile(level, fileName(2, 2), replicatest.LTX(t, 2, 2))
	require.Zero(t, tr.flush(node, fh))
	tr.release(node, fh)
	for range 3 {
		names, e := tr.list(level, false)
		require.Zero(t, e)
		require.Equal(t, []string{fileName(2, 2)}, names)
	}
	require.Positive(t, m.Calls(mock.OpList), "it was the store that was asked")
}
