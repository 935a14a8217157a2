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
