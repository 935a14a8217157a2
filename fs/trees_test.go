package fs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// The tests here are of two replicas with the same names below one root.

// twoTrees are two replicas with the same names, and other bytes under them.
func twoTrees(t *testing.T) (stores [2]*mock.Store, trees []Tree, content [2][]byte) {
	for i := range stores {
		stores[i] = mock.New()
		content[i] = storetest.LTX(t, 1, 1, storetest.Seed(uint64(i)))
		stores[i].Put(0, 1, 1, content[i])
		name := fmt.Sprint("db", i)
		trees = append(trees, Tree{Name: name, ID: "mock://" + name, Store: stores[i], Freshness: time.Minute})
	}
	return stores, trees, content
}

// databasesOf are databases with these trees, which it gives staging directories.
func databasesOf(t *testing.T, trees ...Tree) *Databases {
	all := map[string]Tree{}
	for _, tree := range trees {
		if tree.Staging == nil {
			dir, err := staging.Open(t.TempDir(), "mock")
			require.NoError(t, err)
			tree.Staging = dir
			t.Cleanup(func() { require.NoError(t, dir.Close()) })
		}
		all[tree.Name] = tree
	}
	return &Databases{
		List:      func(context.Context) ([]string, error) { return slices.Collect(maps.Keys(all)), nil },
		Freshness: time.Minute,
		Open:      func(_ context.Context, name string) (Tree, error) { return all[name], nil },
	}
}

// TestIdentity: nothing that the kernel or the cache tells files apart by is the same
// in two replicas, even where a version is.
func TestIdentity(t *testing.T) {
	stores, trees, content := twoTrees(t)
	tr := newDriverWith(t, Options{Databases: databasesOf(t, trees...), ReadWrite: true}, far)
	names, e := tr.list(1, true)
	require.Zero(t, e)
	require.Equal(t, []string{"db0", "db1"}, names)

	seen := map[uint64]string{}
	for _, tree := range names {
		for _, path := range []string{"", "ltx", "snapshots", "ltx/0000", "ltx/0009", "ltx/0", "ltx/0000/" + fileName(1, 1)} {
			full := filepath.Join(tree, path)
			out := tr.walk(strings.Split(full, "/")...)
			require.NotEqual(t, uint64(inoRoot), out.Ino, full)
			require.Empty(t, seen[out.Ino], full)
			seen[out.Ino] = full
		}
	}
	f := stores[0].Put(0, 2, 2, content[0])
	assert.NotEqual(t, tr.mount.trees[0].fileID(f), tr.mount.trees[1].fileID(f))
	assert.Equal(t, tr.mount.trees[0].fileID(f), tr.mount.trees[0].fileID(f))

	var nodes, handles [2]uint64
	for i, tree := range names {
		nodes[i] = tr.walk(tree, "ltx", "0000", fileName(1, 1)).NodeId
		handles[i], e = tr.open(nodes[i], syscall.O_RDONLY)
		require.Zero(t, e)
	}
	for range 2 { // from the store, and from the cache
		for i := range nodes {
			got, e := tr.read(nodes[i], handles[i], 0, len(content[i]))
			require.Zero(t, e)
			require.Equal(t, content[i], got)
		}
	}
	for i := range nodes {
		assert.Equal(t, 1, stores[i].Calls(mock.OpOpen))
		tr.release(nodes[i], handles[i])
	}

	levels := [2]uint64{tr.walk("db0", "ltx", "0000").NodeId, tr.walk("db1", "ltx", "0000").NodeId}
	for _, level := range levels {
		node, fh := tr.stageFile(level, "upload.tmp", []byte("x"))
		tr.release(node, fh)
	}
	a, b := tr.walk("db0", "ltx", "0000", "upload.tmp"), tr.walk("db1", "ltx", "0000", "upload.tmp")
	assert.NotEqual(t, a.Ino, b.Ino)
	in := renameIn(levels[0], levels[1])
	assert.Equal(t, syscall.EXDEV, errnoOf(tr.raw.Rename(nil, in, "upload.tmp", fileName(2, 2))))
}

// TestOneBelowTheRoot: a directory for the only replica isn't the root.
func TestOneBelowTheRoot(t *testing.T) {
	_, trees, _ := twoTrees(t)
	tr := newDriverWith(t, Options{Databases: databasesOf(t, trees[0])}, far)
	out := tr.walk("db0")
	assert.NotEqual(t, uint64(inoRoot), out.Ino)
	names, e := tr.list(tr.walk("db0", "ltx", "0000").NodeId, true)
	require.Zero(t, e)
	assert.Equal(t, []string{fileName(1, 1)}, names)
}

