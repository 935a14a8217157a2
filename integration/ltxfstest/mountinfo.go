package ltxfstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// MountInfo is a line of /proc/self/mountinfo.
type MountInfo struct {
	Device  string // major:minor
	Dir     string
	Options string
	Type    string
	Source  string
}

// Mounts lists the file systems that are mounted on a directory, the topmost
// last. It touches none of them.
func Mounts(dir string) []MountInfo {
	var found []MountInfo
	for _, m := range allMounts() {
		if m.Dir == dir {
			found = append(found, m)
		}
	}
	return found
}

// mountsBelow lists the directories below dir on which something is mounted.
func mountsBelow(dir string) []string {
	var found []string
	for _, m := range allMounts() {
		if strings.HasPrefix(m.Dir, dir+string(filepath.Separator)) {
			found = append(found, m.Dir)
		}
	}
	return found
}

func allMounts() []MountInfo {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err) // there is no Linux without it
	}
	var mounts []MountInfo
	for line := range strings.Lines(string(data)) {
		// See proc_pid_mountinfo(5): optional fields end with a hyphen.
		head, tail, ok := strings.Cut(line, " - ")
		fields, rest := strings.Fields(head), strings.Fields(tail)
		if !ok || len(fields) < 6 || len(rest) < 2 {
			continue
		}
		mounts = append(mounts, MountInfo{
			Device:  fields[2],
			Dir:     unescape(fields[4]),
			Options: fields[5],
			Type:    rest[0],
			Source:  unescape(rest[1]),
		})
	}
	return mounts
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
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

// detach takes everything that is mounted on dir out of the tree, even where it
// is dead or in use, and fails the calls that hang in it.
func detach(dir string) {
	for len(Mounts(dir)) > 0 {
		err := syscall.Unmount(dir, syscall.MNT_FORCE|syscall.MNT_DETACH|unmountNoFollow)
		if err == syscall.EPERM {
			err = exec.Command("fusermount3", "-u", "-z", "--", dir).Run()
		}
		if err != nil {
			return
		}
	}
}

const unmountNoFollow = 0x8 // UMOUNT_NOFOLLOW
