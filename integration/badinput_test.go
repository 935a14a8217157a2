package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// badFile is what must not be published under the name of file1.
type badFile struct {
	name string
	data []byte
	want syscall.Errno
}

func badFiles(t *testing.T) []badFile {
	t.Helper()
	_, good := testFile(t, 1, storetest.Commit(6))
	_, other := testFile(t, 2)
	// From the end: the trailer, the size of the index, the index.
	trailer := len(good) - ltx.TrailerSize
	index := trailer - 8 - int(binary.BigEndian.Uint64(good[trailer-8:]))
	require.Greater(t, index, 1000)

	files := []badFile{
		{"text", []byte("This is no LTX file.\n"), syscall.EBADMSG},
		{"long text", bytes.Repeat([]byte("This is no LTX file.\n"), 10_000), syscall.EBADMSG},
		{"one byte", []byte("L"), syscall.EBADMSG},
		{"zeros", make([]byte, 4096), syscall.EBADMSG},
		{"random", randomBytes(4096), syscall.EBADMSG},
		{"magic and random", append([]byte("LTX1"), randomBytes(4092)...), syscall.EBADMSG},
		{"header and random", append(slices.Clone(good[:ltx.HeaderSize]), randomBytes(4096)...), syscall.EBADMSG},
		{"followed by a byte", append(slices.Clone(good), 0), syscall.EBADMSG},
		{"twice", append(slices.Clone(good), good...), syscall.EBADMSG},
		{"of other TXIDs", other, syscall.EINVAL},
		{"of a longer range", storetest.LTX(t, 1, 2), syscall.EINVAL},
		{"a snapshot that lacks a page", withoutPage(t), syscall.EBADMSG},
	}
	for where, n := range map[string]int{
		"in the header":       50,
		"after the header":    ltx.HeaderSize,
		"in a page's header":  ltx.HeaderSize + 3,
		"in a page":           ltx.HeaderSize + 100,
		"in the last page":    index - 10,
		"before the index":    index,
		"in the index":        index + 5,
		"before the trailer":  trailer,
		"in the trailer":      trailer + 8,
		"before the last one": len(good) - 1,
	} {
		files = append(files, badFile{"cut " + where, good[:n], syscall.EBADMSG})
	}
	for where, at := range map[string]int{
		"the magic":         0,
		"the flags":         6,
		"the page size":     9,
		"the commit":        15,
		"the timestamp":     38,
		"the node id":       79,
		"the reserved part": 99,
		"a page number":     ltx.HeaderSize + 3,
		"a page's size":     ltx.HeaderSize + 9,
		"page data":         ltx.HeaderSize + 40,
		"late page data":    index - 20,
		"the end of pages":  index - 3,
		"the index":         index + 2,
		"the index's size":  trailer - 1,
		"the file checksum": len(good) - 1,
	} {
		flipped := slices.Clone(good)
		flipped[at] ^= 0x10
		files = append(files, badFile{"flipped in " + where, flipped, syscall.EBADMSG})
	}
	return files
}

// withoutPage is a file from TXID 1, hence a snapshot, that has its own checksum
// right but lacks its last page.
func withoutPage(t *testing.T) []byte {
	t.Helper()
	return storetest.LTX(t, 1, 1, storetest.Commit(3), storetest.Pages(1, 2))
}

func randomBytes(n int) []byte {
	random := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = random.Read(b)
	return b
}

// Bad files are refused by each of the calls that publish. They stay readable
// where they are until they are removed, and no trace of them is in the replica.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for _, bad := range badFiles(t) {
		t.Run(bad.name, func(t *testing.T) {
			w := mountWritable(t)

			// close
			require.Equal(t, bad.want, w.WriteFile(file1, bad.data), "close")
			w.keeps(t, file1, bad.data)

			// fsync, and close all the same
			f, err := w.Create(file1)
			require.NoError(t, err)
			require.NoError(t, f.Write(bad.data))
			require.Equal(t, bad.want, f.Fsync(), "fsync")
			require.Equal(t, bad.want, f.Fsync(), "fsync again")
			require.Equal(t, bad.want, f.Close(), "close after fsync")
			w.keeps(t, file1, bad.data)

			// rename
			const temp = "ltx/0000/x.tmp"
			require.NoError(t, w.WriteFile(temp, bad.data))
			require.Equal(t, bad.want, w.Rename(temp, file1, 0), "rename")
			require.Equal(t, bad.want, w.Rename(temp, file1, 0), "rename again")
			w.keeps(t, temp, bad.data)
			requireCleanEnd(t, w.m)
		})
	}
}

