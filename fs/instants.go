package fs

import (
	"context"
	"path"
	"strings"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/internal/database"
)

var (
	_ gofs.NodeLookuper       = (*timeDir)(nil)
	_ gofs.NodeOpendirHandler = (*timeDir)(nil)
)

// timeDir is db/time: links to the states by when they were written.
type timeDir struct{ dirNode }

func (d *timeDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	base, named := strings.CutSuffix(name, dbSuffix)
	at, ok := database.ParseTime(base)
	if !named || !ok {
		return absent(attrTimeout, out)
	}
	var target string
	validFor, e := d.tree.current(ctx, "look up", path.Join(timeName, name), func(ctx context.Context, t *database.Timeline) error {
		i, err := d.tree.states.At(ctx, t, at)
		if err == nil && i >= 0 {
			target = linkTo(t, i)
		}
		return err
	})
	switch {
	case e != 0:
		return nil, e
	case target == "":
		return absent(validFor, out)
	}
	if d.GetChild(name) == nil {
		d.tree.inodes.add(inodeRef{d.EmbeddedInode(), name})
	}
	l := &link{node{tree: d.tree, readOnly: true}, target}
	l.attr(&out.Attr)
	out.SetEntryTimeout(validFor)
	out.SetAttrTimeout(attrTimeout)
	return d.NewInode(ctx, l, gofs.StableAttr{Mode: syscall.S_IFLNK, Ino: d.tree.hashedIno(timeName, name, target)}), 0
}

// linkTo is the target of a link to the i-th state.
func linkTo(t *database.Timeline, i int) string { return path.Join("..", atName, stateName(t.TXID(i))) }

func (d *timeDir) OpendirHandle(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return d.tree.namesHandle(timeName, func(ctx context.Context, t *database.Timeline) (entries, error) {
		all, err := d.tree.states.Instants(ctx, t)
		return func(i int) (fuse.DirEntry, bool) {
			if i >= len(all) {
				return fuse.DirEntry{}, false
			}
			name := database.FormatTime(all[i].Time) + dbSuffix
			return fuse.DirEntry{Name: name, Mode: syscall.S_IFLNK, Ino: d.tree.hashedIno(timeName, name, linkTo(t, all[i].I))}, true
		}, err
	}), 0, 0
}
