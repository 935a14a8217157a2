//go:build !linux

package file

import (
	"bytes"
	"io/fs"

	"golang.org/x/sys/unix"
)

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
