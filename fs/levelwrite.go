package fs

import (
	"context"
	"errors"
	"os"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// Create implements gofs.NodeCreater: it stages a file. The kernel sends it for
// a name that it found to be free.
func (d *levelDir) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	fail := func(e syscall.Errno) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) { return nil, nil, 0, e }
	if !d.fsys.opts.ReadWrite {
		return fail(syscall.EROFS)
	}
	exclusive := flags&syscall.O_EXCL != 0
	replaces := false
	if minTXID, maxTXID, err := ltx.ParseFilename(name); err == nil {
		exists, err := d.exists(ctx, minTXID, maxTXID, exclusive)
		switch {
		case err != nil:
			return fail(d.fsys.failed("look up", d.path(name), err))
		case exists && exclusive:
			return fail(syscall.EEXIST)
		case exists && flags&syscall.O_TRUNC == 0:
			return fail(errAgain) // it has come since; to be opened, not made
		}
		replaces = exists
	}
	s, f, err := d.fsys.stage(d.level, name, mode, replaces, exclusive)
	switch {
	case errors.Is(err, errTaken) && !exclusive:
		return fail(errAgain)
	case err != nil:
		return fail(d.fsys.stageFailed(d.path(name), err))
	}
	child, e := d.stagedChild(ctx, s, out)
	if e != 0 {
		s.release()
		return fail(e)
	}
	return child, newStagedHandle(s, f, flags), 0, 0
}

// exists reports whether the replica has a file, and asks the store itself with
// now.
func (d *levelDir) exists(ctx context.Context, minTXID, maxTXID ltx.TXID, now bool) (bool, error) {
	var err error
	if now {
		_, err = d.fsys.findNow(ctx, d.level, minTXID, maxTXID)
	} else {
		_, _, err = d.fsys.find(ctx, d.level, minTXID, maxTXID)
	}
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Unlink implements gofs.NodeUnlinker. Where a staged file hides a published
// one, it is the staged file that goes, and the other shows again.
func (d *levelDir) Unlink(ctx context.Context, name string) syscall.Errno {
	if !d.fsys.opts.ReadWrite {
		return syscall.EROFS
	}
	if s := d.fsys.stagedFile(d.level, name); s != nil {
		gone, err := d.unlinkStaged(ctx, s)
		if err != nil {
			return d.fsys.stageFailed(d.path(name), err)
		}
		if gone {
			return 0
		}
	}
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil {
		return syscall.ENOENT
	}
	return d.deletePublished(ctx, name, minTXID, maxTXID)
}

// unlinkStaged removes a staged file, unless it is published by the time that
// nobody writes to it.
func (d *levelDir) unlinkStaged(ctx context.Context, s *staged) (gone bool, err error) {
	ctx, cancel := detached(ctx, d.fsys.within.publish)
	defer cancel()
	unlock, err := s.lockWhole(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	if s.published.Load() != nil {
		return false, nil
	}
	return true, d.fsys.unlink(s)
}

func (d *levelDir) deletePublished(ctx context.Context, name string, minTXID, maxTXID ltx.TXID) syscall.Errno {
	f := replica.File{Level: d.level, MinTXID: minTXID, MaxTXID: maxTXID}
	_, err := bounded(ctx, d.fsys, d.fsys.within.delete, func(ctx context.Context) (struct{}, error) {
		release, err := d.fsys.names.acquire(ctx, d.level, minTXID, maxTXID)
		if err != nil {
			return struct{}{}, err
		}
		defer release()
		err = d.fsys.client.DeleteLTXFiles(ctx, []*ltx.FileInfo{f.Info()})
		if err == nil {
			d.fsys.index.Remove(d.level, minTXID, maxTXID)
			d.fsys.touch(d.level)
		}
		return struct{}{}, err
	}, nil)
	if err != nil {
		return d.fsys.failed("delete", d.path(name), err)
	}
	d.fsys.log.Info("deleted", "file", d.path(name))
	return 0
}

// Rename implements gofs.NodeRenamer. A staged file is published if its new
// name is an LTX name. A published file keeps its name.
func (d *levelDir) Rename(ctx context.Context, name string, newParent gofs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if !d.fsys.opts.ReadWrite {
		return syscall.EROFS
	}
	target, ok := newParent.(*levelDir)
	switch {
	case flags&^unix.RENAME_NOREPLACE != 0:
		return syscall.EINVAL
	case !ok:
		return syscall.EPERM
	}
	minTXID, maxTXID, err := ltx.ParseFilename(newName)
	isLTX := err == nil
	noReplace := flags&unix.RENAME_NOREPLACE != 0
	if noReplace {
		if e := target.checkFree(ctx, newName, isLTX, minTXID, maxTXID); e != 0 {
			return e
		}
	}
	s := d.fsys.stagedFile(d.level, name)
	switch {
	case s == nil:
		return d.renamePublished(ctx, name, isLTX, minTXID, maxTXID)
	case isLTX:
		return d.fsys.publish(ctx, s, publication{
			level: target.level, name: newName, minTXID: minTXID, maxTXID: maxTXID,
			exclusive: noReplace,
		})
	}
	err = d.renameStaged(ctx, s, target.level, newName)
	if errors.Is(err, errPublished) {
		return d.renamePublished(ctx, name, isLTX, minTXID, maxTXID)
	}
	if err != nil {
		return d.fsys.stageFailed(d.path(name), err)
	}
	return 0
}

// renameStaged gives a staged file another name that is no LTX name, unless it
// is published by the time that nobody writes to it.
func (d *levelDir) renameStaged(ctx context.Context, s *staged, level int, name string) error {
	ctx, cancel := detached(ctx, d.fsys.within.publish)
	defer cancel()
	unlock, err := s.lockWhole(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if s.published.Load() != nil {
		return errPublished
	}
	return d.fsys.rename(s, level, name)
}

// checkFree returns EEXIST if a name is taken, by whomever.
func (d *levelDir) checkFree(ctx context.Context, name string, isLTX bool, minTXID, maxTXID ltx.TXID) syscall.Errno {
	if d.fsys.stagedFile(d.level, name) != nil {
		return syscall.EEXIST
	}
	if !isLTX {
		return 0
	}
	exists, err := d.exists(ctx, minTXID, maxTXID, true)
	switch {
	case err != nil:
		return d.fsys.failed("look up", d.path(name), err)
	case exists:
		return syscall.EEXIST
	}
	return 0
}

// renamePublished refuses to rename a published file, and says why: its header
// has the TXIDs of the name it has.
func (d *levelDir) renamePublished(ctx context.Context, name string, isLTX bool, minTXID, maxTXID ltx.TXID) syscall.Errno {
	oldMin, oldMax, err := ltx.ParseFilename(name)
	if err != nil {
		return syscall.ENOENT
	}
	exists, err := d.exists(ctx, oldMin, oldMax, false)
	switch {
	case err != nil:
		return d.fsys.failed("look up", d.path(name), err)
	case !exists:
		return syscall.ENOENT
	case isLTX && (minTXID != oldMin || maxTXID != oldMax):
		return syscall.EINVAL
	}
	return syscall.EPERM
}
