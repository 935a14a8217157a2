// Package file is the client of a replica in a directory on disk.
//
// It trusts the directory to no more than the file system promises: it is used
// by other writers at the same time, Litestream among them, and may hold
// strangers' files. Those it neither shows, nor follows, nor deletes.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Type is what ReplicaClient.Type returns.
const Type = "file"

var (
	_ replica.Client          = (*ReplicaClient)(nil)
	_ replica.Stater          = (*ReplicaClient)(nil)
	_ replica.VersionOpener   = (*ReplicaClient)(nil)
	_ replica.VersionWriter   = (*ReplicaClient)(nil)
	_ replica.ExclusiveWriter = (*ReplicaClient)(nil)
	_ replica.LocalOpener     = (*ReplicaClient)(nil)
	_ replica.Spacer          = (*ReplicaClient)(nil)
)

// ReplicaClient reads and writes a replica in a directory. All its methods may
// be called at once from many goroutines.
type ReplicaClient struct {
	path   string
	logger atomic.Pointer[slog.Logger]

	mu     sync.Mutex
	ready  bool           // the rest is set
	layout replica.Layout // as given, or as detected

	sweeper sweeper
	sys     system
}

// New returns a client of the replica in the directory path. The zero layout
// is detected by Init.
func New(path string, layout replica.Layout) *ReplicaClient {
	c := &ReplicaClient{path: path, layout: layout, sys: defaultSystem()}
	c.SetLogger(nil)
	return c
}

// Type returns "file".
func (c *ReplicaClient) Type() string { return Type }

// Path returns the directory as it was given to New.
func (c *ReplicaClient) Path() string { return c.path }

// Layout returns the layout as it was given to New or detected by Init. It is
// the zero layout until then.
func (c *ReplicaClient) Layout() replica.Layout {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.layout
}

// SetLogger sets where the client tells what it does; nil is slog's default.
func (c *ReplicaClient) SetLogger(logger *slog.Logger) {
	if logger == nil {
		logger = slog.Default()
	}
	c.logger.Store(logger)
}

func (c *ReplicaClient) log() *slog.Logger { return c.logger.Load() }

// Init checks that the directory is there and finds out its layout. Once that
// has succeeded, it does nothing. The other methods call it, so that calling it
// is only needed to find out early what is wrong.
//
// Its error wraps os.ErrNotExist or syscall.ENOTDIR if the directory is missing
// or something else, and replica.ErrMixedLayouts if it holds two layouts. The
// other methods return replica.ErrUnavailable for such a directory: there,
// os.ErrNotExist would say that a file is missing.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.init(ctx)
	return err
}

func (c *ReplicaClient) init(ctx context.Context) (replica.Layout, error) {
	if err := ctx.Err(); err != nil {
		return replica.Layout{}, fmt.Errorf("replica %s: %w", c.path, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready {
		return c.layout, nil
	}
	if err := c.checkRoot(); err != nil {
		return replica.Layout{}, err
	}
	layout := c.layout
	if layout.IsZero() {
		var err error
		if layout, err = detectLayout(ctx, c.path); err != nil {
			return replica.Layout{}, fmt.Errorf("replica %s: %w", c.path, err)
		}
		c.log().Debug("detected the replica's layout", "path", c.path, "layout", layout.Name)
	}
	c.layout, c.ready = layout, true
	return layout, nil
}

// checkRoot returns an error unless the root is a directory.
func (c *ReplicaClient) checkRoot() error {
	info, err := os.Stat(c.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("replica %s: %w: create it, or mount the disk that holds it", c.path, pathCause(err))
	case err != nil:
		return fmt.Errorf("replica %s: %w", c.path, pathCause(err))
	case !info.IsDir():
		return fmt.Errorf("replica %s: %w: give the directory that holds the replica", c.path, syscall.ENOTDIR)
	}
	return nil
}

// checkAvailable returns an error that wraps replica.ErrUnavailable, and not
// os.ErrNotExist, if the root is missing or isn't a directory.
func (c *ReplicaClient) checkAvailable() error {
	err := c.checkRoot()
	if !isMissing(err) {
		return err
	}
	cause := syscall.ENOTDIR
	if errors.Is(err, syscall.ENOENT) {
		cause = syscall.ENOENT
	}
	return fmt.Errorf("replica %s: %w (%s): mount the disk that holds it, or put the directory back",
		c.path, replica.ErrUnavailable, cause.Error())
}

// whyMissing returns err, but if that says that something is missing and the
// whole root is, then an error that says so.
func (c *ReplicaClient) whyMissing(err error) error {
	if !isMissing(err) && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if gone := c.checkAvailable(); gone != nil {
		return gone
	}
	return err
}

// levelDir is the path of a level's directory.
func (c *ReplicaClient) levelDir(ctx context.Context, level int) (string, error) {
	layout, err := c.init(ctx)
	if err != nil {
		return "", c.whyMissing(err)
	}
	return filepath.Join(c.path, filepath.FromSlash(layout.LevelDir(level))), nil
}

// filePath checks a file's name and returns its path. Its error has no name of
// an operation yet.
func (c *ReplicaClient) filePath(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (string, error) {
	if err := replica.CheckFile(level, minTXID, maxTXID); err != nil {
		return "", err
	}
	dir, err := c.levelDir(ctx, level)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, ltx.FormatFilename(minTXID, maxTXID)), nil
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
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR)
}
