package file

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

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
	st.fuse = isFUSE(&disk)
	return st, nil
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
		st, err = statFD(fd)
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
	st, err := statAt(dir, path)
	if err != nil {
		return attributes{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, nil
}
