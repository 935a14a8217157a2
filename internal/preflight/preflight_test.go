package preflight

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/mounts"
)

const ltxName = "0000000000000001-0000000000000009.ltx"

// tempDir is t.TempDir without links.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return dir
}

// touch makes an empty file and its directories.
func touch(t *testing.T, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	return path
}

// checker is a Checker for a machine where all is well, and what it logs.
func checker(t *testing.T) (*Checker, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	c := New(slog.New(slog.NewTextHandler(&log, nil)))
	c.devFuse = touch(t, tempDir(t), "fuse")
	c.fuseConf = filepath.Join(tempDir(t), "fuse.conf")
	c.fusermount = func() (string, error) { return "/bin/fusermount3", nil }
	return c, &log
}

func requireCode(t *testing.T, want exitcode.Code, err error, texts ...string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want.String(), exitcode.Of(err).String(), err.Error())
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
}

func TestReplica(t *testing.T) {
	root := tempDir(t)
	touch(t, root, "files", "ltx", "0", ltxName)
	touch(t, root, "files", "ltx", "9", ltxName)
	touch(t, root, "guide", "snapshots", ltxName)
	touch(t, root, "s3", "0000", ltxName)
	touch(t, root, "ltx", "ltx", "3", ltxName) // a replica that is called ltx
	touch(t, root, "text")
	require.NoError(t, os.WriteFile(filepath.Join(root, "app.db"), []byte("SQLite format 3\x00\x10\x00\x01\x01"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "s3", "empty"), 0o755))

	for path, says := range map[string]string{
		"none":                         "make the directory",
		"none/none":                    "no such directory",
		"text/x":                       "check the path",
		"text":                         "not a directory",
		"app.db":                       "not the database",
		"files/ltx/0/" + ltxName:       "one LTX file",
		"files/ltx":                    "did you mean " + root + "/files",
		"files/ltx/9":                  "did you mean " + root + "/files",
		"guide/snapshots":              "did you mean " + root + "/guide",
		"s3/0000":                      "did you mean " + root + "/s3",
		"files/ltx/9/../../ltx/../ltx": "did you mean " + root + "/files",
	} {
		c, _ := checker(t)
		requireCode(t, exitcode.NoReplica, c.Replica(filepath.Join(root, path), false), says)
	}
	for _, path := range []string{"files", "guide", "s3", "ltx"} {
		c, log := checker(t)
		require.NoError(t, c.Replica(filepath.Join(root, path), false), path)
		require.Empty(t, log.String(), path)
	}
	c, log := checker(t)
	require.NoError(t, c.Replica(filepath.Join(root, "s3", "empty"), false))
	pipe := filepath.Join(root, "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	requireCode(t, exitcode.NoReplica, c.Replica(pipe, false), "not a directory")
	require.Contains(t, log.String(), "no LTX files yet")
}

// What Litestream 0.3 has written is named, and is in nobody's way beside LTX files.
func TestReplicaOfLitestream03(t *testing.T) {
	root := tempDir(t)
	const generation = "generations/0123456789abcdef"
	touch(t, root, "old", generation, "snapshots", "00000000.snapshot.lz4")
	touch(t, root, "both", generation, "wal", "00000000_00000000.wal.lz4")
	touch(t, root, "both", "ltx", "0", ltxName)
	touch(t, root, "other", "generations", "x")
	for _, path := range []string{"old", "old/generations", "old/" + generation, "old/" + generation + "/snapshots"} {
		c, _ := checker(t)
		err := c.Replica(filepath.Join(root, path), false)
		requireCode(t, exitcode.NoReplica, err, "a replica of Litestream 0.3", filepath.Join(root, path))
	}
	for _, path := range []string{"both", "other", "other/generations"} {
		c, _ := checker(t)
		require.NoError(t, c.Replica(filepath.Join(root, path), false), path)
	}
}

// A mount of ltxfs shows a tree that would pass for two layouts of a replica.
func TestReplicaInMount(t *testing.T) {
	root := tempDir(t)
	touch(t, root, "mnt", "ltx", "0000", ltxName)
	touch(t, root, "mnt2", "ltx", "0000", ltxName)
	c, _ := checker(t)
	c.mounts = func() (mounts.Table, error) {
		return mounts.Table{{ID: 1, Mountpoint: "/", FSType: "ext4"},
			{ID: 2, Parent: 1, Mountpoint: filepath.Join(root, "mnt"), FSType: mounts.Type, Source: "/srv/r"}}, nil
	}
	for _, path := range []string{"mnt", "mnt/ltx", "mnt/none"} {
		requireCode(t, exitcode.NoReplica, c.Replica(filepath.Join(root, path), false),
			filepath.Join(root, path)+": this is the mount of an ltxfs, not a replica: give what is mounted there, /srv/r")
	}
	require.NoError(t, c.Replica(filepath.Join(root, "mnt2"), false))
}

func TestReplicaHints(t *testing.T) {
	root := tempDir(t)
	for _, name := range []string{"a", "b/deep", "c", "d"} {
		touch(t, root, name, "ltx", "0", ltxName)
	}
	touch(t, root, "stray")
	c, log := checker(t)
	require.NoError(t, c.Replica(root, false))
	require.Contains(t, log.String(), "did you mean one of them")
	require.Equal(t, maxNamed, bytes.Count(log.Bytes(), []byte(root+"/")))

	own := filepath.Join(tempDir(t), ".app.db-litestream")
	touch(t, own, "ltx", "0", ltxName)
	c, log = checker(t)
	require.NoError(t, c.Replica(own, false))
	require.Contains(t, log.String(), "working directory")
}

func TestMountpoint(t *testing.T) {
	root := tempDir(t)
	touch(t, root, "full", "x")
	require.NoError(t, os.Mkdir(filepath.Join(root, "empty"), 0o755))
	c, _ := checker(t)
	require.NoError(t, c.Mountpoint(filepath.Join(root, "empty"), ""))
	for path, says := range map[string]string{
		"none":     "mkdir -p " + root + "/none",
		"full/x":   "not a directory",
		"full/x/y": "not a directory",
		"full":     "not empty",
	} {
		requireCode(t, exitcode.BadMountpoint, c.Mountpoint(filepath.Join(root, path), ""), says)
	}
	requireCode(t, exitcode.BadMountpoint, c.Mountpoint("/", ""), "hide")
	requireCode(t, exitcode.BadMountpoint, c.Mountpoint("/proc", ""), "of type proc")
}

func TestBadMountpoint(t *testing.T) {
	c, _ := checker(t)
	ours := &mounts.Mount{FSType: mounts.Type, Source: "/srv/r"}
	other := &mounts.Mount{FSType: "fuse.sshfs", Source: "host:/x"}
	for _, tt := range []struct {
		top  *mounts.Mount
		err  error
		code exitcode.Code
		says string
	}{
		{other, unix.ENOTCONN, exitcode.BadMountpoint, "a dead mount of type fuse.sshfs (host:/x)"},
		{ours, mounts.ErrHung, exitcode.AlreadyMounted, "--lazy"},
		{other, mounts.ErrHung, exitcode.BadMountpoint, "no answer"},
		{ours, unix.EACCES, exitcode.AlreadyMounted, "another user's"},
		{nil, unix.EACCES, exitcode.Permission, "may not look"},
		{nil, &os.PathError{Op: "stat", Path: "/x", Err: unix.EIO}, exitcode.BadMountpoint, "/mnt: input/output error"},
	} {
		requireCode(t, tt.code, c.badMountpoint("/mnt", tt.top, tt.err), tt.says, "/mnt")
	}
}

func TestApart(t *testing.T) {
	root := tempDir(t)
	for _, dir := range []string{"r/ltx", "m/deep", "rr"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	c, _ := checker(t)
	path := func(p string) string { return filepath.Join(root, p) }
	require.NoError(t, apart(path("r"), path("m")))
	require.NoError(t, c.Mountpoint(path("rr"), path("r")))
	requireCode(t, exitcode.BadMountpoint, c.Mountpoint(path("r"), path("r")), "contain itself")
	requireCode(t, exitcode.BadMountpoint, c.Mountpoint(path("r/ltx"), path("r")), "contain itself")
	requireCode(t, exitcode.BadMountpoint, c.Mountpoint(path("r/none"), path("r")), "contain itself")
	requireCode(t, exitcode.BadMountpoint, c.Mountpoint(path("m"), path("m/deep")), "hide it")
}

func TestInside(t *testing.T) {
	root := tempDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "m", "deep"), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(root, "m"), filepath.Join(root, "link")))
	require.NoError(t, os.Symlink(filepath.Join(root, "m", "deep"), filepath.Join(root, "deep")))
	m := filepath.Join(root, "m")
	require.False(t, Inside(filepath.Join(root, "log"), m))
	for _, path := range []string{"m/log", "link/log", "m/no/such/log", "m", "deep/log"} {
		require.True(t, Inside(filepath.Join(root, path), m), path)
	}
	require.False(t, Inside(m, filepath.Join(root, "gone")))
	require.True(t, Inside(filepath.Join(root, "gone", "log"), filepath.Join(root, "gone")))
	require.True(t, Inside("/", "/"))
}

