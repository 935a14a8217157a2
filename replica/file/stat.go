package file

import (
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// onFUSE has, by device number, whether a file system is one in FUSE. To ask each time
// would be one more request to the server of some.
var onFUSE sync.Map

// stat is fstat.
func stat(f *os.File) (st attributes, err error) {
	err = withFD(f, func(fd int) error {
		st, err = statx(fd, "")
		return err
	})
	if err != nil {
		return attributes{}, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return st, nil
}

// statPath is lstat.
func statPath(path string) (attributes, error) { return statAt(unix.AT_FDCWD, path) }

// statAt is lstat of a path below the directory that a descriptor is of.
func statAt(dir int, path string) (attributes, error) {
	st, err := statx(dir, path)
	if err != nil {
		return attributes{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, nil
}

// statx looks at a path below a descriptor, or with no path at what that is of. It tells
// no more than stays as long as the file does.
func statx(fd int, path string) (attributes, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if path == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if _, err := retry(func() (int, error) { return 0, unix.Statx(fd, path, flags, statMask, &st) }); err != nil {
		return attributes{}, err
	}
	device := unix.Mkdev(st.Dev_major, st.Dev_minor)
	fuse, known := onFUSE.Load(device)
	if !known && path != "" {
		at, err := retry(func() (int, error) { return unix.Openat(fd, path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
		if err != nil {
			return attributes{}, err
		}
		defer unix.Close(at)
		return statx(at, "")
	}
	if !known {
		var disk unix.Statfs_t
		if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(fd, &disk) }); err != nil {
			return attributes{}, err
		}
		fuse = disk.Type == unix.FUSE_SUPER_MAGIC
		onFUSE.Store(device, fuse)
	}
	if fuse == true {
		// Many, such as sshfs and mergerfs, number a file anew when the kernel has
		// forgotten it, and make up the time of its change.
		st.Ino, st.Ctime = 0, unix.StatxTimestamp{}
	}
	return attributes(st), nil
}
