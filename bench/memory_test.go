package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// memoryEnv makes the bench's binary mount a file of as many bytes that go-fuse
// serves from memory: the limit of what a mount can do.
const memoryEnv = "LTXFSBENCH_MEMORY"

// memoryName is the name of the file: that which others have in a replica.
const memoryName = largeName

// memoryFile is a large file, all of whose reads get the same bytes.
type memoryFile struct {
	fs.Inode
	size uint64
	data []byte
}

var _ interface {
	fs.NodeGetattrer
	fs.NodeOpener
	fs.NodeReader
} = (*memoryFile)(nil)

func (f *memoryFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size, out.Mode = f.size, 0o444
	return fs.OK
}

func (f *memoryFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, fs.OK
}

func (f *memoryFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := min(uint64(len(dest)), f.size-min(f.size, uint64(off)))
	return fuse.ReadResultData(f.data[:n]), fs.OK
}

// serveMemory serves the file until it is unmounted.
func serveMemory(dir string) (code int) {
	size, err := strconv.ParseUint(os.Getenv(memoryEnv), 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	const largest = 1 << 20
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{
			MaxWrite: largest, MaxReadAhead: largest, DisableXAttrs: true, DirectMount: os.Geteuid() == 0, FsName: "memory",
		},
		OnAdd: func(ctx context.Context) {
			file := root.NewPersistentInode(ctx, &memoryFile{size: size, data: make([]byte, largest)}, fs.StableAttr{})
			root.AddChild(memoryName, file, false)
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := raiseReadAhead(dir, largest); err != nil {
		fmt.Fprintln(os.Stderr, "the kernel's read-ahead stays as it is:", err)
	}
	server.Wait()
	return 0
}

// raiseReadAhead sets how far ahead the kernel reads in a mount, which root may.
func raiseReadAhead(dir string, bytes int) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	return os.WriteFile(path, []byte(strconv.Itoa(bytes>>10)), 0)
}
