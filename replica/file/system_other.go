//go:build !linux

package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Other systems have no unnamed files, and no one call for a rename that replaces nothing:
// temporary names and links do as well.

func openUnnamed(string) (*os.File, error) { return nil, unix.EOPNOTSUPP }

func rename(from, to string, exclusive bool) error {
	if exclusive {
		return unix.ENOSYS
	}
	return unix.Rename(from, to)
}

// isNoFile reports whether err is how open refuses a link, on FreeBSD by EMLINK, or a socket.
func isNoFile(err error) bool {
	return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) ||
		errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EOPNOTSUPP)
}

func dropPages(*os.File) {} // macOS takes no such advice
