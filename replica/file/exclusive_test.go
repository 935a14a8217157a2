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
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A file system that can't rename without replacing, as NFS, has links.
func TestWriteExclusiveWithoutRenameFlag(t *testing.T) {
	for _, no := range []error{unix.EINVAL, unix.ENOSYS} {
		s := noUnnamedFiles(New(t.TempDir(), replica.LitestreamFile))
		s.sys.rename = func(from, to string, exclusive bool) error {
			if exclusive {
				return no
			}
			return rename(from, to, exclusive)
		}
		f, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader([]byte("first")), replica.WriteOptions{Exclusive: true})
		require.NoError(t, err)
		for range 2 {
			_, err = s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader([]byte("second")), replica.WriteOptions{Exclusive: true})
			require.ErrorIs(t, err, os.ErrExist)
		}
		got, err := s.StatLTXFile(t.Context(), storetest.Name(0, 1, 1), replica.StatOptions{})
		require.NoError(t, err)
		assert.Equal(t, f, got)
		data, err := os.ReadFile(pathOf(s, 0, 1, 1))
		require.NoError(t, err)
		assert.Equal(t, "first", string(data))
		assert.Equal(t, []string{"ltx", "ltx/0", "ltx/0/" + ltx.FormatFilename(1, 1)}, tree(t, s.Path()))
	}
}

// A stranger has the name, and keeps it.
func TestWriteExclusiveStranger(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		write(t, s, 0, 1, 1, nil)
		require.NoError(t, os.Symlink("nowhere", pathOf(s, 0, 2, 2)))
		_, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 2, 2), bytes.NewReader([]byte("x")), replica.WriteOptions{Exclusive: true})
		require.ErrorIs(t, err, os.ErrExist)
		target, err := os.Readlink(pathOf(s, 0, 2, 2))
		require.NoError(t, err)
		assert.Equal(t, "nowhere", target)
		assert.Len(t, tree(t, s.Path()), 4)
	})
}
