package integration

import (
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hanwen/go-fuse/v2/posixtest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// posixDirEnv makes the test binary run the posixtest of TestPosix/NAME in a
// directory, as a child that may hang.
const posixDirEnv = "LTXFS_POSIX_DIR"

// In a level's directory, files of names that aren't an LTX file's are staged, and
// behave like those of any disk: these tests of go-fuse say so.
var posixTests = []string{
	"AppendWrite",
	"DirectIO",
	"Fallocate",
	"FallocateKeepSize",
	"FcntlFlockSetLk",
	"FdLeak",
	"FileBasic",
	"FileLarge",
	"FstatDeleted",
	"LseekEnxioCheck",
	"LseekHoleSeeksToEOF",
	"NlinkZero",
	"ParallelFileOpen",
	"ReadDirBasic",
	"ReadDirConsistency",
	"TruncateFile",
	"TruncateNoFile",
}

// What some of those below are about, without the directories that they make.
var ownPosixTests = map[string]func(t *testing.T, dir string){
	"SeekDirectory":      seekDirectory,
	"RenameOverwrite":    func(t *testing.T, dir string) { renameToOtherLevel(t, dir, true) },
	"RenameToOtherLevel": func(t *testing.T, dir string) { renameToOtherLevel(t, dir, false) },
	"LockExcludes":       lockExcludes,
}

// These don't apply, and why.
var posixTestsLeftOut = map[string]string{
	"DirSeek":                    "it makes a directory; SeekDirectory does the same",
	"FcntlFlockLocksFile":        "it expects locks of one process to exclude each other, and go-fuse leaves it out, too; see LockExcludes",
	"Link":                       "a replica has no hard links",
	"LinkUnlinkRename":           "a replica has no hard links",
	"MkdirRmdir":                 "the directories are the levels, and no others can be made",
	"OpenAt":                     "it makes a directory",
	"OpenSymlinkRace":            "it makes symbolic links",
	"RenameOpenDir":              "it makes directories",
	"RenameOverwriteDestExist":   "it makes a directory; RenameOverwrite does the same",
	"RenameOverwriteDestNoExist": "it makes a directory; RenameToOtherLevel does the same",
	"SetattrSymlink":             "it makes a symbolic link",
	"SymlinkReadlink":            "it makes a symbolic link",
	"Tmpfile":                    "a file without a name has nothing to be published as",
	"XAttr":                      "there are no extended attributes, which makes ls -l eight times faster",
	"XAttrLarge":                 "there are no extended attributes",
}

func TestPosix(t *testing.T) {
	if dir := os.Getenv(posixDirEnv); dir != "" {
		for _, name := range posixTests {
			t.Run(name, func(t *testing.T) { posixtest.All[name](t, dir) })
		}
		for name, test := range ownPosixTests {
			t.Run(name, func(t *testing.T) { test(t, dir) })
		}
		return
	}
	t.Parallel()
	// Its own list, should it gain or lose a test.
	all := slices.Sorted(maps.Keys(posixtest.All))
	require.Equal(t, all, slices.Sorted(slices.Values(slices.Concat(posixTests, slices.Collect(maps.Keys(posixTestsLeftOut))))))

	for user, cred := range map[string]*syscall.Credential{"ourselves": nil, "user": ltxfstest.User(t)} {
		for _, name := range slices.Concat(posixTests, slices.Collect(maps.Keys(ownPosixTests))) {
			t.Run(name+" as "+user, func(t *testing.T) {
				root := t.TempDir()
				ltxfstest.Give(t, cred, root)
				m := ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Flags: []string{"--rw"}, Credential: cred})
				runPosixTest(t, name, m.Path("ltx", "0000"), cred)
				require.Empty(t, ltxfstest.Tree(t, root), "the replica")
			})
		}
	}
}

// runPosixTest runs a test of posixtest in a process of its own, which must say
// that it has passed.
func runPosixTest(t *testing.T, name, dir string, cred *syscall.Credential) {
	t.Helper()
	cmd := exec.Command(ltxfstest.TestBinary(t, cred), "-test.v", "-test.run=^TestPosix$/^"+name+"$")
	cmd.Env = append(ltxfstest.Env(), posixDirEnv+"="+dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	result := ltxfstest.RunCmd(t, ltxfstest.Timeout, cmd)
	require.Equal(t, 0, result.Code, result)
	require.Regexp(t, `(?m)^ +--- PASS: TestPosix/`+regexp.QuoteMeta(name)+" ", result.Stdout, "it must not be skipped")
}

// seekDirectory seeks to each entry of a directory, from the last to the first.
func seekDirectory(t *testing.T, dir string) {
	for i := range 168 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600))
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)

	read := func() []fuse.DirEntry {
		buf := make([]byte, 4096)
		n, err := unix.ReadDirent(fd, buf)
		require.NoError(t, err)
		var entries []fuse.DirEntry
		for buf = buf[:n]; len(buf) > 0; {
			var e fuse.DirEntry
			buf = buf[e.Parse(buf):]
			entries = append(entries, e)
		}
		return entries
	}
	var all []fuse.DirEntry
	for entries := read(); len(entries) > 0; entries = read() {
		all = append(all, entries...)
	}
	require.Len(t, all, 168+2)
	for i := len(all) - 1; i >= 0; i-- {
		var to int64
		if i > 0 {
			to = int64(all[i-1].Off)
		}
		_, err := unix.Seek(fd, to, io.SeekStart)
		require.NoError(t, err)
		entries := read()
		require.NotEmpty(t, entries, "entry %d", i)
		require.Equal(t, all[i], entries[0], "entry %d", i)
	}
}

// renameToOtherLevel moves a staged file, which keeps its inode.
func renameToOtherLevel(t *testing.T, dir string, destExists bool) {
	from, to := filepath.Join(dir, "file"), filepath.Join(dir, "..", "0001", "renamed")
	require.NoError(t, os.WriteFile(from, []byte("hello"), 0o644))
	if destExists {
		require.NoError(t, os.WriteFile(to, []byte("xx"), 0o644))
	}
	var before, after unix.Stat_t
	require.NoError(t, unix.Lstat(from, &before))
	require.NoError(t, os.Rename(from, to))
	require.Equal(t, unix.ENOENT, unix.Lstat(from, &after))
	require.NoError(t, unix.Lstat(to, &after))
	require.Equal(t, before.Ino, after.Ino)
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

// lockExcludes takes locks that belong to open files rather than to processes.
func lockExcludes(t *testing.T, dir string) {
	name := filepath.Join(dir, "file")
	one, err := os.Create(name)
	require.NoError(t, err)
	defer one.Close()
	two, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer two.Close()

	require.NoError(t, unix.Flock(int(one.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	require.Equal(t, unix.EWOULDBLOCK, unix.Flock(int(two.Fd()), unix.LOCK_SH|unix.LOCK_NB))
	require.NoError(t, unix.Flock(int(one.Fd()), unix.LOCK_UN))
	require.NoError(t, unix.Flock(int(two.Fd()), unix.LOCK_SH|unix.LOCK_NB))

	write, read := &unix.Flock_t{Type: unix.F_WRLCK, Len: 100}, &unix.Flock_t{Type: unix.F_RDLCK, Len: 1}
	require.NoError(t, unix.FcntlFlock(one.Fd(), unix.F_OFD_SETLK, write))
	require.Equal(t, unix.EAGAIN, unix.FcntlFlock(two.Fd(), unix.F_OFD_SETLK, read))
	read.Start = 100
	require.NoError(t, unix.FcntlFlock(two.Fd(), unix.F_OFD_SETLK, read))
}
