package integration

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// The tools that people have read a replica on disk.
func TestReadTools(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	m := ltxfstest.Mount(t, root)
	ltxfstest.ReadOrders(t, m, root)
	t.Run("df", func(t *testing.T) {
		var st syscall.Statfs_t
		require.NoError(t, syscall.Statfs(root, &st))
		got := strings.Fields(ltxfstest.Shell(t, `df -B1 --output=size,used,avail,itotal,fstype,target "$1" | tail -n 1`, m.Dir))
		require.Len(t, got, 6)
		require.Equal(t, strconv.FormatInt(int64(st.Blocks)*st.Frsize, 10), got[0], "size is that of the disk behind")
		for i, what := range []string{"size", "used", "avail", "inodes"} {
			n, err := strconv.ParseInt(got[i], 10, 64)
			require.NoError(t, err)
			require.Positive(t, n, what)
		}
		require.Equal(t, "fuse.ltxfs", got[4])
		require.Equal(t, m.Dir, got[5])
	})
}
