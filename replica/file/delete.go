package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// DeleteLTXFiles deletes files and then brings each directory that it has
// changed to stable storage, once. If that fails, the files are gone from the
// listing but may be back after a crash.
//
// Once ctx is done it deletes no more, and its error says how many are left.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error {
	d := &deleter{client: c, dirs: make(map[int]*deleteDir)}
	defer d.close()
	var errs []error
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("delete files: %d of %d are left: %w", len(files)-i, len(files), err))
			break
		}
		if f == nil {
			errs = append(errs, fmt.Errorf("delete files: number %d of %d is nil: %w", i+1, len(files), os.ErrInvalid))
			continue
		}
		if err := d.delete(ctx, f); err != nil {
			errs = append(errs, replica.NewFileError("delete", f.Level, f.MinTXID, f.MaxTXID, err))
		}
	}
	return errors.Join(append(errs, d.sync()...)...)
}

// deleter deletes files in the directories of many levels.
type deleter struct {
	client *ReplicaClient
	dirs   map[int]*deleteDir
}

// deleteDir is a level's directory; dir is nil if there is none.
type deleteDir struct {
	dir     *os.File
	changed bool
}

func (d *deleter) delete(ctx context.Context, f *ltx.FileInfo) error {
	if err := replica.CheckFile(f.Level, f.MinTXID, f.MaxTXID); err != nil {
		return err
	}
	dd, err := d.open(ctx, f.Level)
	if err != nil {
		return err
	}
	if dd.dir == nil {
		return d.client.checkAvailable()
	}
	name := ltx.FormatFilename(f.MinTXID, f.MaxTXID)
	removed, err := removeRegular(dd.dir, name)
	dd.changed = dd.changed || removed
	if removed {
		d.client.log().Debug("deleted LTX file", "ltx_level", f.Level, "name", name)
	} else if err == nil {
		// It counts as deleted only in a replica that is there.
		err = d.client.checkAvailable()
	}
	return err
}

// open returns the directory of a level.
func (d *deleter) open(ctx context.Context, level int) (*deleteDir, error) {
	if dd := d.dirs[level]; dd != nil {
		return dd, nil
	}
	path, err := d.client.levelDir(ctx, level)
	if err != nil {
		return nil, err
	}
	dir, err := openDir(path)
	if err != nil && !isMissing(err) {
		return nil, err
	}
	d.dirs[level] = &deleteDir{dir: dir}
	return d.dirs[level], nil
}

// sync brings what was deleted to stable storage.
func (d *deleter) sync() (errs []error) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		if dd := d.dirs[level]; dd != nil && dd.changed {
			if err := d.client.sys.syncDir(dd.dir); err != nil {
				errs = append(errs, fmt.Errorf("deleted files may be back after a crash: sync %s: %w",
					dd.dir.Name(), pathCause(err)))
			}
		}
	}
	return errs
}

func (d *deleter) close() {
	for _, dd := range d.dirs {
		if dd.dir != nil {
			dd.dir.Close()
		}
	}
}

// removeRegular removes a regular file. What isn't one is a stranger's, and
// counts as no file.
func removeRegular(dir *os.File, name string) (removed bool, err error) {
	st, err := statAt(dir, name)
	if err == nil && st.isRegular() {
		err = unlinkAt(dir, name)
		removed = err == nil
	}
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return removed, err
}

// DeleteAll deletes every file with an LTX name in the levels' directories, and
// what killed writers have left there, and then those directories that have
// become empty. Anything else stays, and so does the replica's own directory. It
// goes on after an error; the error it returns has them all.
func (c *ReplicaClient) DeleteAll(ctx context.Context) error {
	layout, err := c.init(ctx)
	if err != nil {
		return fmt.Errorf("delete all: %w", c.whyMissing(err))
	}
	var errs []error
	parents := make(map[string]bool)
	for level, dir := range layout.LevelDirs() {
		if err := c.deleteLevel(ctx, level, filepath.Join(c.path, filepath.FromSlash(dir))); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil || len(errs) > 0 && errors.Is(errs[len(errs)-1], replica.ErrUnavailable) {
			return errors.Join(errs...)
		}
		parents[path.Dir(dir)] = true
	}
	for dir := range parents {
		if dir == "." {
			continue
		}
		if err := removeEmptyDir(filepath.Join(c.path, filepath.FromSlash(dir))); err != nil {
			errs = append(errs, fmt.Errorf("delete all: %w", err))
		}
	}
	if err := c.syncPath(c.path); err != nil {
		errs = append(errs, fmt.Errorf("delete all: %w", c.whyMissing(err)))
	}
	return errors.Join(errs...)
}

// deleteLevel deletes the files of a level, and its directory if it is empty
// then.
func (c *ReplicaClient) deleteLevel(ctx context.Context, level int, path string) error {
	dir, err := openDir(path)
	if isMissing(err) {
		err = c.checkAvailable()
		if err == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("delete level %d: %w", level, err)
	}
	defer dir.Close()
	// A directory needn't give every name if some are removed while it is
	// read.
	var names []txids
	err = eachName(ctx, dir, func(name string) {
		if id, ok := parseName(name); ok {
			names = append(names, id)
		}
	})
	if err != nil {
		return fmt.Errorf("delete level %d: %w", level, err)
	}
	var errs []error
	for i, id := range names {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("delete level %d: %d of %d files are left: %w", level, len(names)-i, len(names), err))
			return errors.Join(errs...)
		}
		if _, err := removeRegular(dir, id.name()); err != nil {
			errs = append(errs, replica.NewFileError("delete", level, ltx.TXID(id.min), ltx.TXID(id.max), err))
		}
	}
	if err := sweepDir(ctx, c.log(), path); err != nil && !isMissing(err) {
		errs = append(errs, fmt.Errorf("delete level %d: %w", level, err))
	}
	if err := c.sys.syncDir(dir); err != nil {
		errs = append(errs, fmt.Errorf("deleted files may be back after a crash: sync %s: %w", path, pathCause(err)))
	}
	if err := removeEmptyDir(path); err != nil {
		errs = append(errs, fmt.Errorf("delete level %d: %w", level, err))
	}
	return errors.Join(errs...)
}

// removeEmptyDir removes a directory if it is there, and empty, and no link.
func removeEmptyDir(path string) error {
	_, err := retry(func() (int, error) { return 0, unix.Rmdir(path) })
	if err == nil || isMissing(err) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return &os.PathError{Op: "rmdir", Path: path, Err: err}
}

// syncPath brings a directory to stable storage.
func (c *ReplicaClient) syncPath(path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := c.sys.syncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", path, pathCause(err))
	}
	return nil
}
