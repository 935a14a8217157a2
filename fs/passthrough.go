package fs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// passthrough is whether the kernel reads files on a disk itself: those of a replica, or of the
// disk cache. It is asked when mounting, and again with the first file that is opened: one on a
// stacked file system it doesn't take. A registration that the kernel refuses to
// go-fuse would turn passthrough off in silence, and all opens of an inode must go
// one way.
type passthrough struct {
	granted  atomic.Bool
	probe    sync.Once
	register func(fd int) error // asks the kernel whether it takes a file
}

func (p *passthrough) on() bool { return p.granted.Load() }

// errInFUSE is why the kernel isn't to read a file below FUSE: what is open there is lost
// when a connection breaks, as of sshfs, while the cache opens the file anew.
var errInFUSE = errors.New("it is in FUSE")

// takes reports whether the kernel takes the files of the disk that f is on.
func (p *passthrough) takes(f *os.File, log *slog.Logger) bool {
	p.probe.Do(func() {
		var disk unix.Statfs_t
		err := unix.Fstatfs(int(f.Fd()), &disk)
		switch {
		case err == nil && disk.Type == unix.FUSE_SUPER_MAGIC:
			err = errInFUSE
		case err == nil:
			err = p.register(int(f.Fd()))
		}
		if err != nil {
			p.granted.Store(false)
			log.Info("passthrough is off: not for this file system; reading through the cache", "error", err)
		}
	})
	return p.on()
}

// setUpPassthrough asks the kernel whether it reads the replica's files itself, if they
// are on local disk. It is called before the tree's first request.
func (t *tree) setUpPassthrough(server *fuse.Server) {
	if t.Store.Properties().Local && opensLocally(t.Store) {
		t.passthrough.setUp(server, t.log)
	}
}

// setUp asks the kernel, and says in the log how it is.
func (p *passthrough) setUp(server *fuse.Server, log *slog.Logger) {
	register := func(fd int) error {
		id, e := server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(fd)})
		if e == 0 {
			e = server.UnregisterBackingFd(id)
		}
		if e != 0 {
			return e
		}
		return nil
	}
	if server.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0 {
		log.Info("passthrough is off: the kernel has none before Linux 6.9; reading through the cache")
		return
	}
	if err := tryInMemory(register); err != nil {
		log.Info("passthrough is off: the kernel allows it to root alone; reading through the cache", "error", err)
		return
	}
	p.register = register
	p.granted.Store(true)
	log.Info("passthrough is on: the kernel reads files on disk itself")
}

// opensLocally reports whether a store opens files for the kernel. It asks for a
// name that no file can have, which touches no disk.
func opensLocally(s replica.Store) bool {
	_, err := s.OpenLocal(context.Background(), replica.File{Name: replica.Name{Level: replica.MinLevel - 1}})
	return !errors.Is(err, errors.ErrUnsupported)
}

// tryInMemory asks the kernel with a file in memory, of which nothing is left if
// this process is killed.
func tryInMemory(register func(fd int) error) error {
	fd, err := unix.MemfdCreate("ltxfs-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	return errors.Join(register(fd), unix.Close(fd))
}
