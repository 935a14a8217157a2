package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/ltxfs/ltxfs/replica"
)

// directory is where a replica is.
type directory struct {
	path   string
	given  replica.Layout
	layout atomic.Pointer[replica.Layout] // given or detected, once the directory was seen
	logger atomic.Pointer[slog.Logger]
}

// Path returns the directory as it was given to New.
func (d *directory) Path() string { return d.path }

// Layout returns the layout as it was given to New or detected by Init. It is
// the zero layout until then.
func (d *directory) Layout() replica.Layout {
	if l := d.layout.Load(); l != nil {
		return *l
	}
	return d.given
}

// SetLogger sets where the store tells what it does; nil is slog's default.
func (d *directory) SetLogger(logger *slog.Logger) {
	if logger == nil {
		logger = slog.Default()
	}
	d.logger.Store(logger)
}

func (d *directory) log() *slog.Logger { return d.logger.Load() }

// Init checks that the directory is there and finds out its layout. Once that
// has succeeded, it does nothing. The other methods call it, so that calling it
// is only needed to find out early what is wrong.
//
// Its error wraps os.ErrNotExist or syscall.ENOTDIR if the directory is missing
// or something else, and replica.ErrMixedLayouts if it holds two layouts. The
// other methods return replica.ErrUnavailable for such a directory: there,
// os.ErrNotExist would say that a file is missing.
func (d *directory) Init(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("replica %s: %w", d.path, err)
	}
	if d.layout.Load() != nil {
		return nil
	}
	if err := d.checkRoot(); err != nil {
		return err
	}
	layout := d.given
	if layout.IsZero() {
		var err error
		if layout, err = detectLayout(ctx, d.path); err != nil {
			return fmt.Errorf("replica %s: %w", d.path, err)
		}
		d.log().Debug("detected the replica's layout", "path", d.path, "layout", layout.Name)
	}
	d.layout.CompareAndSwap(nil, &layout) // the first of several to find out decides
	return nil
}

// checkRoot returns an error unless the root is a directory.
func (d *directory) checkRoot() error {
	info, err := os.Stat(d.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("replica %s: %w: create it, mount the disk that holds it, or put it back", d.path, pathCause(err))
	case err != nil:
		return fmt.Errorf("replica %s: %w", d.path, pathCause(err))
	case !info.IsDir():
		return fmt.Errorf("replica %s: %w: give the directory that holds the replica", d.path, syscall.ENOTDIR)
	}
	return nil
}

// checkAvailable returns an error that wraps replica.ErrUnavailable, and not
// os.ErrNotExist, if the root is missing or isn't a directory.
func (d *directory) checkAvailable() error {
	err := d.checkRoot()
	if isMissing(err) {
		err = fmt.Errorf("%w: %v", replica.ErrUnavailable, err)
	}
	return err
}

// whyMissing returns err, but if that says that something is missing and the
// whole root is, then an error that says so.
func (d *directory) whyMissing(err error) error {
	if !isMissing(err) {
		return err
	}
	if gone := d.checkAvailable(); gone != nil {
		return gone
	}
	return err
}

// levelDir is the path of a level's directory.
func (d *directory) levelDir(ctx context.Context, level int) (string, error) {
	if err := d.Init(ctx); err != nil {
		return "", d.whyMissing(err)
	}
	return filepath.Join(d.path, filepath.FromSlash(d.Layout().LevelDir(level))), nil
}

// filePath checks a file's name and returns its path. Its error has no name of
// an operation yet.
func (d *directory) filePath(ctx context.Context, name replica.Name) (string, error) {
	if err := name.Check(); err != nil {
		return "", err
	}
	dir, err := d.levelDir(ctx, name.Level)
	return filepath.Join(dir, name.Base()), err
}

// pathCause drops the operation and path from an error of os, for a message
// that has them already.
func pathCause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// isMissing reports whether err means that there is no such file: a directory
// on the way to it may be missing as well, or be something else.
func isMissing(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
