// Package mounts lists what is mounted, and unmounts it. A mount may hang: reading the
// kernel's table touches none, and what does touch one gives up after a deadline.
package mounts

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Type is the file system type of an ltxfs mount.
const Type = "fuse.ltxfs"

// Mount is a line of the kernel's table of mounts.
type Mount = mountinfo.Info

// IsLTXFS reports whether m is a mount of ltxfs. It may be nil, no mount.
func IsLTXFS(m *Mount) bool { return m != nil && m.FSType == Type }

// UserID is the user who made a FUSE mount.
func UserID(m *Mount) (uint32, bool) {
	for option := range strings.SplitSeq(m.VFSOptions, ",") {
		if value, ok := strings.CutPrefix(option, "user_id="); ok {
			id, err := strconv.ParseUint(value, 10, 32)
			return uint32(id), err == nil
		}
	}
	return 0, false
}

// Table is all mounts, in the kernel's order.
type Table []*Mount

// Read reads the table of this process's mount namespace.
func Read() (Table, error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the table of mounts: %w", err)
	}
	return table, nil
}

// Top returns the mount that a process sees at path, or nil: of several that are
// stacked there, the one on top. path must be absolute, clean and without links.
func (t Table) Top(path string) *Mount {
	// Mounts that were made later mostly stand later.
	for _, m := range slices.Backward(t) {
		covers := func(other *Mount) bool { return other.Mountpoint == path && other.Parent == m.ID && other != m }
		if m.Mountpoint == path && !slices.ContainsFunc(t, covers) {
			return m
		}
	}
	return nil
}

// Containing returns the mount whose file system holds path, or nil.
func (t Table) Containing(path string) *Mount {
	m := t.Top(path)
	for m == nil && path != "/" && path != "." {
		path = filepath.Dir(path)
		m = t.Top(path)
	}
	return m
}

// Device is the device number, as major:minor, of what is mounted at path.
func Device(path string) (string, error) {
	table, err := Read()
	if err != nil {
		return "", err
	}
	m := table.Top(path)
	if m == nil {
		return "", fmt.Errorf("%s is not in the table of mounts", path)
	}
	return fmt.Sprintf("%d:%d", m.Major, m.Minor), nil
}
