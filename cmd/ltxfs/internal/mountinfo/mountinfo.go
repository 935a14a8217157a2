// Package mountinfo reads the kernel's table of mounts. It never touches a
// mount itself, so that a mount that hangs can't hang it.
package mountinfo

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Type is the file system type of an ltxfs mount.
const Type = "fuse.ltxfs"

// Mount is a line of /proc/self/mountinfo.
type Mount struct {
	ID     int
	Parent int
	Path   string   // where it is mounted, unescaped
	Type   string   // such as "ext4" or "fuse.ltxfs"
	Source string   // unescaped
	Super  []string // the super block's options
}

// IsLTXFS reports whether m is a mount of ltxfs.
func (m Mount) IsLTXFS() bool { return m.Type == Type }

// UserID is the user who made a FUSE mount.
func (m Mount) UserID() (uint32, bool) {
	for _, option := range m.Super {
		if value, ok := strings.CutPrefix(option, "user_id="); ok {
			id, err := strconv.ParseUint(value, 10, 32)
			return uint32(id), err == nil
		}
	}
	return 0, false
}

// Table is all mounts, in the kernel's order.
type Table []Mount

// Read reads the table of this process's mount namespace.
func Read() (Table, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the table of mounts: %w", err)
	}
	defer f.Close()
	return Parse(f)
}

// Parse parses a table in the format of proc_pid_mountinfo(5).
func Parse(r io.Reader) (Table, error) {
	var table Table
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			m, perr := parseLine(line)
			if perr != nil {
				return nil, fmt.Errorf("parse the table of mounts: %w", perr)
			}
			table = append(table, m)
		}
		if err == io.EOF {
			return table, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the table of mounts: %w", err)
		}
	}
}

// parseLine parses a line such as
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func parseLine(line string) (Mount, error) {
	fields := strings.Split(line, " ")
	sep := -1
	if len(fields) > 6 {
		sep = slices.Index(fields[6:], "-") + 6
	}
	if sep < 6 || len(fields) < sep+4 {
		return Mount{}, fmt.Errorf("line %q has too few fields", line)
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return Mount{}, fmt.Errorf("line %q: mount ID: %w", line, err)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Mount{}, fmt.Errorf("line %q: parent ID: %w", line, err)
	}
	return Mount{
		ID:     id,
		Parent: parent,
		Path:   unescape(fields[4]),
		Type:   unescape(fields[sep+1]),
		Source: unescape(fields[sep+2]),
		Super:  strings.Split(fields[sep+3], ","),
	}, nil
}

// unescape undoes the kernel's octal escapes: \040 for a space, \011 for a
// tab, \012 for a newline, \134 for a backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Top returns the mount that a process sees at path: of several that are
// stacked there, the one on top. path must be absolute, clean and without
// links.
func (t Table) Top(path string) (Mount, bool) {
	var top Mount
	found := false
	covered := map[int]bool{}
	for _, m := range t {
		if m.Path == path && m.ID != m.Parent {
			covered[m.Parent] = true
		}
	}
	for _, m := range t {
		// Mounts that were made later stand later; a mount that another
		// one at the same path is stacked on is not the top.
		if m.Path == path && (!found || !covered[m.ID]) {
			top, found = m, true
		}
	}
	return top, found
}

// Containing returns the mount whose file system holds path.
func (t Table) Containing(path string) (Mount, bool) {
	for {
		if m, ok := t.Top(path); ok {
			return m, true
		}
		if path == "/" || path == "." {
			return Mount{}, false
		}
		path = filepath.Dir(path)
	}
}

// Below returns the mounts at path and below it.
func (t Table) Below(path string) []Mount {
	var below []Mount
	for _, m := range t {
		if m.Path == path || strings.HasPrefix(m.Path, strings.TrimSuffix(path, "/")+"/") {
			below = append(below, m)
		}
	}
	return below
}
