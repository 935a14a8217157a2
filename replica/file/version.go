package file

import (
	"fmt"
	"strconv"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// identity is what tells one content of a file from another.
//
// The inode tells apart what was published under one name, since each content
// gets an inode of its own; time and size tell what was written in place. The
// time of change of the inode itself is no part of it: a link or a rename
// changes that, and the content is still the same.
type identity struct {
	inode uint64
	mtime int64 // nanoseconds; beyond the years 1678 to 2262, some of its bits
	size  int64
}

func identityOf(st *unix.Stat_t) identity {
	return identity{inode: st.Ino, mtime: st.Mtim.Nano(), size: st.Size}
}

// version is the identity as 16 hexadecimal digits of the inode, 16 of the
// time and an even number of the size, in lower case and without anything
// between, so that a cache can pack it into bytes.
func (id identity) version() replica.Version {
	size := strconv.FormatInt(id.size, 16)
	if len(size)%2 != 0 {
		size = "0" + size
	}
	return replica.Version(fmt.Sprintf("%016x%016x%s", id.inode, uint64(id.mtime), size))
}

// file returns the file that st describes.
func file(level int, minTXID, maxTXID ltx.TXID, st *unix.Stat_t) replica.File {
	return replica.File{
		Level: level, MinTXID: minTXID, MaxTXID: maxTXID,
		Size: st.Size, ModTime: modTime(st), Version: identityOf(st).version(),
	}
}

func modTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()).UTC() }

func isRegular(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }

// headerTime returns the timestamp of the LTX header that b begins with, if it
// begins with a valid one.
func headerTime(b []byte) (time.Time, bool) {
	var h ltx.Header
	if h.UnmarshalBinary(b) != nil || h.Validate() != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(h.Timestamp).UTC(), true
}
