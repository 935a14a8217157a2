package fs

import (
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// The tests here are of stores that aren't on local disk.

// TestStatfsTouchesNoStore: df shows room, and asks nobody.
func TestStatfsTouchesNoStore(t *testing.T) {
	m := mock.New()
	m.Inject(mock.Fault{Wait: make(chan struct{})})
	tr := newDriver(t, m, true)
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
		old := storetest.LTX(t, 1, 1, storetest.Seed(1))
		changed := storetest.LTX(t, 1, 1, storetest.Seed(2))
		name := m.Put(0, 1, 1, old).Base()
		tr := newDriver(t, m, false)
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
		tr.mount.blocks.Drop("", current)
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
// back. One that says it again and again is a fault, and no news.
func TestOpenAfterAFalseAlarm(t *testing.T) {
	var log strings.Builder
	m := mock.New()
	want := storetest.LTX(t, 1, 1)
	name := m.Put(0, 1, 1, want).Base()
	tr := newDriverWith(t, Options{Tree: Tree{Store: m, Freshness: time.Minute}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, far)
	node := tr.walk("ltx", "0000", name).NodeId
	for i, level := range []string{"INFO", "ERROR"} {
		fh, e := tr.open(node, syscall.O_RDONLY)
		require.Zero(t, e)
		m.FailOnce(mock.OpOpen, replica.ErrReplaced)
		_, e = tr.read(node, fh, 0, 10)
		require.Equal(t, syscall.ESTALE, e)
		require.Equal(t, i+1, strings.Count(log.String(), "can't read"))
		require.Equal(t, 1, strings.Count(log.String(), "level="+level+` msg="can't read"`))
		tr.release(node, fh)
		_, e = tr.open(node, syscall.O_RDONLY)
		require.Equal(t, syscall.ESTALE, e)
		require.Equal(t, node, tr.walk("ltx", "0000", name).NodeId)
	}
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	got, e := tr.read(node, fh, 0, len(want))
	require.Zero(t, e)
	assert.Equal(t, want, got)
	tr.release(node, fh)
}

// TestMtime: what this mount wrote keeps its LTX timestamp, and with exact times
// everything has it, for one request each.
func TestMtime(t *testing.T) {
	upload := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, exact := range []bool{false, true} {
		m := mock.New()
		m.ListUploadTimes(true)
		m.SetClock(func() time.Time { return upload })
		foreign := m.Put(0, 2, 2, storetest.LTX(t, 2, 2)).Base()
		tr := newDriverWith(t, Options{Tree: Tree{Store: m, ExactTimes: exact}, ReadWrite: true}, far)
		level := tr.level(0)
		node, fh := tr.stageFile(level, fileName(1, 1), storetest.LTX(t, 1, 1))
		require.Zero(t, tr.flush(node, fh))
		tr.release(node, fh)
		m.ResetCalls() // whether the name is free
		mtime := func(name string) time.Time {
			out, e := tr.lookup(level, name)
			require.Zero(t, e)
			return out.ModTime().UTC()
		}
		want := upload
		if exact {
			want = storetest.DefaultTime
		}
		for range 3 { // with no freshness, each asks the store
			names, e := tr.list(level, true)
			require.Zero(t, e)
			require.Len(t, names, 2)
			snapshot, err := tr.tree.index.Level(t.Context(), 0)
			require.NoError(t, err)
			assert.True(t, snapshot.At(0).ModTime.Equal(storetest.DefaultTime), "listed as %v", snapshot.At(0).ModTime)
			assert.True(t, snapshot.At(1).ModTime.Equal(want), "listed as %v", snapshot.At(1).ModTime)
		}
		if exact {
			require.Equal(t, 1, m.Calls(mock.OpHead), "the own file's is known, and the other's after the first listing")
			assert.Equal(t, 1, m.CallsFor(mock.OpHead, nameOf(2, 2)))
		} else {
			assert.Zero(t, m.Calls(mock.OpHead))
		}
		assert.Equal(t, storetest.DefaultTime, mtime(fileName(1, 1)))
		assert.Equal(t, want, mtime(foreign))
	}
}

// settling is a store that may contradict a change for an hour.
type settling struct{ *mock.Store }

func (settling) Properties() replica.Properties { return replica.Properties{Settle: time.Hour} }

// TestSettle: a store that is slow to show what this mount did is not believed
// too early.
func TestSettle(t *testing.T) {
	m := mock.New()
	m.Put(0, 1, 1, storetest.LTX(t, 1, 1))
	m.SetLag(mock.Lag{Writes: 100, Deletes: 100})
	tr := newDriverOf(t, settling{m}, true, 0, far)
	level := tr.level(0)
	require.Zero(t, tr.unlink(level, fileName(1, 1)))
	node, fh := tr.stageFile(level, fileName(2, 2), storetest.LTX(t, 2, 2))
	require.Zero(t, tr.flush(node, fh))
	tr.release(node, fh)
	for range 3 {
		names, e := tr.list(level, false)
		require.Zero(t, e)
		require.Equal(t, []string{fileName(2, 2)}, names)
	}
	require.Positive(t, m.Calls(mock.OpList), "it was the store that was asked")
}

// TestReplacedBlocksGo: once a lookup or a listing finds another version, what is
// cached of the replaced one only takes room.
func TestReplacedBlocksGo(t *testing.T) {
	m := mock.New()
	old := m.Put(0, 1, 1, storetest.LTX(t, 1, 1, storetest.Seed(1)))
	tr := newDriverOf(t, m, false, 0, far)
	node := tr.walk("ltx", "0000", old.Base()).NodeId
	fh, e := tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	_, e = tr.read(node, fh, 0, 4096)
	require.Zero(t, e)
	_, e = tr.lookup(tr.level(0), old.Base())
	require.Zero(t, e)
	require.Positive(t, tr.mount.budget.Used(), "the same version")
	m.Put(0, 1, 1, storetest.LTX(t, 1, 1, storetest.Seed(2)))
	_, e = tr.lookup(tr.level(0), old.Base())
	require.Zero(t, e)
	require.Zero(t, tr.mount.budget.Used())
	tr.release(node, fh)

	node = tr.walk("ltx", "0000", old.Base()).NodeId
	fh, e = tr.open(node, syscall.O_RDONLY)
	require.Zero(t, e)
	_, e = tr.read(node, fh, 0, 4096)
	require.Zero(t, e)
	require.Positive(t, tr.mount.budget.Used())
	m.Put(0, 1, 1, storetest.LTX(t, 1, 1, storetest.Seed(3)))
	_, e = tr.list(tr.level(0), true)
	require.Zero(t, e)
	require.Zero(t, tr.mount.budget.Used())
	tr.release(node, fh)
}
