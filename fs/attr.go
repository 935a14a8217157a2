package fs

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/replica"
)

// Inode numbers. Those of published files come from a hash, below, and have
// bit 62 set.
const (
	inoRoot        = 1
	inoLTX         = 2
	inoSnapshots   = 3
	inoLink        = 16 // + level
	inoLevel       = 32 // + level
	firstStagedIno = 1 << 32
)

// dirTimeout is how long the kernel may keep what it knows of directories.
// They are always there; only their mtime changes.
const dirTimeout = time.Second

// attrTimeout is how long the kernel may keep the attributes of one version of
// a file. They never change.
const attrTimeout = time.Hour

// node is what every node of the tree embeds.
type node struct {
	gofs.Inode
	fsys *fileSystem
}

// Statfs implements gofs.NodeStatfser for every node.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.fsys.statfs(ctx, out)
	return 0
}

// setattr makes the answer to SETATTR of a node's attributes. Unlike those of
// GETATTR, go-fuse leaves it without the inode number.
func (n *node) setattr(out *fuse.AttrOut, getattr syscall.Errno) syscall.Errno {
	out.Ino = n.StableAttr().Ino
	return getattr
}

// statfs fills in the room in the store where that can be told without a
// network, and else a large store that is half empty, so that no tool that
// looks first refuses to write.
func (fsys *fileSystem) statfs(ctx context.Context, out *fuse.StatfsOut) {
	const blockSize = 4096
	space := replica.Space{Total: 1 << 50, Free: 1 << 49, Available: 1 << 49, Files: 1 << 40, FilesFree: 1 << 39}
	if s, ok := replica.As[replica.Spacer](fsys.client); ok {
		// Callers share one call, so that a disk that hangs doesn't collect
		// one for each df.
		ctx, cancel := detached(ctx, fsys.within.space)
		defer cancel()
		select {
		case r := <-fsys.space.DoChan("", func() (any, error) { return s.Space(context.WithoutCancel(ctx)) }):
			if got, ok := r.Val.(replica.Space); ok && r.Err == nil {
				space = got
			}
		case <-ctx.Done():
		}
	}
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, 255
	out.Blocks = uint64(space.Total) / blockSize
	out.Bfree = uint64(space.Free) / blockSize
	out.Bavail = uint64(space.Available) / blockSize
	out.Files = uint64(space.Files)
	out.Ffree = uint64(space.FilesFree)
}

// dirAttr fills in the attributes of a directory. It asks nobody.
func (fsys *fileSystem) dirAttr(out *fuse.Attr, nlink uint32, mtime time.Time) {
	out.Mode = syscall.S_IFDIR | fsys.opts.DirMode
	out.Nlink = nlink
	fsys.ownerAndTimes(out, mtime)
}

// fileAttr fills in the attributes of a published file.
func (fsys *fileSystem) fileAttr(out *fuse.Attr, f replica.File) {
	out.Mode = syscall.S_IFREG | fsys.opts.FileMode
	out.Nlink = 1
	out.Size = uint64(f.Size)
	fsys.ownerAndTimes(out, f.ModTime)
}

func (fsys *fileSystem) ownerAndTimes(out *fuse.Attr, mtime time.Time) {
	const blockSize, sector = 4096, 512 // stat counts in sectors
	out.Blksize = blockSize
	out.Blocks = (out.Size + blockSize - 1) / blockSize * (blockSize / sector)
	out.Owner = fuse.Owner{Uid: fsys.opts.UID, Gid: fsys.opts.GID}
	out.SetTimes(&mtime, &mtime, &mtime)
}

// fileID is the identity of a published file as the kernel has it: a hash of
// level, TXIDs and version, long enough that two never meet.
func fileID(f replica.File) gofs.StableAttr {
	h := fnv.New128a()
	var b [17]byte
	b[0] = byte(f.Level)
	binary.BigEndian.PutUint64(b[1:], uint64(f.MinTXID))
	binary.BigEndian.PutUint64(b[9:], uint64(f.MaxTXID))
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(f.Version))
	if f.Version == "" {
		// Such a client tells versions apart by what else there is.
		binary.BigEndian.PutUint64(b[1:], uint64(f.Size))
		binary.BigEndian.PutUint64(b[9:], uint64(f.ModTime.UnixNano()))
		_, _ = h.Write(b[:])
	}
	var sum [16]byte
	h.Sum(sum[:0])
	return gofs.StableAttr{
		Mode: syscall.S_IFREG,
		Ino:  binary.BigEndian.Uint64(sum[:8])>>2 | 1<<62,
		Gen:  binary.BigEndian.Uint64(sum[8:]),
	}
}
