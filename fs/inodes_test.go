package fs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// TestKnownInodes: an inode that the kernel knows counts once, however often its name
// is looked up. Else ls -l of a large level would make the kernel forget files in use.
func TestKnownInodes(t *testing.T) {
	m := mock.New()
	const n = 300
	for i := ltx.TXID(1); i <= n; i++ {
		m.Put(0, i, i, []byte("x"))
	}
	tr := newDriver(t, m, true)
	level := tr.level(0)
	queued := func() int {
		tr.mount.inodes.mu.Lock()
		defer tr.mount.inodes.mu.Unlock()
		return len(tr.mount.inodes.queue)
	}
	for range 3 {
		names, e := tr.list(level, true)
		require.Zero(t, e)
		require.Len(t, names, n)
		_, e = tr.lookup(level, fileName(1, 1))
		require.Zero(t, e)
		require.Equal(t, n, queued())
	}

	// Once the kernel has forgotten one, it counts again.
	out, e := tr.lookup(level, fileName(7, 7))
	require.Zero(t, e)
	tr.raw.Forget(out.NodeId, 3+1)
	_, e = tr.lookup(level, fileName(7, 7))
	require.Zero(t, e)
	assert.Equal(t, n+1, queued())

	// So does one that was known as a staged file until it was published.
	node, fh := tr.stageFile(level, "upload.tmp", storetest.LTX(t, n+1, n+1))
	tr.release(node, fh)
	require.Zero(t, tr.rename(level, "upload.tmp", fileName(n+1, n+1), 0))
	for range 2 {
		_, e = tr.lookup(level, fileName(n+1, n+1))
		require.Zero(t, e)
		assert.Equal(t, n+2, queued())
	}
}

// TestNamesWithoutInodes: who reads names alone has no inode made for them, and the kernel knows of none.
func TestNamesWithoutInodes(t *testing.T) {
	m := mock.New()
	for i := ltx.TXID(1); i <= 3000; i++ {
		m.Put(0, i, i, []byte("x"))
	}
	tr := newDriver(t, m, false)
	level := tr.level(0)
	names, e := tr.list(level, false)
	require.Zero(t, e)
	require.Len(t, names, 3000)
	require.Zero(t, tr.mount.inodes.known())
}
