package file

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// stat is fstat, and asks the file system what it is. For some that is one more request
// to their server. Nobody may remember it by the device's number, which the next to be
// mounted may get.
func stat(f *os.File) (st attributes, err error) {
	st, err = fstat(f)
	if err != nil {
		return st, err
	}
	var disk unix.Statfs_t
	if err := withFD(f, func(fd int) error { return unix.Fstatfs(fd, &disk) }); err != nil {
		return attributes{}, &fs.PathError{Op: "fstatfs", Path: f.Name(), Err: err}
	}
	st.fuse = disk.Type == unix.FUSE_SUPER_MAGIC
	return st, nil
}

// statPath is stat of a path, which may be a link's.
func statPath(path string) (attributes, error) {
	f, err := open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return attributes{}, err
	}
	defer f.Close()
	return stat(f)
}

// statIn is statPath of a name in an open directory, and asks only if it isn't on the same
// file system.
func statIn(dir *os.File, of attributes, name string) (attributes, error) {
	// By its descriptor, since a million paths take the kernel a while.
	st, err := lstatAt(int(dir.Fd()), name)
	if err == nil && !st.isOnSameDevice(of) {
		return statPath(dir.Name() + "/" + name)
	}
	st.fuse = of.fuse
	return st, err
}

// fstat doesn't ask the file system what it is.
func fstat(f *os.File) (st attributes, err error) {
	err = withFD(f, func(fd int) error {
		st, err = statx(fd, "", unix.AT_EMPTY_PATH)
		return err
	})
	if err != nil {
		return attributes{}, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return st, nil
}

// lstat doesn't ask the file system what it is.
func lstat(path string) (attributes, error) { return lstatAt(unix.AT_FDCWD, path) }

func lstatAt(dir int, path string) (attributes, error) {
	st, err := statx(dir, path, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return attributes{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, nil
}

func statx(fd int, path string, flags int) (st attributes, err error) {
	// Without retry, which would put each on the heap.
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Statx(fd, path, flags, statMask, &st.Statx_t)
	}
	return st, err
}
