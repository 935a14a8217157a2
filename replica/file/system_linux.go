package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func openUnnamed(dir string) (*os.File, error) {
	if _, err := os.Stat(descriptors); err != nil {
		return nil, unix.EOPNOTSUPP // it couldn't get a name: that goes by a path there
	}
	return open(dir, unix.O_TMPFILE|unix.O_RDWR, fileMode)
}

func rename(from, to string, exclusive bool) error {
	if !exclusive {
		return unix.Rename(from, to) // which older kernels have too
	}
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
}

// isNoFile reports whether err is how open refuses a link or a socket.
func isNoFile(err error) bool { return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) }

// dropPages has what is read of a file come from the disk, not from the pages just written.
// The kernel needn't follow the advice, and then it is as good as it gets.
func dropPages(f *os.File) {
	_ = withFD(f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
}
