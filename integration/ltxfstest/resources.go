package ltxfstest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Descriptors are what the daemon has open, sorted.
func (m *Mounted) Descriptors(t testing.TB) []string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", m.PID)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed by now
		}
		open = append(open, target)
	}
	slices.Sort(open)
	return open
}

// Threads is how many threads the daemon has.
func (m *Mounted) Threads(t testing.TB) int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", m.PID))
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

// Resident is the memory that the daemon has resident now, in bytes. Memory is
// the most that it ever had.
func (m *Mounted) Resident(t testing.TB) int64 {
	t.Helper()
	return procStatus(t, m.PID, "VmRSS")
}

// Mapped is how much of a mapping of that size the daemon has resident now, in bytes.
func (m *Mounted) Mapped(t testing.TB, size int64) (resident int64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", m.PID))
	if err != nil {
		t.Fatal(err)
	}
	const words = `(?m)^Size: +%d kB\n(?:.*\n){2}Rss: +(\d+) kB$`
	found := regexp.MustCompile(fmt.Sprintf(words, size>>10)).FindAllSubmatch(maps, -1)
	if len(found) != 1 {
		t.Fatalf("the daemon has %d mappings of %d bytes:\n%s", len(found), size, maps)
	}
	kib, err := strconv.ParseInt(string(found[0][1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// Read is how many bytes the daemon has read by whatever system call, those of the
// kernel's requests among them.
func (m *Mounted) Read(t testing.TB) (n int64) {
	t.Helper()
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", m.PID))
	if err == nil {
		_, err = fmt.Sscanf(string(io), "rchar: %d", &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var (
	goroutine = regexp.MustCompile(`(?m)^goroutine \d+ .*\[`)
	createdBy = regexp.MustCompile(`(?m)^created by (\S+)`)
)

// Goroutines ends the daemon, without letting it end the mount, and returns how
// many goroutines it had, and how many by the function that started them.
func (m *Mounted) Goroutines(t testing.TB) (n int, byStart map[string]int) {
	t.Helper()
	dump := m.dump()
	byStart = map[string]int{}
	for _, match := range createdBy.FindAllStringSubmatch(dump, -1) {
		byStart[match[1]]++
	}
	if n = len(goroutine.FindAllString(dump, -1)); n == 0 {
		t.Fatalf("the daemon wrote no goroutines: %s", dump)
	}
	return n, byStart
}

// procStatus is a line of /proc/<pid>/status that holds a size, in bytes.
func procStatus(t testing.TB, pid int, key string) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		value, ok := strings.CutPrefix(string(line), key+":")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kb << 10
	}
	t.Fatalf("/proc/%d/status has no %s", pid, key)
	return 0
}
