package replica

import (
	"path"
	"regexp"
)

// Generations03 is the directory below a replica's root that all of Litestream 0.3's
// files are in, in one directory for each generation.
const Generations03 = "generations"

var (
	generation03 = regexp.MustCompile(`^[0-9a-f]{16}$`)
	below03      = regexp.MustCompile(`^(.*/|)generations(/[0-9a-f]{16}(/snapshots|/wal)?)?$`)
)

// IsGeneration03 reports whether Litestream 0.3 may call a generation so.
func IsGeneration03(name string) bool { return generation03.MatchString(name) }

// Root03 is the root of the replica of Litestream 0.3 that a path is below, by its
// name. If it is below none, that is the path itself, and false.
func Root03(p string) (root string, below bool) {
	p = path.Clean(p)
	if match := below03.FindStringSubmatch(p); match != nil {
		return path.Clean(match[1]), true
	}
	return p, false
}