// keeps checks that the mount shows a bad file and the replica has nothing of it,
// and removes the file.
func (w writable) keeps(t *testing.T, path string, data []byte) {
	t.Helper()
	w.shows(t, path, data)
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", filepath.Base(path))
	w.holds(t, nil)
	require.NoError(t, w.Unlink(path))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000")
	_, err := w.Stat(path)
	require.Equal(t, syscall.ENOENT, err)
	w.holds(t, nil)
}

// A bad file that was to replace a published one leaves that as it was. It hides
// the published one in this mount, but in no other, until it is removed.
func TestBadReplacement(t *testing.T) {
	t.Parallel()
	_, good := testFile(t, 1, storetest.Seed(7))
	bad := []byte("no LTX")
	w := mountWritable(t)
	other := ltxfstest.Mount(t, w.root).Process(t)
	require.NoError(t, w.WriteFile(file1, good))
	ltxfstest.Eventually(t, freshness+slack, "the other mount shows the file", func() bool {
		_, err := other.Stat(file1)
		return err == nil
	})
	publishedOnly := func() {
		t.Helper()
		w.holds(t, map[string][]byte{name1: good})
		data, err := other.ReadFile(file1)
		require.NoError(t, err)
		require.Equal(t, good, data, "in the other mount")
	}

	for range 2 {
		require.Equal(t, syscall.EBADMSG, w.WriteFile(file1, bad))
		w.shows(t, file1, bad)
		st, err := w.Stat(file1)
		require.NoError(t, err)
		require.Equal(t, int64(len(bad)), st.Size)
		ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1)
		publishedOnly()

		require.NoError(t, w.Unlink(file1), "remove the bad file")
		w.shows(t, file1, good)
		ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1)
		publishedOnly()
	}

	require.NoError(t, w.WriteFile("ltx/0000/x.tmp", bad))
	require.Equal(t, syscall.EBADMSG, w.Rename("ltx/0000/x.tmp", file1, 0))
	w.shows(t, file1, good)
	w.shows(t, "ltx/0000/x.tmp", bad)
	publishedOnly()
	require.NoError(t, w.Unlink("ltx/0000/x.tmp"))
	requirePublished(t, w.m, w.root, map[string][]byte{name1: good})

	// The bad file can be mended where it is.
	require.Equal(t, syscall.EBADMSG, w.WriteFile(file1, bad))
	_, mended := testFile(t, 1, storetest.Seed(8))
	require.NoError(t, w.WriteFile(file1, mended))
	requirePublished(t, w.m, w.root, map[string][]byte{name1: mended})
	requireCleanEnd(t, w.m)
}

// The tools' users are told: they exit with an error that says what is wrong.
func TestBadInputTools(t *testing.T) {
	t.Parallel()
	bad := saveFile(t, name1, []byte("no LTX"))
	for name, script := range map[string]string{
		"cp":      `cp "$1" "$2"`,
		"cp -p":   `cp -p "$1" "$2"`,
		"mv":      `cp "$1" "$2.tmp" && mv "$2.tmp" "$2"`,
		"rsync":   `rsync -a "$1" "$2"`,
		"dd":      `dd if="$1" of="$2"`,
		"dd sync": `dd if="$1" of="$2" conv=fsync`,
		"cat":     `cat "$1" > "$2"`,
		"tar":     `tar -C "$(dirname "$1")" -c "$(basename "$1")" | tar -C "$(dirname "$2")" -x`,
	} {
		t.Run(name, func(t *testing.T) {
			w := mountWritable(t)
			result := ltxfstest.Run(t, ltxfstest.Timeout, "bash", "-c", script, "bash", bad, w.m.Path(file1))
			require.NotEqual(t, 0, result.Code, result)
			require.Contains(t, result.Stderr, "Bad message")
			w.holds(t, nil)
		})
	}
	t.Run("mv from outside keeps its source", func(t *testing.T) {
		w := mountWritable(t)
		source := saveFile(t, name1, []byte("no LTX"))
		result := ltxfstest.Run(t, ltxfstest.Timeout, "mv", source, w.m.Path(file1))
		require.NotEqual(t, 0, result.Code, result)
		require.FileExists(t, source)
		w.holds(t, nil)
	})
}

