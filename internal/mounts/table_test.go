package mounts

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const table = `22 28 0:21 / /proc rw,nosuid - proc proc rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
60 28 0:50 / /mnt/a\040b rw,nosuid,nodev shared:2 master:1 - fuse.ltxfs /srv/my\040replica\134x rw,user_id=1000,group_id=1000
61 28 0:51 / /mnt/c ro - fuse.ltxfs /one ro,user_id=0,group_id=0
62 61 0:52 / /mnt/c rw - tmpfs tmpfs rw
63 62 0:53 / /mnt/c ro - fuse.ltxfs /two rw,user_id=0
70 28 0:60 / /mnt/tab\011new\012line rw - fuse.sshfs me@host:/x rw
80 28 0:61 / /mnt/c/deep rw - tmpfs none rw
`

func parse(t *testing.T) Table {
	t.Helper()
	mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(table), nil)
	require.NoError(t, err)
	require.Len(t, mounts, 8)
	return mounts
}

func TestTable(t *testing.T) {
	mounts := parse(t)
	require.Equal(t, Mount{
		ID: 60, Parent: 28, Minor: 50, Root: "/", Mountpoint: "/mnt/a b", Options: "rw,nosuid,nodev", Optional: "shared:2 master:1",
		FSType: "fuse.ltxfs", Source: `/srv/my replica\x`, VFSOptions: "rw,user_id=1000,group_id=1000",
	}, *mounts[2])
	require.Equal(t, "/mnt/tab\tnew\nline", mounts[6].Mountpoint)
	require.True(t, IsLTXFS(mounts[2]))
	require.False(t, IsLTXFS(mounts[6]))
	require.False(t, IsLTXFS(nil))
}

func TestTop(t *testing.T) {
	mounts := parse(t)
	require.Equal(t, 63, mounts.Top("/mnt/c").ID)
	require.Nil(t, mounts.Top("/mnt"))

	// The kernel may list the upper of two mounts first.
	reversed := Table{mounts[5], mounts[4], mounts[3]}
	require.Equal(t, 63, reversed.Top("/mnt/c").ID)

	// Whatever its number of mounts, one that holds itself is there.
	require.Equal(t, 1, Table{{ID: 1, Parent: 1, Mountpoint: "/"}}.Top("/").ID)
}

func TestContaining(t *testing.T) {
	mounts := parse(t)
	require.Equal(t, 60, mounts.Containing("/mnt/a b/ltx/0000").ID)
	require.Equal(t, 28, mounts.Containing("/srv").ID)
	require.Nil(t, Table{}.Containing("/srv"))
}

func TestUserID(t *testing.T) {
	mounts := parse(t)
	id, ok := UserID(mounts[2])
	require.True(t, ok)
	require.Equal(t, uint32(1000), id)
	_, ok = UserID(mounts[0])
	require.False(t, ok)
	_, ok = UserID(&Mount{VFSOptions: "user_id=x"})
	require.False(t, ok)
}

func TestReadSeesTheRoot(t *testing.T) {
	mounts, err := Read()
	require.NoError(t, err)
	root := mounts.Containing("/")
	require.NotNil(t, root)
	device, err := Device("/")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%d:%d", root.Major, root.Minor), device)
	var st unix.Stat_t
	require.NoError(t, unix.Stat("/proc", &st))
	device, err = Device("/proc")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), device)
	_, err = Device("/no/such")
	require.ErrorContains(t, err, "/no/such is not in the table of mounts")
}
