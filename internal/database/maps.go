package database

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/ltxfs/ltxfs/cache/index"
)

// Maps is the memory of all page maps of a mount: up to a quarter of the budget. Beyond
// that they lie on disk, in files without a name. Interior pages take up to a sixteenth more.
type Maps struct {
	dir    string
	most   int
	memory index.Memory
	trees  trees

	mu   sync.Mutex
	used int
	kept int // of runs that are kept for those who may want them
}

// largeTemp is where temporary files are that may be too large for a /tmp in memory,
// unless $TMPDIR says otherwise.
const largeTemp = "/var/tmp"

// NewMaps returns the memory of page maps for a budget of that many bytes.
func NewMaps(budget int64, memory index.Memory) *Maps {
	m := &Maps{dir: cmp.Or(os.Getenv("TMPDIR"), largeTemp), most: int(budget / 4), memory: memory}
	m.trees = trees{most: int64(m.mostKept()), memory: memory}
	return m
}

func (m *Maps) add(n int) {
	m.mu.Lock()
	m.used += n
	m.mu.Unlock()
	m.memory.Add(int64(n))
}

// tryAdd is add, unless that would be too much.
func (m *Maps) tryAdd(n int) bool {
	m.mu.Lock()
	ok := m.used+n <= m.most
	if ok {
		m.used += n
	}
	m.mu.Unlock()
	if ok {
		m.memory.Add(int64(n))
	}
	return ok
}

// mostKept is how much runs may take that are kept for those who may want them, in bytes.
func (m *Maps) mostKept() int { return m.most / 4 }

// tryKeep notes that n bytes more are kept, unless that would be too much.
func (m *Maps) tryKeep(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept+n > m.mostKept() {
		return false
	}
	m.kept += n
	return true
}

func (m *Maps) unkeep(n int) {
	m.mu.Lock()
	m.kept -= n
	m.mu.Unlock()
}

// failed is an error of a page map on disk. It wraps none but of a full disk: another would
// be taken for one of the store.
func (m *Maps) failed(op string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		err = errors.New(err.Error())
	}
	return fmt.Errorf("%s a page map in %s, which is too large for the cache: %w; point TMPDIR at a disk with more room, or raise --cache-size", op, m.dir, err)
}
