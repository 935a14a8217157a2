package fs

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// stateAt is the time of the states of newStates.
func stateAt(txid ltx.TXID) time.Time {
	return storetest.DefaultTime.Add(time.Duration(txid) * time.Second)
}

// newStates is a replica with states 1 to n, in level 0.
func newStates(t *testing.T, n ltx.TXID) *mock.Store {
	m := mock.New()
	for txid := ltx.TXID(1); txid <= n; txid++ {
		m.Put(0, txid, txid, storetest.LTX(t, txid, txid, storetest.Timestamp(stateAt(txid))))
	}
	return m
}

// TestStatesRequests: names cost the listings of the levels, sizes a header each, and
// links to instants no more than a search for each.
func TestStatesRequests(t *testing.T) {
	const n = 300
	m := newStates(t, n)
	tr := newDriver(t, m, false)
	_, e := tr.list(tr.walk("db").NodeId, true)
	require.Zero(t, e)
	require.Zero(t, m.Calls(mock.OpList))
	for _, dir := range [][]string{{"db", "at"}} {
		for _, plus := range []bool{false, true} {
			_, e := tr.list(tr.walk(dir...).NodeId, plus)
			require.Zero(t, e)
		}
	}
	assert.Equal(t, 10, m.Calls(mock.OpList))
	assert.Zero(t, m.Calls(mock.OpOpen), "for names, whether the kernel asks for attributes or not")

	at := tr.walk("db", "at").NodeId
	for txid := ltx.TXID(1); txid <= n; txid++ {
		out, e := tr.lookup(at, stateName(txid))
		require.Zero(t, e)
		require.Equal(t, uint64(storetest.DefaultCommit*storetest.DefaultPageSize), out.Size)
		require.Equal(t, uint64(stateAt(txid).Unix()), out.Mtime)
		require.Equal(t, uint32(syscall.S_IFREG|0o444), out.Mode)
		require.Positive(t, out.Blocks)
	}
	assert.Equal(t, n, m.Calls(mock.OpOpen), "for the size of each state")
	assert.LessOrEqual(t, m.BytesRead(), int64(n*ltx.HeaderSize))

	m.ResetCalls()
	names, e := tr.list(tr.walk("db", "time").NodeId, true)
	require.Zero(t, e)
	require.Len(t, names, n)
	require.Equal(t, database.FormatTime(stateAt(1))+".db", names[0])
	assert.Zero(t, m.Calls(mock.OpOpen)+m.Calls(mock.OpList), "what is known isn't asked for again")

	tr = newDriver(t, m, false)
	require.Equal(t, "../at/"+stateName(100), tr.readlink(tr.walk("db", "time", stateAt(100).Add(999*time.Millisecond).Format(time.RFC3339Nano)+".db").NodeId))
	assert.LessOrEqual(t, m.Calls(mock.OpOpen), 10+32, "a search among 300")
	assert.Equal(t, "at/"+stateName(n), tr.readlink(tr.walk("db", "latest.db").NodeId))
}

func (tr *driver) readlink(node uint64) string {
	tr.t.Helper()
	h := header(node)
	target, st := tr.raw.Readlink(nil, &h)
	require.Equal(tr.t, fuse.OK, st)
	return string(target)
}

// TestNoStates: what doesn't exist is remembered by the kernel, for ever what can't and
// for the freshness interval what may come.
func TestNoStates(t *testing.T) {
	m := newStates(t, 3)
	tr := newDriver(t, m, true)
	tr.raw = &watched{tr.raw, newRequests(slog.New(slog.DiscardHandler))}
	at, times := tr.walk("db", "at").NodeId, tr.walk("db", "time").NodeId
	for _, c := range []struct {
		dir  uint64
		name string
		most time.Duration
	}{
		{at, stateName(3) + "-journal", time.Hour},
		{at, stateName(3) + "-wal", time.Hour},
		{at, "3.db", time.Hour},
		{tr.walk("db").NodeId, "latest.db-journal", time.Hour},
		{at, "000000000000000A.db", time.Hour},
		{at, stateName(4), time.Minute},
		{at, stateName(0), time.Minute},
		{times, "yesterday.db", time.Hour},
		{times, "1970-01-01.db", time.Minute},
	} {
		out, e := tr.lookup(c.dir, c.name)
		require.Zero(t, e, c.name)
		require.Zero(t, out.NodeId, c.name)
		require.LessOrEqual(t, out.EntryTimeout(), c.most, c.name)
		require.Greater(t, out.EntryTimeout(), c.most-10*time.Second, c.name)
	}
	_, e := tr.lookup(tr.level(0), fileName(9, 9))
	require.Equal(t, syscall.ENOENT, e, "a file of a level may come any time")
}

