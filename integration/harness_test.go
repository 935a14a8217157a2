package integration

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// The harness's own system calls, against a directory on disk.
func TestProcess(t *testing.T) {
	dir := t.TempDir()
	p := ltxfstest.NewProcess(t, dir, nil)

	f, err := p.Open("a", syscall.O_CREAT|syscall.O_EXCL|syscall.O_RDWR, 0o640)
	require.NoError(t, err)
	require.NoError(t, f.Write([]byte("hello ")))
	require.NoError(t, f.Write([]byte("world")))
	require.NoError(t, f.WriteAt([]byte("J"), 0))
	data, err := f.ReadAt(100, 2)
	require.NoError(t, err)
	require.Equal(t, "llo world", string(data))
	require.NoError(t, f.Fsync())
	require.NoError(t, f.Close())
	require.Equal(t, syscall.EBADF, f.Close())

	_, err = p.Open("a", syscall.O_CREAT|syscall.O_EXCL|syscall.O_RDWR, 0o640)
	require.Equal(t, syscall.EEXIST, err)
	require.Equal(t, syscall.ENOENT, p.Rename("b", "c", 0))
	require.NoError(t, p.Mkdir("d"))
	require.NoError(t, p.Rename("a", "d/a", 0))
	names, err := p.ReadDir("d")
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	st, err := p.Stat(filepath.Join(dir, "d", "a"))
	require.NoError(t, err)
	require.Equal(t, int64(11), st.Size)
	require.Equal(t, uint32(0o640), st.Perm())
	require.True(t, !st.IsDir() && !st.IsLink())
	require.Equal(t, map[string]string{"d/a": ltxfstest.SHA256([]byte("Jello world"))}, ltxfstest.Tree(t, dir))
}
