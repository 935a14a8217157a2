package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// Litestream restores every state from a mount as it does from the directory
// behind it.
func TestRestore(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	m := ltxfstest.Mount(t, root)
	byTXID, byTime := ltxfstest.OrdersStates(t)
	require.Len(t, byTXID, 24)
	require.Len(t, byTime, 23)

	for _, s := range byTXID {
		t.Run("txid "+s.TXID, func(t *testing.T) {
			require.Equal(t, s.SHA256, restore(t, m.Dir, "-txid", s.TXID))
		})
	}
	for _, s := range byTime {
		t.Run("timestamp "+s.Time, func(t *testing.T) {
			require.Equal(t, s.SHA256, restore(t, m.Dir, "-timestamp", s.Time))
		})
	}
	t.Run("latest", func(t *testing.T) {
		require.Equal(t, byTXID[23].SHA256, restore(t, m.Dir, "-integrity-check", "full"))
	})
	t.Run("unknown txid", func(t *testing.T) {
		result := ltxfstest.Run(t, ltxfstest.Timeout, ltxfstest.Tool(t, "litestream"),
			"restore", "-txid", "00000000000000ff", "-o", filepath.Join(t.TempDir(), "db"), "file://"+m.Dir)
		require.NotEqual(t, 0, result.Code, result)
	})
}

// restore restores a database from a directory and returns its SHA-256.
func restore(t *testing.T, dir string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "restored.db")
	args := append(append([]string{"restore"}, flags...), "-o", out, "file://"+dir)
	ltxfstest.MustRun(t, ltxfstest.Tool(t, "litestream"), args...)
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	return ltxfstest.SHA256(data)
}

func TestLitestreamList(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	m := ltxfstest.Mount(t, root)

	list := func(dir string, flags ...string) string {
		args := append(append([]string{"ltx"}, flags...), "file://"+dir)
		return ltxfstest.MustRun(t, ltxfstest.Tool(t, "litestream"), args...)
	}
	for _, flags := range [][]string{{"-level", "all", "-json"}, {"-level", "all"}, {"-level", "0"}, {"-level", "5", "-json"}, {"-level", "9"}} {
		require.Equal(t, list(root, flags...), list(m.Dir, flags...), "%v", flags)
	}
	var files []json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(list(m.Dir, "-level", "all", "-json")), &files))
	require.Len(t, files, 40)
}
