package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
)

// The same replica in each layout, found by itself and by name, looks the same.
func TestLayouts(t *testing.T) {
	t.Parallel()
	for _, layout := range replica.Layouts {
		t.Run(layout.Name, func(t *testing.T) {
			root := ltxfstest.OrdersIn(t, layout)
			ltxfstest.RequireOrders(t, ltxfstest.Mount(t, root))
			ltxfstest.RequireOrders(t, ltxfstest.Mount(t, root, "--layout", layout.Name))
			ltxfstest.RequireOrders(t, ltxfstest.Mount(t, "file://"+root, "--layout=auto"))
		})
	}
}

// What a mount writes lies where the layout says.
func TestLayoutsWrite(t *testing.T) {
	t.Parallel()
	f := ltxfstest.OrdersFiles(t)[0]
	snapshot := ltxfstest.OrdersFiles(t)[37]
	require.Equal(t, 9, snapshot.Level)
	for _, layout := range replica.Layouts {
		t.Run(layout.Name, func(t *testing.T) {
			root := t.TempDir()
			m := ltxfstest.Mount(t, root, "--rw", "--layout", layout.Name)
			p := m.Process(t)
			require.NoError(t, p.WriteFile(f.Path(), ltxfstest.OrdersData(t, f)))
			require.NoError(t, p.WriteFile("snapshots/"+snapshot.Name, ltxfstest.OrdersData(t, snapshot)))
			require.Equal(t, map[string]string{
				filepath.Join(layout.LevelDir(0), f.Name):        ltxfstest.SHA256(ltxfstest.OrdersData(t, f)),
				filepath.Join(layout.LevelDir(9), snapshot.Name): ltxfstest.SHA256(ltxfstest.OrdersData(t, snapshot)),
			}, ltxfstest.Tree(t, root))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}

// A store without files gets the layout in which Litestream can read it.
func TestLayoutOfEmptyStore(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m := ltxfstest.Mount(t, root, "--rw")
	f := ltxfstest.OrdersFiles(t)[0]
	require.NoError(t, m.Process(t).WriteFile(f.Path(), ltxfstest.OrdersData(t, f)))
	require.FileExists(t, filepath.Join(root, f.StorePath()))
}

func TestMixedLayouts(t *testing.T) {
	t.Parallel()
	for i, a := range replica.Layouts {
		b := replica.Layouts[(i+1)%len(replica.Layouts)]
		t.Run(a.Name+" and "+b.Name, func(t *testing.T) {
			root := ltxfstest.OrdersIn(t, a)
			f := ltxfstest.OrdersFiles(t)[0]
			stranger := filepath.Join(root, b.LevelDir(f.Level), f.Name)
			ltxfstest.Store(t, stranger, ltxfstest.OrdersData(t, f), f.ModTime)

			dir := ltxfstest.MountPoint(t)
			result := ltxfstest.Ltxfs(t, "mount", root, dir)
			require.Equal(t, ltxfstest.ExitNoReplica, result.Code, result)
			require.Contains(t, result.Stderr, a.Name)
			require.Contains(t, result.Stderr, b.Name)
			require.Empty(t, ltxfstest.Mounts(dir))

			ltxfstest.RequireOrders(t, ltxfstest.Mount(t, root, "--layout", a.Name))

			require.NoError(t, os.Remove(stranger))
			ltxfstest.RequireOrders(t, ltxfstest.Mount(t, root))
		})
	}
}
