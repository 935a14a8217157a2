// Package holders finds the processes that use a mount, from /proc alone: it
// never touches the mount, which may hang.
package holders

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Holder is a process that uses a mount.
type Holder struct {
	PID     int
	Command string // its command line, cut to a readable length
	Use     string // how it uses the mount
}

func (h Holder) String() string { return fmt.Sprintf("%d %s (%s)", h.PID, h.Command, h.Use) }

// maxCommand is the length at which a command line is cut.
const maxCommand = 80

// Find returns up to limit processes that use the mount at path, by ascending
// process ID. Processes of other users are seen by root only.
func Find(path string, limit int) []Holder { return find("/proc", path, limit) }

func find(proc, path string, limit int) []Holder {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	var found []Holder
	for _, pid := range pids {
		if len(found) >= limit {
			break
		}
		if pid == os.Getpid() {
			continue
		}
		dir := filepath.Join(proc, strconv.Itoa(pid))
		if use := useOf(dir, path); use != "" {
			found = append(found, Holder{PID: pid, Command: command(dir), Use: use})
		}
	}
	return found
}

// useOf says how the process in dir uses the mount, or "".
func useOf(dir, path string) string {
	if target, err := os.Readlink(filepath.Join(dir, "cwd")); err == nil && under(target, path) {
		return "works in " + target
	}
	if target, err := os.Readlink(filepath.Join(dir, "root")); err == nil && target != "/" && under(target, path) {
		return "has its root in " + target
	}
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		if target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && under(target, path) {
			return "has open " + target
		}
	}
	if target := mapped(dir, path); target != "" {
		return "has mapped " + target
	}
	return ""
}

// mapped returns a file of the mount that the process has mapped to memory.
func mapped(dir, path string) string {
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// address perms offset dev inode path
		if i := strings.Index(lines.Text(), "/"); i >= 0 {
			if target := lines.Text()[i:]; under(target, path) {
				return target
			}
		}
	}
	return ""
}

func under(target, path string) bool {
	return target == path || strings.HasPrefix(target, strings.TrimSuffix(path, "/")+"/")
}

func command(dir string) string {
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	text := string(bytes.TrimSpace(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	if err != nil || text == "" {
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		text = string(bytes.TrimSpace(name))
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxCommand {
		text = strings.ToValidUTF8(text[:maxCommand], "") + "…"
	}
	return text
}
