package integration

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// tree is what a replica's directory holds: each file's SHA-256 by its path.
type tree = map[string]string

// treeOf is the tree of a replica with these files at level 0, by name.
func treeOf(files map[string][]byte) tree {
	want := tree{}
	for name, data := range files {
		want[ltxfstest.StorePath(0, name)] = ltxfstest.SHA256(data)
	}
	return want
}

// requireTree checks all that a replica's directory holds, under whatever names.
func requireTree(t *testing.T, root string, files map[string][]byte) {
	t.Helper()
	require.Equal(t, treeOf(files), ltxfstest.Tree(t, root), "what the replica's directory holds")
}

// requirePublished checks that these files at level 0, and no others, are in the
// replica and in the mount, with their bytes and the times of their headers.
func requirePublished(t *testing.T, m *ltxfstest.Mounted, root string, files map[string][]byte) {
	t.Helper()
	requireTree(t, root, files)
	p := m.Process(t)
	var names []string
	for name, data := range files {
		names = append(names, name)
		info, err := os.Stat(filepath.Join(root, ltxfstest.StorePath(0, name)))
		require.NoError(t, err)
		require.Equal(t, ltxfstest.HeaderTime(t, data), info.ModTime().UTC(), "mtime of %s in the replica", name)

		st, err := p.Stat(ltxfstest.LevelPath(0, name))
		require.NoError(t, err)
		require.Equal(t, ltxfstest.HeaderTime(t, data), st.ModTime, "mtime of %s in the mount", name)
		require.Equal(t, int64(len(data)), st.Size, "size of %s in the mount", name)
		got, err := p.ReadFile(ltxfstest.LevelPath(0, name))
		require.NoError(t, err)
		require.Equal(t, ltxfstest.SHA256(data), ltxfstest.SHA256(got), "content of %s in the mount", name)
	}
	ltxfstest.RequireNames(t, p, "ltx/0000", names...)
}

// requireCleanEnd unmounts a mount that has published all it was given.
func requireCleanEnd(t *testing.T, m *ltxfstest.Mounted) {
	t.Helper()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.Empty(t, stagingTree(t, m.Staging), "the staging directory")
}

// stagingTree is what a staging directory holds, but for its locks.
func stagingTree(t *testing.T, staging string) tree {
	t.Helper()
	files := ltxfstest.Tree(t, staging)
	maps.DeleteFunc(files, func(name, _ string) bool { return filepath.Base(name) == "open.lock" })
	return files
}

// testFile is a valid LTX file, with its name.
func testFile(t *testing.T, txid ltx.TXID, opts ...storetest.Option) (name string, data []byte) {
	t.Helper()
	opts = append([]storetest.Option{storetest.Timestamp(storetest.DefaultTime.Add(time.Duration(txid) * time.Second))}, opts...)
	return ltx.FormatFilename(txid, txid), storetest.LTX(t, txid, txid, opts...)
}

// saveFile writes a file into a directory of the test's own, with a time that
// isn't its header's.
func saveFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

// Every usual way of getting a file into a directory publishes it, whole and with
// its own time, and leaves nothing else in the replica. $1 is the file, $2 the
// directory of its level in the mount, $3 its name.
func TestWriteTools(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"cp":                  `cp "$1" "$2/"`,
		"cp -p":               `cp -p "$1" "$2/$3"`,
		"cp -a":               `cp -a "$1" "$2/"`,
		"cp --no-preserve":    `cp --no-preserve=all --reflink=never --sparse=never "$1" "$2/"`,
		"cp over":             `cp "$1" "$2/"; cp "$1" "$2/"`,
		"cp through the link": `cp "$1" "$2/../0/"`,
		"cp -n":               `cp -n "$1" "$2/"`,
		"cp --remove":         `cp --remove-destination "$1" "$2/"; cp --remove-destination "$1" "$2/"`,
		"cp and mv":           `cp "$1" "$2/upload.tmp"; mv "$2/upload.tmp" "$2/$3"`,
		"cp -p and mv":        `cp -p "$1" "$2/.$3.part"; mv "$2/.$3.part" "$2/$3"`,
		"mv between levels":   `cp "$1" "$2/../0005/upload.tmp"; mv "$2/../0005/upload.tmp" "$2/$3"`,
		"mv -n":               `cp "$1" "$2/upload.tmp"; mv -n "$2/upload.tmp" "$2/$3"; [ ! -e "$2/upload.tmp" ]`,
		"mv over":             `cp "$1" "$2/"; cp "$1" "$2/upload.tmp"; mv -f "$2/upload.tmp" "$2/$3"`,
		"mv from outside":     `mv "$1" "$2/"; [ ! -e "$1" ]`,
		"mv -f from outside":  `cp "$1" "$2/"; mv -f "$1" "$2/$3"; [ ! -e "$1" ]`,
		"rsync -a":            `rsync -a "$1" "$2/"; [ -z "$(rsync -ac --itemize-changes "$1" "$2/" | grep '^>' || true)" ]`,
		"rsync -a of a tree":  `rsync -a "$(dirname "$1")/" "$2/"`,
		"rsync --inplace":     `rsync -a --inplace "$1" "$2/"`,
		"rsync -a twice":      `rsync -a "$1" "$2/"; touch "$1"; rsync -a "$1" "$2/"`,
		"dd":                  `dd status=none if="$1" of="$2/$3"`,
		"dd bs=100":           `dd status=none bs=100 if="$1" of="$2/$3"`,
		"dd conv=fsync":       `dd status=none bs=1M conv=fsync if="$1" of="$2/$3"`,
		"dd oflag=sync":       `dd status=none bs=1M if="$1" of="$2/upload.tmp" oflag=sync; mv "$2/upload.tmp" "$2/$3"`,
		"tar x":               `tar -C "$(dirname "$1")" -c "$3" | tar -C "$2" -x`,
		"tar x over":          `tar -C "$(dirname "$1")" -c "$3" > "$1.tar"; tar -C "$2" -xf "$1.tar"; tar -C "$2" -xf "$1.tar"`,
		"tar xp":              `tar -C "$(dirname "$1")" -c "$3" | tar -C "$2" -xp --same-owner`,
		"cat >":               `cat "$1" > "$2/$3"`,
		"cat > over":          `cat "$1" > "$2/$3"; cat "$1" > "$2/$3"`,
		"cat | cat >":         `cat "$1" | cat > "$2/$3"`,
		"noclobber":           `set -C; cat "$1" > "$2/$3"`,
		"tee":                 `tee "$2/$3" < "$1" > /dev/null`,
		"install":             `install -m 600 "$1" "$2/$3"`,
		"touch and cp":        `touch "$2/$3"; cp "$1" "$2/$3"`,
		"truncate and cat":    `: > "$2/$3"; cat "$1" > "$2/$3"`,
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			m := ltxfstest.Mount(t, root, "--rw")
			name, data := testFile(t, 0x21, storetest.Commit(40))
			ltxfstest.Shell(t, script, saveFile(t, name, data), m.Path("ltx/0000"), name)
			requirePublished(t, m, root, map[string][]byte{name: data})
			requireCleanEnd(t, m)
		})
	}
}

