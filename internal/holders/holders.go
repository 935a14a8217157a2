// Package holders finds the processes that use a mount, from /proc alone: it
// never touches the mount, which may hang.
package holders

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
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
	entries, _ := os.ReadDir(proc) // without it, nobody is known
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	var found []Holder
	for _, pid := range pids {
		if len(found) >= limit {
			break
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
	links, _ := filepath.Glob(dir + "/fd/*")
	for _, link := range append([]string{dir + "/cwd", dir + "/root"}, links...) {
		target, err := os.Readlink(link)
		if err != nil || !under(target, path) {
			continue
		}
		switch filepath.Base(link) {
		case "cwd":
			return "works in " + target
		case "root":
			return "has its root in " + target
		}
		return "has open " + target
	}
	maps, _ := os.ReadFile(dir + "/maps")
	for line := range strings.Lines(string(maps)) {
		// address perms offset dev inode path
		if i := strings.Index(line, "/"); i >= 0 && under(strings.TrimSuffix(line[i:], "\n"), path) {
			return "has mapped " + strings.TrimSuffix(line[i:], "\n")
		}
	}
	return ""
}

func under(target, path string) bool { return strings.HasPrefix(target+"/", path+"/") }

func command(dir string) string {
	text, _ := os.ReadFile(dir + "/cmdline")
	if len(text) == 0 {
		text, _ = os.ReadFile(dir + "/comm")
	}
	line := strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(text)))
	if len(line) > maxCommand {
		line = strings.ToValidUTF8(line[:maxCommand], "") + "…"
	}
	return line
}
