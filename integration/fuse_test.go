package integration

import (
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

var (
	sshfs = []string{"sshfs", "-o", "dir_cache=no,ssh_command=sh -c /usr/lib/openssh/sftp-server", "host:DISK", "DIR"}
	// Without use_ino, it numbers files as sshfs does.
	mergerfs = []string{"mergerfs", "-o", "allow_other,cache.attr=0,cache.entry=0", "DISK", "DIR"}
)

// Below FUSE, a file that gets another inode number stays the version that it is, and
// one that is replaced becomes another.
func TestReplicaOnFUSE(t *testing.T) {
	requireRoot(t, "mergerfs")
	t.Parallel()
	user := ltxfstest.User(t)
	for name, tt := range map[string]struct {
		below       []string            // mounts DISK on DIR
		user, owner *syscall.Credential // who mounts the replica, and who that
	}{
		"sshfs":             {sshfs, user, user},
		"sshfs for root":    {sshfs, nil, nil},
		"mergerfs":          {mergerfs, user, nil},
		"mergerfs for root": {mergerfs, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, dir := t.TempDir(), ltxfstest.MountPoint(t)
			stored := filepath.Join(disk, "ltx/0", name1)
			versions := [][]byte{largeVersion(t, 1), largeVersion(t, 2)}
			ltxfstest.Store(t, stored, versions[0], storetest.DefaultTime)
			ltxfstest.Give(t, tt.user, disk, dir)
			words := strings.NewReplacer("DISK", disk, "DIR", dir)
			mountBelow := func() {
				t.Helper()
				var command []string
				for _, arg := range tt.below {
					command = append(command, words.Replace(arg))
				}
				as(t, tt.owner, command[0], command[1:]...)
			}
			number := func() string { return as(t, tt.user, "stat", "-c", "%i", filepath.Join(dir, "ltx/0", name1)) }

			mountBelow()
			m := ltxfstest.MountWith(t, dir, ltxfstest.MountOptions{Credential: tt.user, Flags: []string{"--rw", "--freshness=0s"}})
			p := ltxfstest.NewProcess(t, m.Dir, tt.user)
			f, err := p.Open(file1, unix.O_RDONLY, 0)
			require.NoError(t, err)
			head, err := f.ReadAt(10_000, 0)
			require.NoError(t, err)
			before, first := number(), stat(t, p, file1)

			// A new mount numbers files by the order in which it meets them, as one
			// does whose files the kernel has forgotten.
			ltxfstest.Eventually(t, ltxfstest.Timeout, "what is read ahead is read", func() bool {
				return ltxfstest.Run(t, ltxfstest.Timeout, "umount", dir).Code == 0
			})
			ltxfstest.Store(t, filepath.Join(disk, "another"), nil, storetest.DefaultTime)
			mountBelow()
			as(t, tt.user, "stat", filepath.Join(dir, "another"))
			require.NotEqual(t, before, number(), "the premise")
			rest, err := f.ReadAt(len(versions[0]), int64(len(head)))
			require.NoError(t, err)
			require.Equal(t, ltxfstest.SHA256(versions[0]), ltxfstest.SHA256(append(head, rest...)))
			require.Equal(t, first.Ino, stat(t, p, file1).Ino)

			// What the mount writes is the version that the file system then has.
			require.NoError(t, p.WriteFile(file2, storetest.LTX(t, 2, 2)))
			written, err := p.Open(file2, unix.O_RDONLY, 0)
			require.NoError(t, err)
			st, err := written.Stat()
			require.NoError(t, err)
			require.Equal(t, st.Ino, stat(t, p, file2).Ino)

			ltxfstest.Store(t, stored, versions[1], storetest.DefaultTime.Add(time.Minute))
			ltxfstest.Eventually(t, ltxfstest.Timeout, "the other version shows", func() bool {
				data, err := p.ReadFile(file1)
				return err == nil && ltxfstest.SHA256(data) == ltxfstest.SHA256(versions[1])
			})
			require.NoError(t, f.Close())
			require.NoError(t, written.Close())
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}

// A disk that gets the number of the device that a file system in FUSE had is none: what
// is written there in place is another version.
func TestReplicaNoMoreOnFUSE(t *testing.T) {
	requireRoot(t, "mergerfs")
	t.Parallel()
	disk, dir := t.TempDir(), ltxfstest.MountPoint(t)
	at := func(dir string) string { return filepath.Join(dir, "ltx/0", name1) }
	versions := [][]byte{storetest.LTX(t, 1, 1, storetest.Noise(), storetest.Seed(1)), storetest.LTX(t, 1, 1, storetest.Noise(), storetest.Seed(2))}
	require.Len(t, versions[1], len(versions[0]))
	ltxfstest.Store(t, at(disk), versions[0], storetest.DefaultTime)
	ltxfstest.MustRun(t, mergerfs[0], mergerfs[1], mergerfs[2], disk, dir)
	m := ltxfstest.MountWith(t, dir, ltxfstest.MountOptions{Flags: []string{"--freshness=0s"}})
	p := ltxfstest.NewProcess(t, m.Dir, nil)
	inFUSE := stat(t, p, file1)
	device := func(dir string) string { return ltxfstest.MustRun(t, "stat", "-c", "%d", dir) }
	was := device(dir)
	ltxfstest.MustRun(t, "umount", dir)

	// The kernel gives the lowest number that is free.
	for deadline := time.Now().Add(ltxfstest.Timeout); ; {
		require.True(t, time.Now().Before(deadline), "another has taken the device's number")
		other := ltxfstest.MountPoint(t)
		ltxfstest.MustRun(t, "mount", "-t", "tmpfs", "tmpfs", other)
		if device(other) == was {
			ltxfstest.MustRun(t, "mount", "--bind", other, dir)
			break
		}
	}
	ltxfstest.Store(t, at(dir), versions[0], storetest.DefaultTime)
	onDisk := stat(t, p, file1)
	require.NotEqual(t, inFUSE.Ino, onDisk.Ino)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the clock of the disk has moved on", func() bool {
		require.NoError(t, os.WriteFile(at(dir), versions[1], 0o644))
		require.NoError(t, os.Chtimes(at(dir), storetest.DefaultTime, storetest.DefaultTime))
		return stat(t, p, file1).Ino != onDisk.Ino
	})
	data, err := p.ReadFile(file1)
	require.NoError(t, err)
	require.Equal(t, ltxfstest.SHA256(versions[1]), ltxfstest.SHA256(data))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	ltxfstest.MustRun(t, "umount", dir)
}

// largeVersion is a file that no read-ahead reads whole.
func largeVersion(t *testing.T, seed uint64) []byte {
	t.Helper()
	return storetest.LTX(t, 1, 1, storetest.Noise(), storetest.PageSize(65536), storetest.Commit(100), storetest.Seed(seed))
}

func stat(t *testing.T, p *ltxfstest.Process, path string) ltxfstest.Stat {
	t.Helper()
	st, err := p.Stat(path)
	require.NoError(t, err)
	return st
}
