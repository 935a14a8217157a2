package fs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

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
		{"SELinux", []string{`context="u:r:t:s0:c1,c2"`}, unix.MS_NOSUID | unix.MS_NODEV, []string{`context="u:r:t:s0:c1,c2"`}},
		{"several", []string{"noexec", "nosuid", "noatime"}, unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flags, text := mountFlags(tt.given)
			assert.Equal(t, tt.flags, flags)
			assert.Equal(t, tt.text, text)
		})
	}
}
