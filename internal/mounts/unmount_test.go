package mounts

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// What fusermount3 prints, from util/fusermount.c and lib/mount_util.c of libfuse,
// 2.9 to 3.18.
func TestAnswersOfFusermount(t *testing.T) {
	failed := errors.New("exit status 1")
	for text, want := range map[string]error{
		"fusermount3: failed to unmount /mnt/a: Device or resource busy": ErrBusy,
		"fusermount3: entry for /mnt/a not found in /etc/mtab":           errNotMounted,
		"fusermount3: /mnt/a not mounted":                                errNotMounted,
		"fusermount3: failed to unmount /mnt/a: Invalid argument":        errNotMounted,
		"fusermount3: failed to unmount /mnt/a: Operation not permitted": os.ErrPermission,
		"": failed,
		"fusermount3: bad mount point /mnt/a/b: No such file or directory":     nil,
		"fusermount3: failed to chdir to /mnt: Permission denied":              nil,
		"fusermount3: failed to clone namespace: Operation not permitted":      os.ErrPermission,
		"fusermount3: mountpoint moved (/mnt/Device or resource busy -> /mnt)": nil,
		"fusermount3: failed to unmount /mnt/a not mounted/b: No such file":    nil,
		"fusermount3: invalid mountpoint ''":                                   nil,
		"fusermount3: unknown parameter in /etc/fuse.conf at line 1: 'x'\n" +
			"fusermount3: failed to unmount /mnt/a: Device or resource busy": ErrBusy,
	} {
		err := answer(text+"\n", failed)
		require.Error(t, err, text)
		for _, known := range []error{ErrBusy, errNotMounted, os.ErrPermission, failed} {
			require.Equal(t, known == want, errors.Is(err, known), "%s: %v", text, known)
		}
		if want == nil || want == os.ErrPermission {
			require.ErrorContains(t, err, text)
		}
	}
}

func TestUnmountOfWhatIsNotMounted(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Unmount(dir))
	require.NoError(t, Detach(dir))
	require.Error(t, Unmount("/proc/self"+dir))
	require.ErrorIs(t, unmountDirectly(dir, true), errNotMounted)
	require.Error(t, unmountByHelper(dir, false))
	require.NoError(t, DetachIfDead(dir))
	require.NoError(t, DetachIfDead("/proc"))
}
