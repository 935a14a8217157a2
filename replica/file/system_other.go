//go:build !linux

package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
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

// status is what is used of Linux's struct statx.
type status struct {
	Mode                 uint16
	Uid, Gid, Nlink      uint32
	Ino, Size            uint64
	Dev_major, Dev_minor uint32
	Mtime, Ctime, Btime  timestamp
}

type timestamp struct {
	Sec  int64
	Nsec uint32
}

// statPath is stat of a path, which may be a link's.
func statPath(path string) (attributes, error) {
	st, err := lstat(path)
	if err != nil || !st.isRegular() {
		return st, err // what a link leads to says nothing of the link
	}
	var disk unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Statfs(path, &disk) }); err != nil {
		return attributes{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	st.fuse = isFUSE(&disk)
	return st, nil
}

func statFD(fd int) (attributes, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return attributesOf(&st), err
}

func statAt(dir int, path string) (attributes, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(dir, path, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return attributesOf(&st), err
}

func attributesOf(st *unix.Stat_t) attributes {
	at := func(t unix.Timespec) timestamp { return timestamp{t.Sec, uint32(t.Nsec)} }
	dev := uint64(st.Dev)
	return attributes{status: status{
		Mode: st.Mode, Uid: st.Uid, Gid: st.Gid, Nlink: uint32(st.Nlink), Ino: st.Ino, Size: uint64(st.Size),
		Dev_major: unix.Major(dev), Dev_minor: unix.Minor(dev),
		Mtime: at(st.Mtim), Ctime: at(st.Ctim), Btime: at(st.Btim),
	}}
}

// isFUSE goes by the type's name: macfuse, or fusefs.sshfs.
func isFUSE(disk *unix.Statfs_t) bool { return bytes.Contains(disk.Fstypename[:], []byte("fuse")) }

// blockUnit is in what blocks are counted.
func blockUnit(disk *unix.Statfs_t) int64 { return int64(disk.Bsize) }

// entriesAtOnce is how many entries of a directory are read at once.
const entriesAtOnce = 1024

// entries are those of a directory, in no order. One may come twice if the directory
// changes meanwhile. Only os goes on where it was in a directory of macOS that changes:
// unix.ReadDirent counts.
func entries(ctx context.Context, dir *os.File) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for {
			var found []os.DirEntry
			err := ctx.Err()
			if err == nil {
				found, err = dir.ReadDir(entriesAtOnce)
			}
			for _, e := range found {
				kind := byte(unix.DT_UNKNOWN)
				if e.Type().IsRegular() {
					kind = unix.DT_REG
				}
				if !yield(entry{name: []byte(e.Name()), kind: kind}, nil) {
					return
				}
			}
			// A directory that was removed after it was opened reads as missing.
			if err == io.EOF || errors.Is(err, unix.ENOENT) {
				return
			} else if err != nil {
				yield(entry{}, err)
				return
			}
		}
	}
}
