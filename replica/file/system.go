package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// namesPerRead is how many names are read from a directory at once.
const namesPerRead = 1024

// system is the calls that tests make fail as disks do.
type system struct {
	// openUnnamed opens a file without a name in a directory, for writing.
	openUnnamed func(dir *os.File) (*os.File, error)

	// write writes to a file that is being published.
	write func(f *os.File, p []byte) (int, error)

	// rename renames a file within a directory, as renameat2 does.
	rename func(dir int, from, to string, flags uint) error

	// syncFile and syncDir bring a file or directory to stable storage.
	syncFile func(f *os.File) error
	syncDir  func(f *os.File) error
}

func defaultSystem() system {
	return system{
		openUnnamed: openUnnamed,
		write:       (*os.File).Write,
		rename:      rename,
		syncFile:    (*os.File).Sync,
		syncDir:     (*os.File).Sync,
	}
}

func openUnnamed(dir *os.File) (*os.File, error) {
	return openAt(dir, ".", unix.O_TMPFILE|unix.O_RDWR, fileMode)
}

func rename(dir int, from, to string, flags uint) error {
	if flags == 0 {
		return unix.Renameat(dir, from, dir, to) // which older kernels have too
	}
	return unix.Renameat2(dir, from, dir, to, flags)
}

// open is os.OpenFile without its O_CREATE handling and without touching the
// runtime's poller, which has nothing to do with files on disk.
func open(path string, flags int, mode uint32) (*os.File, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, mode) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openDir opens a directory to read its names.
func openDir(path string) (*os.File, error) {
	return open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// withFD calls f with a file's descriptor, until no signal interrupts it. The
// descriptor stays open meanwhile, whoever closes the file.
func withFD(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var called error
	err = conn.Control(func(fd uintptr) {
		_, called = retry(func() (int, error) { return 0, f(int(fd)) })
	})
	if err != nil {
		return os.ErrClosed // which it doesn't say, and is all that it can be
	}
	return called
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// stat is fstat.
func stat(f *os.File) (attributes, error) {
	var st unix.Statx_t
	err := withFD(f, func(fd int) error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &st) })
	if err != nil {
		return attributes{}, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return attributesOf(&st), nil
}

// statAt is lstat of a name in a directory.
func statAt(dir *os.File, name string) (attributes, error) {
	var st unix.Statx_t
	err := withFD(dir, func(fd int) error { return unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW, statMask, &st) })
	if err != nil {
		return attributes{}, &fs.PathError{Op: "lstat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return attributesOf(&st), nil
}

// statPath is lstat.
func statPath(path string) (attributes, error) {
	var st unix.Statx_t
	_, err := retry(func() (int, error) {
		return 0, unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, statMask, &st)
	})
	if err != nil {
		return attributes{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return attributesOf(&st), nil
}

// eachName calls f with each name in a directory, in no order. A name may come
// twice if the directory changes meanwhile.
func eachName(ctx context.Context, dir *os.File, f func(name string)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := dir.Readdirnames(namesPerRead)
		for _, name := range names {
			f(name)
		}
		// A directory that was removed after it was opened reads as missing.
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// unlinkAt removes a file's name from a directory.
func unlinkAt(dir *os.File, name string) error {
	err := withFD(dir, func(fd int) error { return unix.Unlinkat(fd, name, 0) })
	if err != nil {
		return &fs.PathError{Op: "unlink", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return nil
}

// openAt opens a name in a directory.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	var f *os.File
	err := withFD(dir, func(fd int) error {
		n, err := unix.Openat(fd, name, flags|unix.O_CLOEXEC, mode)
		if err == nil {
			f = os.NewFile(uintptr(n), path)
		}
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// descriptors is where every open file has a path, even one without a name.
const descriptors = "/proc/self/fd"

func descriptorPath(fd int) string { return descriptors + "/" + strconv.Itoa(fd) }

// retry calls f until no signal interrupts it: Go programs send themselves some.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
