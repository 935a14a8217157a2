package file

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// system is the calls that tests make fail as disks do.
type system struct {
	// openUnnamed opens a file without a name in a directory, for writing.
	openUnnamed func(dir string) (*os.File, error)

	// write writes to a file that is being published.
	write func(f *os.File, p []byte) (int, error)

	// rename renames a file, and replaces nothing if it is exclusive.
	rename func(from, to string, exclusive bool) error

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

// unlink removes a file's name.
func unlink(path string) error {
	if _, err := retry(func() (int, error) { return 0, unix.Unlink(path) }); err != nil {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
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
