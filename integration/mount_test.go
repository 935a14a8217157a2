package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// What can't be mounted is refused with an error that says what is wrong and on
// which path, and mounts nothing.
func TestMountRefused(t *testing.T) {
	t.Parallel()
	orders := ltxfstest.Orders(t)
	mounted := ltxfstest.Mount(t, orders)
	empty := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o644))
	missing := filepath.Join(t.TempDir(), "missing")
	old := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(old, "generations", "0123456789abcdef", "snapshots"), 0o755))
	full := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(full, "x"), 0o755))

	for name, tt := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"mountpoint missing":         {[]string{orders, missing}, ltxfstest.ExitBadMountpoint, []string{missing, "no such directory"}},
		"mountpoint no directory":    {[]string{orders, file}, ltxfstest.ExitBadMountpoint, []string{file, "not a directory"}},
		"mountpoint not empty":       {[]string{orders, full}, ltxfstest.ExitBadMountpoint, []string{full, "not empty"}},
		"already mounted":            {[]string{orders, mounted.Dir}, ltxfstest.ExitAlreadyMounted, []string{mounted.Dir, "already"}},
		"mountpoint is the replica":  {[]string{empty, empty}, ltxfstest.ExitBadMountpoint, []string{empty}},
		"replica missing":            {[]string{missing, empty}, ltxfstest.ExitNoReplica, []string{missing, "no such directory"}},
		"replica missing by URL":     {[]string{"file://" + missing, empty}, ltxfstest.ExitNoReplica, []string{missing}},
		"replica of Litestream 0.3":  {[]string{"--rw", old, empty}, ltxfstest.ExitNoReplica, []string{old, "a replica of Litestream 0.3"}},
		"replica no directory":       {[]string{file, empty}, ltxfstest.ExitNoReplica, []string{file, "not a directory"}},
		"replica of an unknown kind": {[]string{"gs://bucket/path", empty}, ltxfstest.ExitNoReplica, []string{`"gs"`, "not supported"}},
		"no arguments":               {nil, ltxfstest.ExitUsage, []string{"REPLICA"}},
		"no mountpoint":              {[]string{orders}, ltxfstest.ExitUsage, []string{"MOUNTPOINT"}},
		"unknown flag":               {[]string{"--nonsense", orders, empty}, ltxfstest.ExitUsage, []string{"--nonsense"}},
		"unknown layout":             {[]string{"--layout=flat", orders, empty}, ltxfstest.ExitUsage, []string{"flat", "litestream-file"}},
		"unknown log format":         {[]string{"--log-format=xml", orders, empty}, ltxfstest.ExitUsage, []string{"xml"}},
		"too little cache":           {[]string{"--cache-size=1", orders, empty}, ltxfstest.ExitUsage, []string{"--cache-size"}},
		"missing replica, to daemon": {[]string{"--daemon", missing, empty}, ltxfstest.ExitNoReplica, []string{missing, "no such directory"}},
		"full mountpoint, to daemon": {[]string{"--daemon", orders, full}, ltxfstest.ExitBadMountpoint, []string{full, "not empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			result := ltxfstest.Ltxfs(t, append([]string{"mount"}, tt.args...)...)
			require.Equal(t, tt.code, result.Code, result)
			for _, text := range tt.says {
				require.Contains(t, result.Stderr, text)
			}
			require.NotContains(t, result.Stderr, "goroutine")
			require.Empty(t, ltxfstest.Mounts(empty))
		})
	}
	require.Len(t, ltxfstest.Mounts(mounted.Dir), 1)
	ltxfstest.RequireOrders(t, mounted)
}

// A context of SELinux goes to the kernel, whole, which refuses one that isn't in its
// policy, or any where it has none.
func TestContextRefused(t *testing.T) {
	requireRoot(t, "a mount with a context")
	t.Parallel()
	const context = `context="none:of:these:s0:c1,c2"`
	result := ltxfstest.Ltxfs(t, "mount", "-o", "noexec,"+context, ltxfstest.Orders(t), t.TempDir())
	require.Equal(t, ltxfstest.ExitUsage, result.Code, result)
	require.Contains(t, result.Stderr, "the kernel refuses the mount options noexec,"+context+": contexts need SELinux")
}

