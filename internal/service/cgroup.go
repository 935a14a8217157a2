package service

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/settings"
)

const (
	// besideCache is the most memory that ltxfs has beside its budget, in bytes.
	besideCache = 64 << 20

	// spareShare is the part of a cgroup's memory that is left to others in there and
	// to the kernel.
	spareShare = 8
)

// limitCache cuts the budget to what the memory of the process's cgroup has room for.
func (s *server) limitCache() {
	table, err := mounts.Read()
	var groups []byte
	if err == nil {
		groups, err = os.ReadFile("/proc/self/cgroup")
	}
	if err != nil {
		s.log.Debug("can't look for a limit on memory", "error", err)
		return
	}
	limit := memoryLimit(table, string(groups))
	room := cacheWithin(limit)
	if room >= s.cfg.CacheSize {
		return
	}
	s.log.Warn("the cache is smaller than was asked for, since the cgroup has no more memory: raise its limit, or give a smaller --cache-size",
		"cache_size", room, "asked_for", s.cfg.CacheSize, "cgroup_memory", settings.Size(limit))
	s.cfg.CacheSize = room
}

// cacheWithin is the largest budget of a process with so much memory.
func cacheWithin(limit int64) settings.Size {
	return settings.Size(max(limit-limit/spareShare-besideCache, settings.MinCacheSize))
}

// memoryLimit is the lowest limit on memory, in bytes, of a process's cgroups and of those
// around them, by the table of mounts and the process's /proc/PID/cgroup. Without one it
// is math.MaxInt64.
func memoryLimit(table mounts.Table, groups string) int64 {
	limit := int64(math.MaxInt64)
	for line := range strings.Lines(groups) {
		// A number, the controllers, which the second version has none of, and the path.
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 {
			continue
		}
		kind, file, controllers := "cgroup2", "memory.max", strings.Split(fields[1], ",")
		if fields[1] != "" {
			kind, file = "cgroup", "memory.limit_in_bytes"
			if !slices.Contains(controllers, "memory") {
				continue
			}
		}
		for _, m := range table {
			if m.FSType != kind || kind == "cgroup" && !slices.Contains(strings.Split(m.VFSOptions, ","), "memory") {
				continue
			}
			// What is mounted may be no more than the container's own part.
			dir := m.Mountpoint
			if below, err := filepath.Rel(m.Root, fields[2]); err == nil && filepath.IsLocal(below) {
				dir = filepath.Join(dir, below)
			}
			limit = min(limit, readLimit(filepath.Join(m.Mountpoint, file)))
			for ; len(dir) > len(m.Mountpoint); dir = filepath.Dir(dir) {
				limit = min(limit, readLimit(filepath.Join(dir, file)))
			}
		}
	}
	return limit
}

// readLimit reads a limit. Where there is none, the file is missing, or says "max" or a
// number close to the highest.
func readLimit(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return math.MaxInt64
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return limit
}
