package integration

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A staged file that its disk damages after it was verified is refused as one that is
// damaged before. It stays, and is named.
func TestStagedDamage(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1, storetest.Commit(1000), storetest.Noise())
	w := mountWritable(t)
	for i, at := range []int{100, len(data) / 2, storetest.LastPage(data)} {
		staged, err := w.m.WriteDamaged(t, w.Process, file1, data, at)
		require.Equal(t, syscall.EBADMSG, err, "byte %d", at)
		w.holds(t, nil)
		w.shows(t, file1, staged)
		requireInStaging(t, w.m.Staging, staged)
		require.NoError(t, w.Unlink(file1))
		require.Equal(t, i+1, strings.Count(w.m.Log(), "the bytes have changed since they were verified"))
	}

	require.NoError(t, w.WriteFile(file1, data))
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	_, err := w.m.WriteDamaged(t, w.Process, file1, data, len(data)/2)
	require.Equal(t, syscall.EBADMSG, err)
	w.holds(t, map[string][]byte{name1: data})
	require.Equal(t, ltxfstest.ExitUnpublished, w.m.Terminate(t), w.m.Log())
	require.Contains(t, w.m.Log(), name1)
}
