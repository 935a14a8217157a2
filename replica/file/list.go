package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// LTXFiles lists a level. It reads the names in the level's directory on the
// first Next, 16 bytes a file, and looks at a file when Next reaches it. The
// directory stays open until Close, or the end, or an error.
//
// CreatedAt is the file's mtime. With useMetadata, it is the timestamp in the
// LTX header where there is one, at the cost of opening each file.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := replica.CheckLevel(level); err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	path, err := c.levelDir(ctx, level)
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	dir, err := openDir(path)
	if isMissing(err) {
		// If the whole replica is gone, as with an unmounted disk, then to
		// say that it is empty would be wrong, and dangerous.
		if err := c.checkAvailable(); err != nil {
			return nil, fmt.Errorf("list level %d: %w", level, err)
		}
		return &iterator{client: c, ctx: ctx, level: level}, nil
	} else if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	return &iterator{client: c, ctx: ctx, dir: dir, level: level, seek: uint64(seek), useMetadata: useMetadata}, nil
}

var _ replica.VersionIterator = (*iterator)(nil)

// iterator lists a directory. It is not for use by many goroutines at once.
type iterator struct {
	client      *ReplicaClient
	ctx         context.Context
	dir         *os.File // nil once there is nothing more to ask it
	level       int
	seek        uint64
	useMetadata bool

	read  bool    // the names have been read
	names []txids // those not reached yet
	gone  bool    // there were no names, or a file went missing

	file replica.File
	item *ltx.FileInfo // of file, made when asked for
	err  error
}

func (it *iterator) Next() bool {
	it.file, it.item = replica.File{}, nil
	if it.dir == nil || it.err != nil {
		return false
	}
	ok, err := it.next()
	if err != nil {
		it.err = fmt.Errorf("list level %d: %w", it.level, err)
	}
	if !ok {
		it.release()
	}
	return ok
}

func (it *iterator) next() (bool, error) {
	if !it.read {
		if err := it.readNames(); err != nil {
			return false, err
		}
		it.read, it.gone = true, len(it.names) == 0
	}
	for len(it.names) > 0 {
		if err := it.ctx.Err(); err != nil {
			return false, err
		}
		id := it.names[0]
		it.names = it.names[1:]
		f, ok, err := it.look(id)
		if err != nil {
			return false, err
		}
		if ok {
			it.file = f
			return true, nil
		}
		it.gone = true
	}
	if it.gone {
		// With the root, everything below it vanishes, even while it is
		// listed, and a short listing would look like a deletion.
		return false, it.client.checkAvailable()
	}
	return false, nil
}

// readNames reads the names that matter, and sorts them.
func (it *iterator) readNames() error {
	err := eachName(it.ctx, it.dir, func(name string) {
		if id, ok := parseName(name); ok && id.min >= it.seek {
			it.names = append(it.names, id)
		}
	})
	if err != nil {
		return err
	}
	slices.SortFunc(it.names, compareTXIDs)
	it.names = slices.Compact(it.names)
	return nil
}

// look returns the file with a name, and false if it is none of the replica's.
func (it *iterator) look(id txids) (replica.File, bool, error) {
	name := id.name()
	st, err := statAt(it.dir, name)
	if errors.Is(err, os.ErrNotExist) || err == nil && !st.isRegular() {
		return replica.File{}, false, nil
	} else if err != nil {
		return replica.File{}, false, err
	}
	f := st.file(it.level, ltx.TXID(id.min), ltx.TXID(id.max))
	if !it.useMetadata {
		return f, true, nil
	}
	return it.lookInside(f)
}

// lookInside returns f as it is now, with the time in its header.
func (it *iterator) lookInside(f replica.File) (replica.File, bool, error) {
	r, err := openAt(it.dir, f.Name(), openFlags, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return replica.File{}, false, nil
	} else if err != nil {
		return replica.File{}, false, err
	}
	defer r.Close()
	st, err := stat(r)
	if err != nil {
		return replica.File{}, false, err
	}
	if !st.isRegular() {
		return replica.File{}, false, nil
	}
	// It may be another file than a moment ago: size, time and version must
	// be of the same one.
	f = st.file(f.Level, f.MinTXID, f.MaxTXID)
	var b [ltx.HeaderSize]byte
	switch _, err := r.ReadAt(b[:], 0); {
	case errors.Is(err, io.EOF): // too short for a header
	case err != nil:
		return replica.File{}, false, err
	default:
		if t, ok := headerTime(b[:]); ok {
			f.ModTime = t
		}
	}
	return f, true, nil
}

func (it *iterator) Item() *ltx.FileInfo {
	if it.item == nil && it.file.Version != "" {
		it.item = it.file.Info()
	}
	return it.item
}

func (it *iterator) Version() replica.Version { return it.file.Version }

func (it *iterator) Err() error { return it.err }

// Close ends the iteration and returns its error, if there was one.
func (it *iterator) Close() error {
	it.file, it.item = replica.File{}, nil
	it.release()
	return it.err
}

func (it *iterator) release() {
	if it.dir != nil {
		it.dir.Close()
		it.dir, it.names = nil, nil
	}
}
