package mountinfo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
	mounts, err := Parse(strings.NewReader(table))
	require.NoError(t, err)
	require.Len(t, mounts, 8)
	return mounts
}

func TestParse(t *testing.T) {
	mounts := parse(t)
	require.Equal(t, Mount{
		ID: 60, Parent: 28, Path: "/mnt/a b", Type: "fuse.ltxfs", Source: `/srv/my replica\x`,
		Super: []string{"rw", "user_id=1000", "group_id=1000"},
	}, mounts[2])
	require.Equal(t, "/mnt/tab\tnew\nline", mounts[6].Path)
	require.True(t, mounts[2].IsLTXFS())
	require.False(t, mounts[6].IsLTXFS())
}

func TestParseWithoutFinalNewline(t *testing.T) {
	mounts, err := Parse(strings.NewReader("22 28 0:21 / /proc rw - proc proc rw"))
	require.NoError(t, err)
	require.Len(t, mounts, 1)
}

func TestParseErrors(t *testing.T) {
	for _, line := range []string{
		"nonsense",
		"22 28 0:21 / /proc rw proc proc rw",
		"x 28 0:21 / /proc rw - proc proc rw",
		"22 y 0:21 / /proc rw - proc proc rw",
		"22 28 0:21 / /proc rw - proc",
	} {
		_, err := Parse(strings.NewReader(line + "\n"))
		require.Error(t, err, line)
	}
}

func TestTop(t *testing.T) {
	mounts := parse(t)
	top, ok := mounts.Top("/mnt/c")
	require.True(t, ok)
	require.Equal(t, 63, top.ID)

	_, ok = mounts.Top("/mnt")
	require.False(t, ok)

	// The kernel may list the upper of two mounts first.
	reversed := Table{mounts[5], mounts[4], mounts[3]}
	top, ok = reversed.Top("/mnt/c")
	require.True(t, ok)
	require.Equal(t, 63, top.ID)
}

func TestContainingAndBelow(t *testing.T) {
	mounts := parse(t)
	m, ok := mounts.Containing("/mnt/a b/ltx/0000")
	require.True(t, ok)
	require.Equal(t, 60, m.ID)
	m, ok = mounts.Containing("/srv")
	require.True(t, ok)
	require.Equal(t, 28, m.ID)
	_, ok = Table{}.Containing("/srv")
	require.False(t, ok)

	require.Len(t, mounts.Below("/mnt/c"), 4)
	require.Len(t, mounts.Below("/"), 8)
	require.Empty(t, mounts.Below("/mnt/a"))
}

func TestUserID(t *testing.T) {
	mounts := parse(t)
	id, ok := mounts[2].UserID()
	require.True(t, ok)
	require.Equal(t, uint32(1000), id)
	_, ok = mounts[0].UserID()
	require.False(t, ok)
	_, ok = Mount{Super: []string{"user_id=x"}}.UserID()
	require.False(t, ok)
}

func TestReadSeesTheRoot(t *testing.T) {
	mounts, err := Read()
	require.NoError(t, err)
	_, ok := mounts.Containing("/")
	require.True(t, ok)
}