// A whole replica goes in at once, and Litestream restores from it.
func TestWriteWholeReplica(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"rsync":           `for l in 0 1 2 9; do rsync -a "$1/ltx/$l/" "$2/ltx/$l/"; done`,
		"cp":              `for l in 0 1 2 9; do cp -p "$1/ltx/$l"/* "$2/ltx/000$l/"; done`,
		"cp, 8 at a time": `for l in 0 1 2 9; do ls "$1/ltx/$l"/* | xargs -P 8 -n 1 cp -p -t "$2/ltx/000$l/"; done`,
		"tar":             `for l in 0 1 2 9; do tar -C "$1/ltx/$l" -c . | tar -C "$2/ltx/000$l" -x; done`,
	} {
		t.Run(name, func(t *testing.T) {
			root, orders := t.TempDir(), ltxfstest.Orders(t)
			m := ltxfstest.Mount(t, root, "--rw")
			ltxfstest.Shell(t, script, orders, m.Dir)
			require.Equal(t, ltxfstest.Tree(t, orders), ltxfstest.Tree(t, root))
			for _, f := range ltxfstest.OrdersFiles(t) {
				info, err := os.Stat(filepath.Join(root, f.StorePath()))
				require.NoError(t, err)
				require.Equal(t, f.ModTime, info.ModTime().UTC(), f.Name)
			}
			requireCleanEnd(t, m)
			byTXID, _ := ltxfstest.OrdersStates(t)
			require.Equal(t, byTXID[23].SHA256, restore(t, root))
		})
	}
}

// The calls of Litestream's file client, in their order.
func TestWriteLikeLitestream(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m := ltxfstest.Mount(t, root, "--rw")
	p := m.Process(t)
	name, data := testFile(t, 0x30, storetest.Commit(300), storetest.Noise())
	path := "ltx/0/" + name

	st, err := p.Stat("ltx/0")
	require.NoError(t, err)
	require.True(t, st.IsDir())
	f, err := p.Open(path+".tmp", unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o600)
	require.NoError(t, err)
	require.NoError(t, p.Chown(path+".tmp", os.Getuid(), os.Getgid()))
	require.NoError(t, f.Write(data[:100]))
	for rest := data[100:]; len(rest) > 0; {
		n := min(32<<10, len(rest))
		require.NoError(t, f.Write(rest[:n]))
		rest = rest[n:]
	}
	require.NoError(t, f.Fsync())
	st, err = f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(len(data)), st.Size)
	require.NoError(t, f.Close())
	requireTree(t, root, nil)

	_, err = p.Lstat(path)
	require.Equal(t, unix.ENOENT, err)
	require.NoError(t, p.Rename(path+".tmp", path, 0))
	requireTree(t, root, map[string][]byte{name: data})
	dir, err := p.Open("ltx/0", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	require.NoError(t, dir.Fsync())
	require.NoError(t, dir.Close())
	require.NoError(t, p.Utimes(path, ltxfstest.HeaderTime(t, data)))

	requirePublished(t, m, root, map[string][]byte{name: data})
	requireCleanEnd(t, m)
}
