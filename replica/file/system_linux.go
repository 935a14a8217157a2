package file

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"iter"
	"os"
	"unsafe"

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

type (
	status    = unix.Statx_t
	timestamp = unix.StatxTimestamp
)

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// statPath is stat of a path, which may be a link's.
func statPath(path string) (attributes, error) {
	f, err := open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return attributes{}, err
	}
	defer f.Close()
	return stat(f)
}

func statFD(fd int) (attributes, error) { return statx(fd, "", unix.AT_EMPTY_PATH) }

func statAt(dir int, path string) (attributes, error) {
	return statx(dir, path, unix.AT_SYMLINK_NOFOLLOW)
}

func statx(fd int, path string, flags int) (st attributes, err error) {
	// Without retry, which would put each on the heap.
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Statx(fd, path, flags, statMask, &st.status)
	}
	return st, err
}

func isFUSE(disk *unix.Statfs_t) bool { return disk.Type == unix.FUSE_SUPER_MAGIC }

// blockUnit is in what blocks are counted: in fragments where the file system has them.
func blockUnit(disk *unix.Statfs_t) int64 {
	if disk.Frsize != 0 {
		return int64(disk.Frsize)
	}
	return int64(disk.Bsize)
}

// entriesSize is how much of a directory is read at once, in bytes.
const entriesSize = 64 << 10

// entries are those of a directory, in no order. One may come twice if the directory
// changes meanwhile. Unlike os.ReadDir, it makes nothing for each.
func entries(ctx context.Context, dir *os.File) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		buf := make([]byte, entriesSize)
		for {
			n, err := readEntries(ctx, dir, buf)
			if err != nil {
				yield(entry{}, err)
			}
			if n == 0 {
				return
			}
			for rest := buf[:n]; len(rest) > 0; {
				size := binary.NativeEndian.Uint16(rest[unsafe.Offsetof(unix.Dirent{}.Reclen):])
				e, there := parseEntry(rest[:size])
				rest = rest[size:]
				if there && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// readEntries reads as many entries as there is room for, and returns their size: 0 at
// the end, and after an error.
func readEntries(ctx context.Context, dir *os.File, buf []byte) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	err = withFD(dir, func(fd int) (err error) {
		n, err = unix.ReadDirent(fd, buf)
		return err
	})
	// A directory that was removed after it was opened reads as missing.
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	} else if err != nil {
		return 0, &fs.PathError{Op: "read", Path: dir.Name(), Err: err}
	}
	return n, nil
}

// parseEntry reports as well whether there is anything: what was removed may have
// an entry without an inode.
func parseEntry(p []byte) (e entry, there bool) {
	ino := binary.NativeEndian.Uint64(p[unsafe.Offsetof(unix.Dirent{}.Ino):])
	name, _, _ := bytes.Cut(p[unsafe.Offsetof(unix.Dirent{}.Name):], []byte{0})
	return entry{name: name, kind: p[unsafe.Offsetof(unix.Dirent{}.Type)]}, ino != 0 && string(name) != "." && string(name) != ".."
}