// A full staging disk is ENOSPC for who writes, and costs nothing that was there.
func TestStagingDiskFull(t *testing.T) {
	t.Parallel()
	staging := ltxfstest.SmallDisk(t, 1<<20)
	_, good := testFile(t, 1)
	_, large := testFile(t, 1, storetest.Commit(600), storetest.Noise())
	require.Greater(t, len(large), 2<<20)
	w := mountWritable(t, "--staging-dir", staging)
	require.NoError(t, w.WriteFile(file1, good))

	for name, write := range map[string]func() error{
		"over a published file": func() error { return w.WriteFile(file1, large) },
		"a new file":            func() error { return w.WriteFile(file2, large) },
		"a temporary file":      func() error { return w.WriteFile("ltx/0000/x.tmp", large) },
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, syscall.ENOSPC, write())
			w.holds(t, map[string][]byte{name1: good})
			removeStaged(t, w)
			w.shows(t, file1, good)
		})
	}
	result := ltxfstest.Run(t, ltxfstest.Timeout, "cp", saveFile(t, name2, large), w.m.Path("ltx/0000/"))
	require.Equal(t, 1, result.Code)
	require.Contains(t, result.Stderr, "No space left on device")
	removeStaged(t, w)

	// There is room again.
	_, next := testFile(t, 2, storetest.Commit(100), storetest.Noise())
	require.NoError(t, w.WriteFile(file2, next))
	requirePublished(t, w.m, w.root, map[string][]byte{name1: good, name2: next})
	require.Equal(t, ltxfstest.ExitOK, w.m.Terminate(t), w.m.Log())
}

// removeStaged removes what the replica hasn't got.
func removeStaged(t *testing.T, w writable) {
	t.Helper()
	names, err := w.ReadDir("ltx/0000")
	require.NoError(t, err)
	for _, name := range names {
		path := "ltx/0000/" + name
		data, err := w.ReadFile(path)
		require.NoError(t, err)
		if ltxfstest.Tree(t, w.root)[ltxfstest.StorePath(0, name)] != ltxfstest.SHA256(data) {
			require.NoError(t, w.Unlink(path))
		}
	}
}

// A full disk behind the replica: whoever publishes is told, the earlier file is
// intact, and so is the new one, in the mount. Once there is room, fsync publishes that.
func TestReplicaDiskFull(t *testing.T) {
	t.Parallel()
	root := ltxfstest.SmallDisk(t, 1<<20)
	_, good := testFile(t, 1)
	_, large := testFile(t, 1, storetest.Commit(600), storetest.Noise())
	m := ltxfstest.Mount(t, root, "--rw")
	p := m.Process(t)
	require.NoError(t, p.WriteFile(file1, good))
	require.Equal(t, syscall.ENOSPC, p.WriteFile(file1, large))
	requireTree(t, root, map[string][]byte{name1: good})
	data, err := p.ReadFile(file1)
	require.NoError(t, err)
	require.Equal(t, ltxfstest.SHA256(large), ltxfstest.SHA256(data))
	require.NoError(t, p.Unlink(file1))
	requirePublished(t, m, root, map[string][]byte{name1: good})

	require.Equal(t, syscall.ENOSPC, p.WriteFile(file1, large))
	require.NoError(t, unix.Mount("ltxfstest", root, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", 16<<20)))
	ltxfstest.MustRun(t, "sync", m.Path(file1)) // publishes, now that there is room
	requirePublished(t, m, root, map[string][]byte{name1: large})
	require.NoError(t, os.Remove(filepath.Join(root, ltxfstest.StorePath(0, name1))))
	require.False(t, strings.Contains(m.Log(), "panic"))
}