// TestTwoReplicas: through the kernel, each replica has its own bytes, inodes and
// staged files, and what is written to one changes nothing of the other.
func TestTwoReplicas(t *testing.T) {
	stores, trees, content := twoTrees(t)
	base := t.TempDir()
	for i := range trees {
		dir, err := staging.Open(base, trees[i].ID)
		require.NoError(t, err)
		trees[i].Staging = dir
		t.Cleanup(func() { assert.NoError(t, dir.Close()) })
	}
	var log syncBuffer
	mountpoint := t.TempDir()
	m, err := Mount(mountpoint, Options{
		Databases: databasesOf(t, trees...), ReadWrite: true, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), FileMode: 0o644, DirMode: 0o755,
		CacheSize: 8 << 20, Source: "mock", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	mounted := true
	t.Cleanup(func() {
		if mounted {
			assert.NoError(t, m.Detach())
		}
		<-m.Done()
		m.Close()
	})
	at := func(i int, name string) string { return fmt.Sprintf("%s/db%d/ltx/0000/%s", mountpoint, i, name) }
	old, upload := fileName(1, 1), fileName(2, 2)

	require.Equal(t, "db0\ndb1\n", shell(t, "ls", mountpoint))
	for i := range trees {
		require.Equal(t, old+"\n", shell(t, "ls", at(i, "")))
		require.Equal(t, string(content[i]), shell(t, "cat", at(i, old)))
	}
	require.NotEqual(t, shell(t, "stat", "-c", "%i", at(0, old)), shell(t, "stat", "-c", "%i", at(1, old)))
	require.NotEqual(t, shell(t, "stat", "-c", "%i", at(0, "")), shell(t, "stat", "-c", "%i", at(1, "")))

	// A new file, and one of the same name in the other.
	var local [2]string
	for i := range local {
		local[i] = filepath.Join(t.TempDir(), "new")
		require.NoError(t, os.WriteFile(local[i], storetest.LTX(t, 2, 2, storetest.Seed(uint64(10+i))), 0o600))
	}
	want := func(i int) []byte {
		b, err := os.ReadFile(local[i])
		require.NoError(t, err)
		return b
	}
	shell(t, "cp", local[0], at(0, upload))
	got, ok := stores[0].Bytes(0, 2, 2)
	require.True(t, ok)
	require.Equal(t, want(0), got)
	require.Equal(t, old+"\n", shell(t, "ls", at(1, "")))
	require.Equal(t, 1, stores[1].Len())
	shell(t, "cp", local[1], at(1, upload))
	require.Equal(t, string(want(0)), shell(t, "cat", at(0, upload)))
	require.Equal(t, string(want(1)), shell(t, "cat", at(1, upload)))

	// A file that is replaced, one that is deleted, one that stays staged.
	replaced := filepath.Join(t.TempDir(), "replaced")
	require.NoError(t, os.WriteFile(replaced, storetest.LTX(t, 1, 1, storetest.Seed(20)), 0o600))
	shell(t, "cp", replaced, at(1, old))
	require.Equal(t, string(content[0]), shell(t, "cat", at(0, old)))
	require.NotEqual(t, string(content[1]), shell(t, "cat", at(1, old)))
	shell(t, "rm", at(0, upload))
	require.Equal(t, old+"\n", shell(t, "ls", at(0, "")))
	require.Equal(t, old+"\n"+upload+"\n", shell(t, "ls", at(1, "")))
	for i := range trees {
		shell(t, "cp", local[i], at(i, "kept.tmp"))
		require.Equal(t, string(want(i)), shell(t, "cat", at(i, "kept.tmp")))
	}
	shell(t, "mv", at(1, "kept.tmp"), at(0, upload)) // a copy, as between disks
	got, ok = stores[0].Bytes(0, 2, 2)
	require.True(t, ok)
	require.Equal(t, want(1), got)

	unpublished := m.Unpublished()
	require.Len(t, unpublished, 1)
	assert.Equal(t, "db0/ltx/0000/kept.tmp", unpublished[0].Name)
	assert.Equal(t, trees[0].Staging.FilePath("ltx/0000/kept.tmp"), unpublished[0].Path)
	assert.Contains(t, log.String(), `msg=published database=db0 file=db0/ltx/0000/`+upload)
	assert.Contains(t, log.String(), `msg=published database=db1 file=db1/ltx/0000/`+upload)
	assert.Contains(t, log.String(), `msg=deleted database=db0 file=db0/ltx/0000/`+upload)

	require.NoError(t, m.Drain(t.Context()))
	require.Eventually(t, func() bool {
		err := m.Unmount()
		return err == nil
	}, far, 10*time.Millisecond)
	mounted = false
}

// shell runs a command on the mount, which must not hang the tests, and returns what
// it prints.
func shell(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("timeout", append([]string{"-s", "KILL", "60"}, args...)...)
	cmd.Dir = "/"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s", args, stderr.String())
	return string(out)
}

// syncBuffer is a buffer that a log writes to while a test reads it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestOneLogLine: the only replica isn't named in each line of the log.
func TestOneLogLine(t *testing.T) {
	var log syncBuffer
	m := newMount(Options{CacheSize: 1 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))}, defaultDeadlines)
	tree, err := m.add(Tree{ID: "mock://db", Store: mock.New()})
	require.NoError(t, err)
	defer m.close()
	require.ErrorIs(t, tree.staged.Delete(t.Context(), replica.Name{Level: -1}), os.ErrInvalid)
	tree.failed("delete", "ltx/0000/x", os.ErrPermission)
	assert.Contains(t, log.String(), `msg="can't delete" file=ltx/0000/x`)
	assert.NotContains(t, log.String(), "database=")
}