func TestFUSE(t *testing.T) {
	c, _ := checker(t)
	c.root = true
	require.NoError(t, c.FUSE(true))

	c.devFuse = filepath.Join(tempDir(t), "none")
	requireCode(t, exitcode.NoFUSE, c.FUSE(false), "modprobe fuse")
	c.devFuse = tempDir(t)
	requireCode(t, exitcode.NoFUSE, c.FUSE(false), "is a directory")

	user, _ := checker(t)
	user.root = false
	require.NoError(t, user.FUSE(false))
	requireCode(t, exitcode.Permission, user.FUSE(true), "user_allow_other", user.fuseConf)
	for text, says := range map[string]string{
		"mount_max = 5\n user_allow_other \n":       "",
		"user_allow_other # for backups\n":          "",
		"user_allow_other#\r\n":                     "",
		"\v\fuser_allow_other\nuser_allow_other":    "",
		"#user_allow_other\nmount_max = 5\n":        "write the line user_allow_other",
		"user_allow_others\n":                       "write the line user_allow_other",
		"mount_max = 5\nuser_allow_other":           "end it with a newline",
		"user_allow_other" + spaces(238) + "\n":     "",
		"user_allow_other" + spaces(239) + "\n":     "write the line user_allow_other",
		"user_allow_other" + spaces(300) + "#x\n":   "write the line user_allow_other",
		spaces(255) + "user_allow_other\nx = 1\n":   "write the line user_allow_other",
		spaces(255) + "\nuser_allow_other # yes \n": "",
	} {
		require.NoError(t, os.WriteFile(user.fuseConf, []byte(text), 0o644))
		if err := user.FUSE(true); says == "" {
			require.NoError(t, err, "%q", text)
		} else {
			requireCode(t, exitcode.Permission, err, says, user.fuseConf)
		}
	}
	require.NoError(t, os.WriteFile(user.fuseConf, []byte("user_allow_other\n"), 0o644))
	user.fusermount = func() (string, error) { return "", os.ErrNotExist }
	requireCode(t, exitcode.NoFUSE, user.FUSE(false), "package fuse3")
}

func spaces(n int) string { return strings.Repeat(" ", n) }

func TestReplicaThatCannotBeWritten(t *testing.T) {
	c, _ := checker(t)
	require.NoError(t, c.Replica(tempDir(t), true))
	requireCode(t, exitcode.Permission, canWrite("/proc/self/none"), "mount without --rw")
}
