package fs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestDeviceIn: the last line with a mountpoint is the mount that is seen there.
func TestDeviceIn(t *testing.T) {
	const table = `22 28 0:21 / /proc rw,relatime - proc proc rw
40 28 0:35 / /mnt/my\040replica rw - fuse.ltxfs /srv/r rw
41 28 0:36 / /mnt/db rw - fuse.ltxfs /srv/r rw
42 41 0:37 / /mnt/db rw - tmpfs tmpfs rw
43 28 0:38 / /mnt/back\134slash rw - tmpfs tmpfs rw
`
	for mountpoint, want := range map[string]string{
		"/mnt/my replica": "0:35",
		"/mnt/db":         "0:37",
		`/mnt/back\slash`: "0:38",
	} {
		got, err := deviceIn(table, mountpoint)
		require.NoError(t, err)
		assert.Equal(t, want, got, mountpoint)
	}
	_, err := deviceIn(table, "/mnt")
	require.ErrorContains(t, err, "/mnt is not in the table of mounts")
}

// TestMountFlags: what mount(2) takes as bits is told from what it takes as text.
func TestMountFlags(t *testing.T) {
	for _, tt := range []struct {
		name  string
		given []string
		flags uintptr
		text  []string
	}{
		{"none", nil, unix.MS_NOSUID | unix.MS_NODEV, nil},
		{"read-only", []string{"ro", "default_permissions"}, unix.MS_NOSUID | unix.MS_NODEV | unix.MS_RDONLY, []string{"default_permissions"}},
		{"several", []string{"noexec", "nosuid", "noatime"}, unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flags, text := mountFlags(tt.given)
			assert.Equal(t, tt.flags, flags)
			assert.Equal(t, tt.text, text)
		})
	}
}
