package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// entry is an entry of a directory: its name, which is valid until the next, and its
// type, which is one of unix.DT_*.
type entry struct {
	name []byte
	kind byte
}

// isRegular reports whether an entry of a directory is a regular file. Some file systems
// have no types in their directories.
func (e entry) isRegular(dir *os.File) (bool, error) {
	if e.kind != unix.DT_UNKNOWN {
		return e.kind == unix.DT_REG, nil
	}
	st, err := lstatAt(int(dir.Fd()), string(e.name))
	if isMissing(err) {
		return false, nil
	}
	return st.isRegular(), err
}
