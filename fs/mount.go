// Package fs is the mounted tree: FUSE nodes over a replica.Client, its cache
// and the staging directory. It holds no code of a store and no format.
package fs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/replica"
)

// ErrBusy means that the mount can't be unmounted because a process holds a
// file or a directory of it open.
var ErrBusy = errors.New("the mount is in use")

// Options are what a mount needs to know.
type Options struct {
	// Client is the replica.
	Client replica.Client

	// ReadWrite lets the mount write, rename and delete.
	ReadWrite bool

	// Staging is where files are until they are published. A mount that
	// can write needs one.
	Staging *staging.Dir

	// UID and GID own everything in the mount.
	UID, GID uint32

	// FileMode and DirMode are the permissions of published files and of
	// directories.
	FileMode, DirMode uint32

	// Freshness is how old what the mount shows of other writers' work may be.
	Freshness time.Duration

	// CacheSize is the budget for blocks in memory, in bytes.
	CacheSize int64

	// AllowOther lets other users than the one who mounts in.
	AllowOther bool

	// Source is what df and mountinfo show as the mount's source.
	Source string

	// MountOptions are further options for the kernel, as mount(8) takes them.
	MountOptions []string

	// Logger gets everything worth telling. It must not be nil.
	Logger *slog.Logger
}

// Mounted is a mount that the kernel has accepted.
type Mounted struct{}

// Mount mounts a replica and serves it until it is unmounted. It returns once
// the kernel has taken the mount.
func Mount(mountpoint string, opts Options) (*Mounted, error) { panic("soon") }

// Done is closed when the kernel has let go of the mount, by whatever means.
func (m *Mounted) Done() <-chan struct{} { panic("soon") }

// Unmount asks the kernel once to unmount. While a process holds a file of the
// mount open, it returns ErrBusy and changes nothing.
func (m *Mounted) Unmount() error { panic("soon") }

// Detach takes the mount out of the file system at once, even while a process
// holds a file open. That process can go on until Close.
func (m *Mounted) Detach() error { panic("soon") }

// Drain waits until nothing is being published, or ctx is done.
func (m *Mounted) Drain(ctx context.Context) error { panic("soon") }

// Unpublished are the staged files that are in no replica: what would be lost
// with the staging directory.
func (m *Mounted) Unpublished() []staging.Entry { panic("soon") }

// Close ends what still runs for the mount. It is called last, after Done or
// Detach, and doesn't close the staging directory.
func (m *Mounted) Close() error { panic("soon") }
