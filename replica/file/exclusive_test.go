package file

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// A file system that can't rename without replacing, as NFS, has links.
func TestWriteExclusiveWithoutRenameFlag(t *testing.T) {
	for _, no := range []error{unix.EINVAL, unix.ENOSYS} {
		c := noUnnamedFiles(New(t.TempDir(), replica.LitestreamFile))
		c.sys.rename = func(dir int, from, to string, flags uint) error {
			if flags != 0 {
				return no
			}
			return rename(dir, from, to, flags)
		}
		f, err := c.WriteLTXFileExclusive(t.Context(), 0, 1, 1, bytes.NewReader([]byte("first")))
		require.NoError(t, err)
		for range 2 {
			_, err = c.WriteLTXFileExclusive(t.Context(), 0, 1, 1, bytes.NewReader([]byte("second")))
			require.ErrorIs(t, err, os.ErrExist)
		}
		got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
		require.NoError(t, err)
		assert.Equal(t, f, got)
		data, err := os.ReadFile(pathOf(c, 0, 1, 1))
		require.NoError(t, err)
		assert.Equal(t, "first", string(data))
		assert.Equal(t, []string{"ltx", "ltx/0", "ltx/0/" + ltx.FormatFilename(1, 1)}, tree(t, c.Path()))
	}
}

// A stranger has the name, and keeps it.
func TestWriteExclusiveStranger(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		write(t, c, 0, 1, 1, nil)
		require.NoError(t, os.Symlink("nowhere", pathOf(c, 0, 2, 2)))
		_, err := c.WriteLTXFileExclusive(t.Context(), 0, 2, 2, bytes.NewReader([]byte("x")))
		require.ErrorIs(t, err, os.ErrExist)
		target, err := os.Readlink(pathOf(c, 0, 2, 2))
		require.NoError(t, err)
		assert.Equal(t, "nowhere", target)
		assert.Len(t, tree(t, c.Path()), 4)
	})
}
