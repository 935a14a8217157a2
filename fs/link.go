package fs

import (
	"context"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

var (
	_ gofs.NodeReadlinker = (*link)(nil)
	_ gofs.NodeGetattrer  = (*link)(nil)
	_ gofs.NodeSetattrer  = (*link)(nil)
	_ gofs.NodeStatfser   = (*link)(nil)
)

// link is one of the tree's own symbolic links.
type link struct {
	node
	target string
}

// Readlink implements gofs.NodeReadlinker.
func (l *link) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(l.target), 0 }

// Getattr implements gofs.NodeGetattrer.
func (l *link) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	l.attr(&out.Attr)
	out.SetTimeout(attrTimeout)
	return 0
}

// Setattr implements gofs.NodeSetattrer: the links are the tree's, not the
// user's.
func (l *link) Setattr(context.Context, gofs.FileHandle, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return l.fsys.refuse()
}

func (l *link) attr(out *fuse.Attr) {
	out.Mode = syscall.S_IFLNK | 0o777
	out.Nlink = 1
	out.Size = uint64(len(l.target))
	l.fsys.ownerAndTimes(out, l.fsys.started)
}
