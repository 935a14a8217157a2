package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

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

	// Settle is how long the store may go on showing what was there before a
	// change of this mount's. 0 is for stores that show it at once.
	Settle time.Duration

	// ExactTimes makes the mtime of every file its LTX timestamp, at a request
	// for each version of a file where the store's listings have another time.
	ExactTimes bool

	// ExactConcurrency is how many of those requests a listing has under way at
	// a time. 0 is the default.
	ExactConcurrency int

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

// Mounted is a mount that the kernel has accepted. Its methods may be called
// from many goroutines.
type Mounted struct {
	fsys       *fileSystem
	mountpoint string
	done       chan struct{}
}

// Mount mounts a replica and serves it until it is unmounted. It returns once
// the kernel has taken the mount. mountpoint is an absolute path.
func Mount(mountpoint string, opts Options) (*Mounted, error) {
	if opts.ReadWrite && opts.Staging == nil {
		return nil, errors.New("a mount that can write needs a staging directory")
	}
	fsys := newFileSystem(opts, defaultDeadlines)
	raw := gofs.NewNodeFS(newRoot(fsys), &gofs.Options{
		// Every node sets its own.
		EntryTimeout:    nil,
		AttrTimeout:     nil,
		NullPermissions: true,
		RootStableAttr:  &gofs.StableAttr{Ino: inoRoot},
		Logger:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
	})
	server, err := fuse.NewServer(raw, mountpoint, kernelOptions(opts))
	if err != nil {
		fsys.close()
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	// Before the first request: all opens of an inode must go one way.
	fsys.setUpPassthrough(server)
	m := &Mounted{fsys: fsys, mountpoint: mountpoint, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		server.Serve()
	}()
	// No WaitMount: it opens a file in the mount. A process that is killed
	// while it waits for an answer of its own can't die, and hangs its mount.
	setReadAhead(mountpoint, opts.Logger)
	return m, nil
}

// Done is closed when the kernel has let go of the mount, by whatever means.
func (m *Mounted) Done() <-chan struct{} { return m.done }

// Unmount asks the kernel once to unmount. While a process holds a file of the
// mount open, it returns ErrBusy and changes nothing.
func (m *Mounted) Unmount() error { return unmount(m.mountpoint, false) }

// Detach takes the mount out of the file system at once, even while a process
// holds a file open. That process can go on until Close.
func (m *Mounted) Detach() error { return unmount(m.mountpoint, true) }

// Drain waits until nothing is being published, or ctx is done.
func (m *Mounted) Drain(ctx context.Context) error { return m.fsys.publishing.wait(ctx) }

// Unpublished are the staged files that are in no replica: what would be lost
// with the staging directory. After Close, it is the last word.
func (m *Mounted) Unpublished() []staging.Entry {
	if m.fsys.opts.Staging == nil {
		return nil
	}
	return m.fsys.unpublished()
}

// Close ends what still runs for the mount, and closes what is still staged,
// which stays in the staging directory. It is called last, after Done or
// Detach, and doesn't close the staging directory.
func (m *Mounted) Close() { m.fsys.close() }

// inFlightRequests is how many requests the kernel may have under way in the
// background, for reading ahead.
const inFlightRequests = 32

// maxRequest is the largest read or write, in bytes. The kernel allows no more.
const maxRequest = 1 << 20

// kernelOptions are the settings of the connection to the kernel. Their reasons
// are measurements; see docs/design.md.
func kernelOptions(opts Options) *fuse.MountOptions {
	o := &fuse.MountOptions{
		Name:          "ltxfs",
		FsName:        opts.Source,
		AllowOther:    opts.AllowOther,
		MaxBackground: inFlightRequests,
		MaxWrite:      maxRequest,
		DisableXAttrs: true,
		// A pipe is too small for the largest read with its header, and each
		// such read would be a warning.
		DisableSplice:            true,
		ExplicitDataCacheControl: true,
		// AUTO: readdirplus for ls -l, and not for ls. ATOMIC_O_TRUNC: an open
		// says that it empties the file, which is what tells a replacement
		// from a change in place.
		ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ATOMIC_O_TRUNC,
		Logger:            slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
		PanicHandler: func(v any) fuse.Status {
			opts.Logger.Error("a request failed inside ltxfs; please report this", "panic", v, "stack", stack())
			return fuse.EIO
		},
	}
	// The kernel checks permissions, as on any disk.
	names := append([]string{"default_permissions"}, opts.MountOptions...)
	if !opts.ReadWrite {
		names = append(names, "ro")
	}
	if os.Geteuid() != 0 {
		o.Options = names
		return o
	}
	o.DirectMountStrict = true
	o.DirectMountFlags, o.Options = mountFlags(names)
	return o
}