func TestMountByURL(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "a replica, 100%")
	require.NoError(t, os.Rename(ltxfstest.Orders(t), root))
	ltxfstest.RequireOrders(t, ltxfstest.Mount(t, root))
	ltxfstest.RequireOrders(t, ltxfstest.Mount(t, "file://"+strings.NewReplacer(" ", "%20", "%", "%25").Replace(root)))
}

// A mount whose ltxfs was killed is dead. The next mount takes it away, and so
// does ltxfs umount.
func TestDeadMount(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	m := ltxfstest.Mount(t, root)
	m.Kill(t)
	require.Len(t, ltxfstest.Mounts(m.Dir), 1)
	_, err := m.Process(t).Stat("ltx")
	require.Equal(t, syscall.ENOTCONN, err)

	m = ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Dir: m.Dir})
	require.Len(t, ltxfstest.Mounts(m.Dir), 1, "one mount, not one upon the other")
	ltxfstest.RequireOrders(t, m)

	m.Kill(t)
	result := ltxfstest.Ltxfs(t, "umount", m.Dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	require.Empty(t, ltxfstest.Mounts(m.Dir))
	result = ltxfstest.Ltxfs(t, "umount", m.Dir)
	require.Equal(t, ltxfstest.ExitNotMounted, result.Code, result)
}

// umountAtEnd makes sure that a daemon that a test started is gone after it.
func umountAtEnd(t *testing.T, dir string) {
	t.Cleanup(func() {
		if len(ltxfstest.Mounts(dir)) > 0 {
			ltxfstest.Ltxfs(t, "umount", "--lazy", dir)
		}
	})
}

// --daemon returns once the mount is there, and leaves a process that serves it
// until ltxfs umount.
func TestDaemon(t *testing.T) {
	t.Parallel()
	root, dir := t.TempDir(), ltxfstest.MountPoint(t)
	umountAtEnd(t, dir)
	logFile := filepath.Join(t.TempDir(), "log")
	result := ltxfstest.Ltxfs(t, "mount", "--daemon", "--rw", "--staging-dir", t.TempDir(), "--log-file", logFile, root, dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	require.Len(t, ltxfstest.Mounts(dir), 1, "the mount is there when --daemon returns")

	p := ltxfstest.NewProcess(t, dir, nil)
	_, data := testFile(t, 1)
	require.NoError(t, p.WriteFile(file1, data))
	requireTree(t, root, map[string][]byte{name1: data})
	p.Close()

	result = ltxfstest.Ltxfs(t, "umount", dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	require.Empty(t, ltxfstest.Mounts(dir))
	require.FileExists(t, logFile)
}

// ltxfs umount tells of what the daemon could not publish.
func TestDaemonUnpublished(t *testing.T) {
	t.Parallel()
	root, dir, staging := t.TempDir(), ltxfstest.MountPoint(t), t.TempDir()
	umountAtEnd(t, dir)
	result := ltxfstest.Ltxfs(t, "mount", "--daemon", "--rw", "--staging-dir", staging, "--log-file", filepath.Join(t.TempDir(), "log"), root, dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	p := ltxfstest.NewProcess(t, dir, nil)
	require.NoError(t, p.WriteFile("ltx/0000/notes.txt", []byte("notes")))
	p.Close()
	result = ltxfstest.Ltxfs(t, "umount", dir)
	require.Equal(t, ltxfstest.ExitUnpublished, result.Code, result)
	require.Contains(t, result.Stderr, "notes.txt")
	require.Empty(t, ltxfstest.Mounts(dir))
	requireInStaging(t, staging, []byte("notes"))
}

// ltxfs umount ends a mount in the foreground, too, unless it is in use.
func TestUmount(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	p := m.Process(t)
	f, err := p.Open(ltxfstest.OrdersFiles(t)[0].Path(), unix.O_RDONLY, 0)
	require.NoError(t, err)

	result := ltxfstest.Ltxfs(t, "umount", m.Dir)
	require.Equal(t, ltxfstest.ExitBusy, result.Code, result)
	require.Contains(t, result.Stderr, m.Dir)
	require.Len(t, ltxfstest.Mounts(m.Dir), 1)
	_, err = f.ReadAt(100, 0)
	require.NoError(t, err, "a refused umount changes nothing")

	require.NoError(t, f.Close())
	result = ltxfstest.Ltxfs(t, "umount", m.Dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	require.Equal(t, ltxfstest.ExitOK, m.Wait(t), m.Log())

	other := t.TempDir()
	result = ltxfstest.Ltxfs(t, "umount", other)
	require.Equal(t, ltxfstest.ExitNotMounted, result.Code, result)
	require.Contains(t, result.Stderr, other)
}

// umount(8) and the kernel end the mount and its process as well.
func TestPlainUmount(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	// A moment after the mount, its library may still be looking at it.
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the mount isn't busy", func() bool {
		return ltxfstest.Run(t, ltxfstest.Timeout, "umount", m.Dir).Code == 0
	})
	require.Equal(t, ltxfstest.ExitOK, m.Wait(t), m.Log())
}

func TestSignals(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			m := ltxfstest.Mount(t, ltxfstest.Orders(t))
			m.Signal(t, sig)
			require.Equal(t, ltxfstest.ExitOK, m.Wait(t), m.Log())
		})
	}
}

