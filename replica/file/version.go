package file

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// attributes are what the file system says of a file. What it doesn't know, such as
// a time of birth, is zero.
type attributes struct {
	status

	// fuse is whether it is known to be a file system in FUSE. Many, such as sshfs and
	// mergerfs, number a file anew when the kernel has forgotten it, and make up the
	// time of its change.
	fuse bool
}

func (a attributes) isRegular() bool { return a.Mode&unix.S_IFMT == unix.S_IFREG }

// isSameFile reports whether two are of one file, in whatever version, as far as
// the file system can tell. It must not look at ctime, which every change to a file's
// names moves.
func (a attributes) isSameFile(b attributes) bool {
	return a.isOnSameDevice(b) && (a.fuse || b.fuse || a.Ino == b.Ino) && a.Btime == b.Btime
}

func (a attributes) isOnSameDevice(b attributes) bool {
	return a.Dev_major == b.Dev_major && a.Dev_minor == b.Dev_minor
}

// version tells one content of a file from another.
//
// The inode tells apart what is published under one name after another, since
// each content gets an inode of its own. A file system gives the number of a
// deleted one to the next, though: then the time of birth tells.
//
// What is written in place may have the size and the mtime of what was there:
// whoever repairs a damaged file with "cp -p" sets both. Nobody can set ctime,
// so that it tells. It also tells what leaves the content as it is: after a
// chmod, a chown or a link by others there is a new version of the same bytes,
// which costs a cache no more than to read them again. The clock behind it ticks
// every few milliseconds before Linux 6.13; two writes in place within one tick
// are one to it.
//
// In FUSE neither counts, and two contents of one size and mtime, which some of its
// file systems have in seconds, are one version.
func (a attributes) version() replica.Version {
	if a.fuse {
		a.Ino, a.Ctime = 0, timestamp{}
	}
	b := make([]byte, 0, 44)
	b = binary.BigEndian.AppendUint64(b, a.Ino)
	for _, t := range []timestamp{a.Mtime, a.Ctime, a.Btime} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Sec))
		b = binary.BigEndian.AppendUint32(b, t.Nsec)
	}
	sum := sha256.Sum256(b)
	return replica.Version{Size: int64(a.Size), Inode: [16]byte(sum[:])}
}

// file returns the file that has the attributes.
func (a attributes) file(name replica.Name) replica.File {
	mtime := time.Unix(a.Mtime.Sec, int64(a.Mtime.Nsec)).UTC()
	return replica.File{Name: name, Size: int64(a.Size), ModTime: mtime, Version: a.version()}
}
