//go:build !linux

package file

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

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
