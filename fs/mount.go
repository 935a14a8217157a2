package fs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/replica"
)

// Options are what a mount needs to know.
type Options struct {
	// Tree is the replica that the mount shows, unless it has Databases.
	Tree Tree

	// Databases are the replicas of which the mount shows each as a directory.
	Databases *Databases

	// ReadWrite lets the mount write, rename and delete.
	ReadWrite bool

	// UID and GID own everything in the mount.
	UID, GID uint32

	// FileMode and DirMode are the permissions of published files and of
	// directories.
	FileMode, DirMode uint32

	// NoDB leaves the states of the databases out.
	NoDB bool

	// ExactDB makes the states what Litestream restores, down to the bytes by which SQLite
	// can't open them without being allowed to write.
	ExactDB bool

	// CacheSize is the budget for blocks in memory, in bytes.
	CacheSize int64

	// DiskCache keeps content of replicas that aren't on disk, unless it is nil.
	DiskCache *disk.Cache

	// Heap, if set, is told how many bytes of Go's heap the index and the inodes need
	// beyond what a small index does, whenever that changes. It must not wait.
	Heap func(bytes int64)

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
	mount      *mount
	mountpoint string
	done       chan struct{}
}

// Mount mounts replicas and serves them until they are unmounted. It returns once
// the kernel has taken the mount. mountpoint is an absolute path.
func Mount(mountpoint string, opts Options) (*Mounted, error) {
	m := newMount(opts, defaultDeadlines)
	raw := gofs.NewNodeFS(newRoot(m), &gofs.Options{
		// Every node sets its own.
		EntryTimeout:    nil,
		AttrTimeout:     nil,
		NullPermissions: true,
		RootStableAttr:  &gofs.StableAttr{Ino: inoRoot},
		Logger:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
	})
	server, err := fuse.NewServer(&watched{raw, m.requests}, mountpoint, kernelOptions(opts))
	if err != nil {
		m.close()
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	// Before the first request: all opens of an inode must go one way.
	m.begin(server)
	mounted := &Mounted{mount: m, mountpoint: mountpoint, done: make(chan struct{})}
	go func() {
		defer close(mounted.done)
		server.Serve()
	}()
	// No WaitMount: it opens a file in the mount. A process that is killed
	// while it waits for an answer of its own can't die, and hangs its mount.
	setReadAhead(mountpoint, opts.Logger)
	return mounted, nil
}

// Done is closed when the kernel has let go of the mount, by whatever means.
func (m *Mounted) Done() <-chan struct{} { return m.done }

// Unmount asks the kernel once to unmount. While a process holds a file of the
// mount open, it returns mounts.ErrBusy and changes nothing.
func (m *Mounted) Unmount() error { return mounts.Unmount(m.mountpoint) }

// Detach takes the mount out of the file system at once, even while a process
// holds a file open. That process can go on until Close.
func (m *Mounted) Detach() error { return mounts.Detach(m.mountpoint) }

// Drain waits until nothing is being published or deleted, or ctx is done.
func (m *Mounted) Drain(ctx context.Context) error {
	for _, t := range m.mount.opened() {
		if err := t.staged.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Unpublished are the staged files that are in no replica: what would be lost
// with the staging directory. After Close, it is the last word.
func (m *Mounted) Unpublished() []staging.Entry {
	var entries []staging.Entry
	for _, t := range m.mount.opened() {
		entries = append(entries, t.staged.Unpublished()...)
	}
	return entries
}

// DropListings has whatever the kernel asks from now on ask the stores. What it knows itself
// of a name, it keeps for as long as it was told, the freshness interval at most: to have it
// forget names would wait for requests that are under way, and a process that is killed while
// it waits for itself can't end.
func (m *Mounted) DropListings() {
	if m.mount.databases != nil {
		m.mount.databases.drop()
	}
	for _, t := range m.mount.opened() {
		for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
			t.index.Invalidate(level)
		}
	}
}

// Healthy returns an error if a request of the kernel has been under way for longer than any
// deadline allows.
func (m *Mounted) Healthy() error { return m.mount.requests.healthy() }

// LogAccess has each request of the kernel logged, or no more.
func (m *Mounted) LogAccess(on bool) { m.mount.requests.logged.Store(on) }

// LogsAccess reports whether each request of the kernel is logged.
func (m *Mounted) LogsAccess() bool { return m.mount.requests.logged.Load() }

// Close ends what still runs for the mount, and closes what is still staged,
// which stays in the staging directory. It is called last, after Done or
// Detach, and doesn't close the staging directory.
func (m *Mounted) Close() { m.mount.close() }

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
		// from a change in place. NO_EXPORT_SUPPORT: there are no handles of
		// files, which would go stale with the kernel's memory of them.
		ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_NO_EXPORT_SUPPORT,
		Logger:            slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
		PanicHandler: func(v any) fuse.Status {
			opts.Logger.Error("a request failed inside ltxfs; please report this", "panic", v, "stack", string(debug.Stack()))
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

// flagsByName are the mount options that mount(2) takes as a bit rather than as
// text.
var flagsByName = map[string]uintptr{
	"ro":         unix.MS_RDONLY,
	"nosuid":     unix.MS_NOSUID,
	"nodev":      unix.MS_NODEV,
	"noexec":     unix.MS_NOEXEC,
	"noatime":    unix.MS_NOATIME,
	"nodiratime": unix.MS_NODIRATIME,
}

// mountFlags splits mount options into the bits and the text of mount(2). As
// with fusermount3, set-user-ID programs and devices are off at any rate.
func mountFlags(names []string) (flags uintptr, text []string) {
	flags = unix.MS_NOSUID | unix.MS_NODEV
	for _, name := range names {
		if f, ok := flagsByName[name]; ok {
			flags |= f
		} else {
			text = append(text, name)
		}
	}
	return flags, text
}

// readAheadKB is how far the kernel reads ahead, in KiB. It reads as much around each page
// fault of a program that maps a file.
const readAheadKB = 256

// setReadAhead lets the kernel read further ahead than the 128 KiB that a FUSE
// server can ask for itself. It is root's to set; others do without. The mount's
// device number comes from the table of mounts: ltxfs must not touch its own
// mount.
func setReadAhead(mountpoint string, log *slog.Logger) {
	device, err := mounts.Device(mountpoint)
	if err == nil {
		err = os.WriteFile("/sys/class/bdi/"+device+"/read_ahead_kb", fmt.Appendf(nil, "%d\n", readAheadKB), 0)
	}
	if err != nil {
		log.Info("the kernel reads no more than 128 KiB ahead: only root may raise that", "error", err)
	}
}
