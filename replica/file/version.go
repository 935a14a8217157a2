package file

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// attributes are what the file system says of a file.
type attributes struct {
	identity
	device [2]uint32
	mode   uint16
	links  uint32
	uid    uint32
	gid    uint32
}

// identity is what tells one content of a file from another.
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
type identity struct {
	inode uint64
	size  int64
	mtime timestamp
	ctime timestamp
	birth timestamp // zero where the file system doesn't know
}

type timestamp struct {
	sec  int64
	nsec uint32
}

func (t timestamp) time() time.Time { return time.Unix(t.sec, int64(t.nsec)).UTC() }

func attributesOf(st *unix.Statx_t) attributes {
	a := attributes{
		identity: identity{
			inode: st.Ino,
			size:  int64(st.Size),
			mtime: timestamp{st.Mtime.Sec, st.Mtime.Nsec},
			ctime: timestamp{st.Ctime.Sec, st.Ctime.Nsec},
		},
		device: [2]uint32{st.Dev_major, st.Dev_minor},
		mode:   st.Mode,
		links:  st.Nlink,
		uid:    st.Uid,
		gid:    st.Gid,
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		a.birth = timestamp{st.Btime.Sec, st.Btime.Nsec}
	}
	return a
}

func (a attributes) isRegular() bool { return a.mode&unix.S_IFMT == unix.S_IFREG }

// isSameFile reports whether two are of one file, in whatever version. It must
// not look at ctime, which every change to a file's names moves.
func (a attributes) isSameFile(b attributes) bool {
	return a.device == b.device && a.inode == b.inode && a.birth == b.birth
}

// version is a hash of the identity, as 32 lower-case hexadecimal digits, so
// that a cache can pack it into 16 bytes.
func (id identity) version() replica.Version {
	b := make([]byte, 0, 52)
	b = binary.BigEndian.AppendUint64(b, id.inode)
	b = binary.BigEndian.AppendUint64(b, uint64(id.size))
	for _, t := range []timestamp{id.mtime, id.ctime, id.birth} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.sec))
		b = binary.BigEndian.AppendUint32(b, t.nsec)
	}
	sum := sha256.Sum256(b)
	return replica.Version(hex.EncodeToString(sum[:16]))
}

// file returns the file that has an identity.
func (id identity) file(level int, minTXID, maxTXID ltx.TXID) replica.File {
	return replica.File{
		Level: level, MinTXID: minTXID, MaxTXID: maxTXID,
		Size: id.size, ModTime: id.mtime.time(), Version: id.version(),
	}
}

// headerTime returns the timestamp of the LTX header that b begins with, if it
// begins with a valid one.
func headerTime(b []byte) (time.Time, bool) {
	var h ltx.Header
	if h.UnmarshalBinary(b) != nil || h.Validate() != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(h.Timestamp).UTC(), true
}
