package fs

import (
	"context"
	"encoding/binary"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/replica"
)

// Inode numbers of directories and links. A tree below the root adds its dirInos, with
// bit 61 set. Those of published files are hashes with bit 62 set, and those of staged
// files have neither: see tree.stages.
const (
	inoRoot      = 1
	inoLTX       = 2
	inoSnapshots = 3
	inoDB        = 4
	inoLatest    = 5
	inoAt        = 6
	inoTime      = 7
	inoFolder    = 8
	inoLink      = 16 // + level
	inoLevel     = 32 // + level
)

// dirInos is what a directory below the root adds, and a tree in it, by its path.
func dirInos(path string) uint64 {
	return xxhash.Sum64String(path)>>3&^0xff | 1<<61
}

// dirTimeout is how long the kernel may keep what it knows of directories.
// They are always there; only their mtime changes.
const dirTimeout = time.Second

// attrTimeout is how long the kernel may keep the attributes of one version of
// a file. They never change.
const attrTimeout = time.Hour

// dirRead is how many bytes of a directory a program should read at once. The C library
// does, and asks a quarter as often as it would by itself. With many more entries in
// hand, ls -l would come to the last ones after listedTimeout.
const dirRead = 128 << 10

// node is what every node of the tree embeds.
type node struct {
	gofs.Inode
	tree     *tree
	readOnly bool // on a mount that can write, too
}

// refuse is the errno for what the node never allows.
func (n *node) refuse() syscall.Errno {
	if !n.writable() {
		return syscall.EROFS
	}
	return syscall.EPERM
}

func (n *node) writable() bool { return n.tree.opts.ReadWrite && !n.readOnly }

// Statfs tells of the room in the tree's store, for every node.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.tree.statfs(ctx, out)
	return 0
}

// setattr makes the answer to SETATTR of a node's attributes. Unlike those of
// GETATTR, go-fuse leaves it without the inode number.
func (n *node) setattr(out *fuse.AttrOut, getattr syscall.Errno) syscall.Errno {
	out.Ino = n.StableAttr().Ino
	return getattr
}

// fileAttr fills in the attributes of a published file.
func (m *mount) fileAttr(out *fuse.Attr, f replica.File) {
	out.Mode = syscall.S_IFREG | m.opts.FileMode
	out.Nlink = 1
	out.Size = uint64(f.Size)
	m.ownerAndTimes(out, f.ModTime)
}

func (m *mount) ownerAndTimes(out *fuse.Attr, mtime time.Time) {
	const blockSize, sector = 4096, 512 // stat counts in sectors
	out.Blksize = blockSize
	out.Blocks = (out.Size + blockSize - 1) / blockSize * (blockSize / sector)
	out.Owner = fuse.Owner{Uid: m.opts.UID, Gid: m.opts.GID}
	out.SetTimes(&mtime, &mtime, &mtime)
}

// fileID is the identity of a published file as the kernel has it: a hash of
// replica, name and version, long enough that two never meet.
func (t *tree) fileID(f replica.File) gofs.StableAttr {
	var buf [192]byte
	b := append(buf[:0], t.hash[:]...)
	for _, n := range []uint64{uint64(f.Level), uint64(f.MinTXID), uint64(f.MaxTXID), uint64(f.Version.Modified), uint64(f.Version.Size)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, f.Version.Inode[:]...)
	b = append(b, f.Version.ETag...) // last, since its length differs
	var gen xxhash.Digest
	gen.ResetWithSeed(1)
	_, _ = gen.Write(b)
	return gofs.StableAttr{Mode: syscall.S_IFREG, Ino: xxhash.Sum64(b)>>2 | 1<<62, Gen: gen.Sum64()}
}
