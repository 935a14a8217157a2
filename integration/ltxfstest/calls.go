package ltxfstest

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what stat(2) tells of a file.
type Stat struct {
	Mode    uint32 // type and permissions
	Size    int64
	ModTime time.Time
	UID     uint32
	GID     uint32
	Ino     uint64
	Nlink   uint64
	Blocks  int64 // of 512 bytes
}

// IsDir reports whether the file is a directory.
func (s Stat) IsDir() bool { return s.Mode&syscall.S_IFMT == syscall.S_IFDIR }

// IsLink reports whether the file is a symbolic link.
func (s Stat) IsLink() bool { return s.Mode&syscall.S_IFMT == syscall.S_IFLNK }

// Perm is the file's permissions.
func (s Stat) Perm() uint32 { return s.Mode & 0o7777 }

// Open opens a file with the flags of open(2).
func (p *Process) Open(path string, flags int, perm uint32) (*File, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "open", Path: p.abs(path), Flags: flags, Mode: perm})
	if err != nil {
		return nil, err
	}
	return &File{p: p, fd: resp.N}, nil
}

// Create opens a file as a shell's redirection does.
func (p *Process) Create(path string) (*File, error) {
	p.t.Helper()
	return p.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
}

// WriteFile creates or truncates a file, writes data, and closes it. It returns
// the first error, and closes in any case.
func (p *Process) WriteFile(path string, data []byte) error {
	p.t.Helper()
	f, err := p.Create(path)
	if err != nil {
		return err
	}
	werr := f.Write(data)
	if err := f.Close(); werr == nil {
		return err
	}
	return werr
}

// ReadFile reads a whole file.
func (p *Process) ReadFile(path string) ([]byte, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "readfile", Path: p.abs(path)})
	return resp.Data, err
}

// Mmap reads n bytes of a file from off on through a mapping, or to its end if n < 0.
func (p *Process) Mmap(path string, n int, off int64) ([]byte, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "mmap", Path: p.abs(path), N: n, Off: off})
	return resp.Data, err
}

// ReadDir lists a directory's names, sorted, without . and ..
func (p *Process) ReadDir(path string) ([]string, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "readdir", Path: p.abs(path)})
	slices.Sort(resp.Names)
	return resp.Names, err
}

// Stat follows links; Lstat doesn't.
func (p *Process) Stat(path string) (Stat, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "stat", Path: p.abs(path)})
	return resp.Stat, err
}

// Lstat is Stat of the link itself.
func (p *Process) Lstat(path string) (Stat, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "lstat", Path: p.abs(path)})
	return resp.Stat, err
}

// Statfs returns the room in the file system that holds path.
func (p *Process) Statfs(path string) (unix.Statfs_t, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "statfs", Path: p.abs(path)})
	return resp.Statfs, err
}

// Readlink returns what a link holds.
func (p *Process) Readlink(path string) (string, error) {
	p.t.Helper()
	resp, err := p.do(request{Call: "readlink", Path: p.abs(path)})
	return string(resp.Data), err
}

// Handle asks for a file's handle, by which servers of NFS know it.
func (p *Process) Handle(path string) error {
	p.t.Helper()
	return p.path("handle", path, request{})
}

// Rename renames, with the flags of renameat2(2).
func (p *Process) Rename(from, to string, flags uint) error {
	p.t.Helper()
	return p.paths("rename", from, to, request{Flags: int(flags)})
}

// Link makes a hard link.
func (p *Process) Link(from, to string) error {
	p.t.Helper()
	return p.paths("link", from, to, request{})
}

// Symlink makes a symbolic link that holds target, as it is.
func (p *Process) Symlink(target, path string) error {
	p.t.Helper()
	return p.path("symlink", path, request{Data: []byte(target)})
}

// Unlink removes a file.
func (p *Process) Unlink(path string) error { p.t.Helper(); return p.path("unlink", path, request{}) }

// Mkdir makes a directory.
func (p *Process) Mkdir(path string) error {
	p.t.Helper()
	return p.path("mkdir", path, request{Mode: 0o755})
}