// A mount that is in use at SIGTERM is detached after a grace period.
func TestTerminateWhileInUse(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--grace=500ms")
	p := m.Process(t)
	_, err := p.Open(ltxfstest.OrdersFiles(t)[0].Path(), unix.O_RDONLY, 0)
	require.NoError(t, err)
	dir, err := p.Open("ltx/0000", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)

	begin := time.Now()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.GreaterOrEqual(t, time.Since(begin), 500*time.Millisecond, "the grace period")
	require.NoError(t, dir.Close())
}

// A mount that is in use ends within the grace period, once it isn't any more.
func TestTerminateUntilUnused(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--grace=1m")
	p := m.Process(t)
	f, err := p.Open(ltxfstest.OrdersFiles(t)[0].Path(), unix.O_RDONLY, 0)
	require.NoError(t, err)
	m.Signal(t, syscall.SIGTERM)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the signal shows in the log", func() bool {
		return strings.Contains(m.Log(), "terminated")
	})
	require.NoError(t, f.Close())
	require.Equal(t, ltxfstest.ExitOK, m.Wait(t), m.Log())
}

// SIGTERM while a large file is being published lets that come to its end.
func TestTerminateWhilePublishing(t *testing.T) {
	t.Parallel()
	w := mountWritable(t)
	_, large := testFile(t, 1, storetest.Commit(6000), storetest.Noise())
	f, err := w.Create(file1)
	require.NoError(t, err)
	require.NoError(t, f.Write(large))
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	require.Equal(t, ltxfstest.ExitOK, w.m.Terminate(t), w.m.Log())
	require.NoError(t, <-closed)
	w.holds(t, map[string][]byte{name1: large})
}

func TestLogFormatJSON(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, t.TempDir(), "--rw", "--log-format=json", "--log-level=debug")
	require.Equal(t, syscall.EBADMSG, m.Process(t).WriteFile(file1, []byte("no LTX")))
	require.NoError(t, m.Process(t).Unlink(file1))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.Contains(t, m.Log(), name1)
	for _, line := range ltxfstest.Lines(m.Log()) {
		var entry struct {
			Time  time.Time
			Level string
			Msg   string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		require.NotEmpty(t, entry.Level, line)
		require.NotEmpty(t, entry.Msg, line)
		require.False(t, entry.Time.IsZero(), line)
	}
}

// The owner and the permissions are those of the flags.
func TestOwnerAndMode(t *testing.T) {
	t.Parallel()
	f := ltxfstest.OrdersFiles(t)[0]
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--uid=12", "--gid=34", "--file-mode=0440", "--dir-mode=0750")
	p := m.Process(t)
	for path, perm := range map[string]uint32{f.Path(): 0o440, ".": 0o750, "ltx": 0o750, "ltx/0000": 0o750} {
		st, err := p.Stat(path)
		require.NoError(t, err)
		require.Equal(t, perm, st.Perm(), path)
		require.Equal(t, []uint32{12, 34}, []uint32{st.UID, st.GID}, path)
	}
}

// The mount's source, type and options are where mount(8) and df look for them.
func TestMountInfo(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	m := ltxfstest.Mount(t, root, "-o", "noexec,noatime")
	require.Len(t, ltxfstest.Mounts(m.Dir), 1)
	info := ltxfstest.Mounts(m.Dir)[0]
	require.Equal(t, "fuse.ltxfs", info.Type)
	require.Contains(t, info.Source, root)
	for _, option := range []string{"noexec", "noatime", "ro"} {
		require.Contains(t, strings.Split(info.Options, ","), option)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	result := ltxfstest.Ltxfs(t, "version")
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	require.Regexp(t, `^ltxfs (version )?\S+`, result.Stdout)
}