// TestStatesReadOnly: below db nothing can be changed, on a mount that can write either.
func TestStatesReadOnly(t *testing.T) {
	tr := newDriver(t, newStates(t, 3), true)
	db := tr.walk("db").NodeId
	for _, dir := range []uint64{db, tr.walk("db", "at").NodeId, tr.walk("db", "time").NodeId} {
		h := header(dir)
		var out fuse.EntryOut
		_, _, e := tr.create(dir, "x", 0)
		require.Equal(t, syscall.EROFS, e)
		require.Equal(t, syscall.EROFS, tr.unlink(dir, stateName(1)))
		require.Equal(t, syscall.EROFS, tr.rename(dir, stateName(1), "x", 0))
		require.Equal(t, fuse.EROFS, tr.raw.Mkdir(nil, &fuse.MkdirIn{InHeader: h}, "x", &out))
		require.Equal(t, fuse.EROFS, tr.raw.Rmdir(nil, &h, "at"))
	}
	state := tr.walk("db", "at", stateName(2)).NodeId
	for _, flags := range []uint32{syscall.O_WRONLY, syscall.O_RDWR, syscall.O_RDONLY | syscall.O_TRUNC} {
		_, e := tr.open(state, flags)
		require.Equal(t, syscall.EROFS, e)
	}
	for _, node := range []uint64{state, db, tr.walk("db", "latest.db").NodeId} {
		var out fuse.AttrOut
		in := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: header(node), Valid: fuse.FATTR_MODE}}
		require.Equal(t, fuse.EROFS, tr.raw.SetAttr(nil, in, &out))
	}
}

// TestStateRead: a state is what its pages make, and stays what it is under its inode.
func TestStateRead(t *testing.T) {
	m := newStates(t, 3)
	tr := newDriverOf(t, m, false, 0, far)
	out := tr.walk("db", "at", stateName(2))
	fh, e := tr.open(out.NodeId, syscall.O_RDONLY)
	require.Zero(t, e)
	before, e := tr.read(out.NodeId, fh, 0, 1<<20)
	require.Zero(t, e)
	require.Len(t, before, int(out.Size))
	require.Equal(t, out.Ino, tr.walk("db", "at", stateName(2)).Ino)

	m.Put(0, 2, 2, storetest.LTX(t, 2, 2, storetest.Timestamp(stateAt(2)), storetest.Seed(7)))
	other := tr.walk("db", "at", stateName(2))
	require.NotEqual(t, out.Ino, other.Ino, "another state of the same TXID")
	// A kernel that finds another inode under a name forgets it, and looks once more.
	tr.raw.Forget(other.NodeId, 1)
	other = tr.walk("db", "at", stateName(2))
	require.NotEqual(t, out.Ino, other.Ino, "while the first is open")
	fh2, e := tr.open(other.NodeId, syscall.O_RDONLY)
	require.Zero(t, e)
	after, e := tr.read(other.NodeId, fh2, 0, 1<<20)
	require.Zero(t, e)
	require.NotEqual(t, before, after)
	got, e := tr.read(out.NodeId, fh, 0, 1<<20)
	if e == 0 {
		require.Equal(t, before, got, "what was cached")
	} else {
		require.Equal(t, syscall.ESTALE, e)
	}
	tr.release(out.NodeId, fh)
	tr.release(other.NodeId, fh2)

	m.Put(0, 3, 3, []byte("damaged"))
	_, e = tr.lookup(tr.walk("db", "at").NodeId, stateName(3))
	require.Equal(t, syscall.EIO, e)
	m.Remove(0, 2, 2)
	_, e = tr.lookup(tr.walk("db", "at").NodeId, stateName(2))
	require.Equal(t, syscall.ENOENT, e)
}

// TestNoDB: without states, there is no db.
func TestNoDB(t *testing.T) {
	tr := newDriverWith(t, Options{Tree: Tree{Store: newStates(t, 3), Freshness: time.Minute}, NoDB: true}, far)
	_, e := tr.lookup(1, "db")
	require.Equal(t, syscall.ENOENT, e)
	names, e := tr.list(1, true)
	require.Zero(t, e)
	require.ElementsMatch(t, []string{"ltx", "snapshots"}, names)
}

// TestStatesDeadline: a store that hangs holds up nobody for longer than the deadline,
// whatever of a state is asked for.
func TestStatesDeadline(t *testing.T) {
	m := newStates(t, 3)
	tr := newDriverOf(t, m, false, time.Minute, soon)
	hang := func(op mock.Op) (remove func()) { return m.Inject(mock.Fault{Op: op, Wait: make(chan struct{})}) }

	remove := hang(mock.OpList)
	_, e := tr.list(tr.walk("db", "at").NodeId, false)
	require.Equal(t, syscall.ETIMEDOUT, e, "the names")
	remove()
	remove = hang(mock.OpOpen)
	_, e = tr.lookup(tr.walk("db", "at").NodeId, stateName(2))
	require.Equal(t, syscall.ETIMEDOUT, e, "the size")
	_, e = tr.list(tr.walk("db", "time").NodeId, false)
	require.Equal(t, syscall.ETIMEDOUT, e, "the times")
	remove()
	// Who comes just now shares what is about to fail.
	require.Eventually(t, func() bool {
		_, e := tr.lookup(tr.walk("db", "at").NodeId, stateName(2))
		return e == 0
	}, far, 10*time.Millisecond)
	state := tr.walk("db", "at", stateName(2)).NodeId
	remove = hang(mock.OpRead)
	_, e = tr.open(state, syscall.O_RDONLY)
	require.Equal(t, syscall.ETIMEDOUT, e, "the page indexes")
	remove()
	var fh uint64
	require.Eventually(t, func() bool {
		fh, e = tr.open(state, syscall.O_RDONLY)
		return e == 0
	}, far, 10*time.Millisecond)
	remove = hang(mock.OpRead)
	_, e = tr.read(state, fh, 0, 4096)
	require.Equal(t, syscall.ETIMEDOUT, e, "a page")
	remove()
	// A read that failed late isn't tried again at once.
	require.Eventually(t, func() bool {
		_, e := tr.read(state, fh, 0, 4096)
		return e == 0
	}, far, 50*time.Millisecond, "once the store answers")
	tr.release(state, fh)
}