// Rmdir removes a directory.
func (p *Process) Rmdir(path string) error { p.t.Helper(); return p.path("rmdir", path, request{}) }

// Mknod makes a file of any type, which the mode tells.
func (p *Process) Mknod(path string, mode uint32) error {
	p.t.Helper()
	return p.path("mknod", path, request{Mode: mode})
}

// Truncate cuts a file by its path.
func (p *Process) Truncate(path string, size int64) error {
	p.t.Helper()
	return p.path("truncate", path, request{Off: size})
}

// Chmod sets permissions.
func (p *Process) Chmod(path string, mode uint32) error {
	p.t.Helper()
	return p.path("chmod", path, request{Mode: mode})
}

// Chown sets the owner.
func (p *Process) Chown(path string, uid, gid int) error {
	p.t.Helper()
	return p.path("chown", path, request{Flags: uid, N: gid})
}

// Utimes sets the times of access and modification.
func (p *Process) Utimes(path string, at time.Time) error {
	p.t.Helper()
	return p.path("utimes", path, request{Time: at})
}

// Access asks for the rights R_OK, W_OK and X_OK.
func (p *Process) Access(path string, mode uint32) error {
	p.t.Helper()
	return p.path("access", path, request{Mode: mode})
}

// Setxattr sets an extended attribute.
func (p *Process) Setxattr(path, name string, value []byte) error {
	p.t.Helper()
	return p.path("setxattr", path, request{Path2: name, Data: value})
}

// File is an open file of a Process.
type File struct {
	p  *Process
	fd int
}

func (f *File) do(call string, req request) (response, error) {
	f.p.t.Helper()
	req.Call, req.FD = call, f.fd
	return f.p.do(req)
}

// Write writes all of data at the file's position.
func (f *File) Write(data []byte) error {
	f.p.t.Helper()
	_, err := f.do("write", request{Data: data})
	return err
}

// WriteAt writes all of data at an offset.
func (f *File) WriteAt(data []byte, off int64) error {
	f.p.t.Helper()
	_, err := f.do("pwrite", request{Data: data, Off: off})
	return err
}

// ReadAt reads n bytes at an offset, fewer only at the end of the file or before
// an error, which it returns too.
func (f *File) ReadAt(n int, off int64) ([]byte, error) {
	f.p.t.Helper()
	resp, err := f.do("pread", request{N: n, Off: off})
	return resp.Data, err
}

// Fsync flushes a file or a directory.
func (f *File) Fsync() error { f.p.t.Helper(); _, err := f.do("fsync", request{}); return err }

// Close closes the file and returns the error of close(2).
func (f *File) Close() error { f.p.t.Helper(); _, err := f.do("close", request{}); return err }

// Stat is fstat(2).
func (f *File) Stat() (Stat, error) {
	f.p.t.Helper()
	resp, err := f.do("fstat", request{})
	return resp.Stat, err
}

// Truncate is ftruncate(2).
func (f *File) Truncate(size int64) error {
	f.p.t.Helper()
	_, err := f.do("ftruncate", request{Off: size})
	return err
}

// Fallocate is fallocate(2) without a mode.
func (f *File) Fallocate(off, size int64) error {
	f.p.t.Helper()
	_, err := f.do("fallocate", request{Off: off, N: int(size)})
	return err
}

// Seek is lseek(2) and returns the new position.
func (f *File) Seek(off int64, whence int) (int64, error) {
	f.p.t.Helper()
	resp, err := f.do("lseek", request{Off: off, Flags: whence})
	return int64(resp.N), err
}

// Dup is dup(2): the same open file under another descriptor.
func (f *File) Dup() (*File, error) {
	f.p.t.Helper()
	resp, err := f.do("dup", request{})
	if err != nil {
		return nil, err
	}
	return &File{p: f.p, fd: resp.N}, nil
}

// ReadNames reads the names in an open directory from its start.
func (f *File) ReadNames() ([]string, error) {
	f.p.t.Helper()
	resp, err := f.do("fdreaddir", request{})
	return resp.Names, err
}
