package staging

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, d *Dir, name, content string) {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = f.WriteString(content)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func open(t *testing.T, base, replica string) *Dir {
	t.Helper()
	d, err := Open(base, replica)
	require.NoError(t, err)
	return d
}

func names(entries []Entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// TestCleanEnd: a mount that leaves nothing leaves no directory either.
func TestCleanEnd(t *testing.T) {
	base := t.TempDir()
	d := open(t, base, "/replica")
	write(t, d, "ltx/0000/a.tmp", "a")
	require.NoError(t, d.Rename("ltx/0000/a.tmp", "ltx/0001/b.tmp"))
	got, err := os.ReadFile(d.FilePath("ltx/0001/b.tmp"))
	require.NoError(t, err)
	assert.Equal(t, "a", string(got))
	require.NoError(t, d.Remove("ltx/0001/b.tmp"))
	require.NoError(t, d.Remove("ltx/0001/b.tmp"), "removing what is gone")
	require.NoError(t, d.Close())
	assert.NoDirExists(t, d.Path())
	assert.NoFileExists(t, d.Path()+lockSuffix)
}

// TestLeftovers: what a mount leaves, the next mount of the same replica finds,
// and every later one until it is gone; a mount of another replica doesn't.
func TestLeftovers(t *testing.T) {
	base := t.TempDir()
	d := open(t, base, "/replica")
	write(t, d, "ltx/0000/a.tmp", "abc")
	require.NoError(t, d.Close())

	other := open(t, base, "/other/replica")
	assert.Empty(t, other.Leftovers())
	require.NoError(t, other.Close())

	for range 2 {
		next := open(t, base, "/replica")
		require.Equal(t, []string{"ltx/0000/a.tmp"}, names(next.Leftovers()))
		left := next.Leftovers()[0]
		assert.EqualValues(t, 3, left.Size)
		got, err := os.ReadFile(left.Path)
		require.NoError(t, err)
		assert.Equal(t, "abc", string(got))
		require.NoError(t, next.Close())
	}
	require.NoError(t, os.Remove(d.FilePath("ltx/0000/a.tmp")))
	last := open(t, base, "/replica")
	assert.Empty(t, last.Leftovers())
	assert.NoDirExists(t, d.Path(), "an empty directory of an ended mount goes")
	require.NoError(t, last.Close())
}

// TestLiveMountIsLeftAlone: a second mount of a replica doesn't touch or report
// what the first is staging.
func TestLiveMountIsLeftAlone(t *testing.T) {
	base := t.TempDir()
	first := open(t, base, "/replica")
	second := open(t, base, "/replica")
	write(t, first, "ltx/0000/a.tmp", "a")
	third := open(t, base, "/replica")
	assert.Empty(t, third.Leftovers())
	require.NoError(t, second.Close())
	assert.FileExists(t, first.FilePath("ltx/0000/a.tmp"))
	require.NoError(t, third.Close())
	require.NoError(t, first.Close())
}

// TestKilledMount: a mount that never closed its directory counts as ended once
// its lock is free.
func TestKilledMount(t *testing.T) {
	base := t.TempDir()
	d := open(t, base, "/replica")
	write(t, d, "ltx/0000/a.tmp", "a")
	require.NoError(t, d.lock.Close()) // as the kernel does for a killed process
	next := open(t, base, "/replica")
	assert.Equal(t, []string{"ltx/0000/a.tmp"}, names(next.Leftovers()))
	require.NoError(t, next.Close())
}

// TestCreateReplaces: a new file of a name is a new inode; who has the earlier
// one open keeps its content.
func TestCreateReplaces(t *testing.T) {
	d := open(t, t.TempDir(), "/replica")
	old, err := d.Create("ltx/0000/a")
	require.NoError(t, err)
	_, err = old.WriteString("old")
	require.NoError(t, err)
	write(t, d, "ltx/0000/a", "new")
	got := make([]byte, 3)
	_, err = old.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, "old", string(got))
	require.NoError(t, old.Close())
	info, err := os.Stat(d.FilePath("ltx/0000/a"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

// TestRefusesSharedDirectory: nobody else may put files in between.
func TestRefusesSharedDirectory(t *testing.T) {
	base := t.TempDir()
	parent := filepath.Join(base, replicaName("/replica"))
	require.NoError(t, os.Mkdir(parent, 0o700))
	require.NoError(t, os.Chmod(parent, 0o777))
	_, err := Open(base, "/replica")
	require.ErrorContains(t, err, "can be written by others")

	require.NoError(t, os.Remove(parent))
	require.NoError(t, os.Symlink(t.TempDir(), parent))
	_, err = Open(base, "/replica")
	require.ErrorContains(t, err, "not a directory")
}

// TestRefusesSharedBase: nobody else may swap the directory itself.
func TestRefusesSharedBase(t *testing.T) {
	base := t.TempDir()
	require.NoError(t, os.Chmod(base, 0o777|os.ModeSticky))
	require.NoError(t, open(t, base, "/replica").Close())
	for _, mode := range []os.FileMode{0o777, 0o775} {
		require.NoError(t, os.Chmod(base, mode))
		_, err := Open(base, "/replica")
		require.ErrorContains(t, err, base+" can be written by others: chmod go-w it")
		_, err = Scan(base, "/replica")
		require.ErrorContains(t, err, base+" can be written by others: chmod go-w it")
	}
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chmod(base, 0o755))
		require.NoError(t, os.Chown(base, 12345, -1))
		_, err := Open(base, "/replica")
		require.ErrorContains(t, err, "belongs to another user (uid 12345)")
	}
}

// TestMountsComeAndGo: what the mounts of one replica do at their beginning and
// end doesn't get in each other's way.
func TestMountsComeAndGo(t *testing.T) {
	base := t.TempDir()
	keep := open(t, base, "/replica")
	write(t, keep, "ltx/0000/a.tmp", "a")
	require.NoError(t, keep.Close())
	errs := make(chan error)
	const mounts, rounds = 8, 25
	for range mounts {
		go func() {
			errs <- func() error {
				for range rounds {
					d, err := Open(base, "/replica")
					if err != nil {
						return err
					}
					left, err := Scan(base, "/replica")
					if err == nil && len(left) != 1 {
						err = fmt.Errorf("Scan found %d files", len(left))
					}
					if err := errors.Join(err, d.Close()); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range mounts {
		assert.NoError(t, <-errs)
	}
	assert.Equal(t, []string{filepath.Base(keep.Path()), filepath.Base(keep.Path()) + lockSuffix, openLock},
		dirNames(t, filepath.Dir(keep.Path())))
}

func dirNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, de := range entries {
		names = append(names, de.Name())
	}
	return names
}

// TestCloseRemovesNoFile: empty directories go, and those with a file stay.
func TestCloseRemovesNoFile(t *testing.T) {
	d := open(t, t.TempDir(), "/replica")
	require.NoError(t, os.MkdirAll(d.FilePath("ltx/0000"), 0o700))
	write(t, d, "ltx/0001/a.tmp", "a")
	require.NoError(t, d.Close())
	assert.Equal(t, []string{"0001"}, dirNames(t, d.FilePath("ltx")))
	assert.FileExists(t, d.FilePath("ltx/0001/a.tmp"))
}

// TestCloseOfWhatIsGone: whoever tidied up the staging directory did no harm.
func TestCloseOfWhatIsGone(t *testing.T) {
	d := open(t, t.TempDir(), "/replica")
	require.NoError(t, os.RemoveAll(filepath.Dir(d.Path())))
	require.NoError(t, d.Close())

	d = open(t, t.TempDir(), "/replica")
	require.NoError(t, os.Remove(d.lock.Name()))
	require.NoError(t, d.Close())
	assert.NoDirExists(t, d.Path())
}

// TestScan: it finds what ended mounts left, and makes and removes nothing.
func TestScan(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	left, err := Scan(base, "/replica")
	require.NoError(t, err)
	assert.Nil(t, left)
	assert.NoDirExists(t, base)

	ended, live := open(t, base, "/replica"), open(t, base, "/replica")
	write(t, ended, "ltx/0000/a.tmp", "abc")
	write(t, live, "ltx/0000/b.tmp", "b")
	require.NoError(t, ended.Close())
	killed := open(t, base, "/replica")
	require.NoError(t, killed.lock.Close())
	parent := filepath.Dir(live.Path())
	before := dirNames(t, parent)
	for range 2 {
		left, err = Scan(base, "/replica")
		require.NoError(t, err)
		require.Equal(t, []string{"ltx/0000/a.tmp"}, names(left))
		assert.Equal(t, ended.FilePath("ltx/0000/a.tmp"), left[0].Path)
		assert.EqualValues(t, 3, left[0].Size)
		assert.Equal(t, before, dirNames(t, parent))
		require.NoError(t, os.RemoveAll(ended.lock.Name()))
		before = dirNames(t, parent)
	}
	require.NoError(t, live.Close())
}

// TestList: what can't be looked at isn't passed over, what isn't there is.
func TestList(t *testing.T) {
	dir := t.TempDir()
	left, err := List(filepath.Join(dir, "none"))
	require.NoError(t, err)
	assert.Empty(t, left)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, err = List(filepath.Join(dir, "file", "x"))
	require.ErrorIs(t, err, unix.ENOTDIR)
}

// TestReplicaName: names are readable, safe and one for each replica.
func TestReplicaName(t *testing.T) {
	a, b := replicaName("/var/backups/db"), replicaName("/srv/backups/db")
	assert.NotEqual(t, a, b)
	assert.Regexp(t, `^db-[0-9a-f]{12}$`, a)
	assert.Regexp(t, `^[A-Za-z0-9._-]+$`, replicaName("/odd/na me?\n"))
	c := replicaName("s3://bucket/some/db?endpoint=http://localhost:9000")
	assert.Regexp(t, `^db-[0-9a-f]{12}$`, c)
	assert.NotEqual(t, c, replicaName("s3://bucket/some/db?endpoint=http://localhost:9001"))
}

func TestDefaultPath(t *testing.T) {
	got, err := DefaultPath()
	require.NoError(t, err)
	assert.True(t, filepath.IsAbs(got))
}
