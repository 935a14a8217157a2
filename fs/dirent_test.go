package fs

import (
	"encoding/binary"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// dirNames parses the answer to READDIR, or READDIRPLUS, and returns the names
// but for the two that every directory has.
func dirNames(buf []byte, plus bool) (names []string) {
	const direntSize = 24 // ino, off, namelen, type
	for {
		if plus {
			skip := int(unsafe.Sizeof(fuse.EntryOut{}))
			if len(buf) < skip {
				return names
			}
			buf = buf[skip:]
		}
		if len(buf) < direntSize {
			return names
		}
		n := int(binary.NativeEndian.Uint32(buf[16:]))
		if n == 0 || len(buf) < direntSize+n {
			return names
		}
		if name := string(buf[direntSize : direntSize+n]); name != "." && name != ".." {
			names = append(names, name)
		}
		size := (direntSize + n + 7) &^ 7
		if len(buf) < size {
			return names
		}
		buf = buf[size:]
	}
}
