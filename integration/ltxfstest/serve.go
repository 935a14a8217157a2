package ltxfstest

import (
	"bytes"
	"encoding/gob"
	"errors"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// request is one system call. Which fields matter depends on the call.
type request struct {
	Call        string
	Path, Path2 string
	FD          int
	Flags       int
	Mode        uint32
	Off         int64
	N           int
	Data        []byte
	Time        time.Time
}

type response struct {
	Errno  syscall.Errno
	N      int
	Data   []byte
	Names  []string
	Stat   Stat
	Statfs unix.Statfs_t
}

// serveProcess is the main function of a Process.
func serveProcess(r io.Reader, w io.Writer) {
	dec, enc := gob.NewDecoder(r), gob.NewEncoder(w)
	for {
		var req request
		if dec.Decode(&req) != nil {
			return
		}
		var resp response
		// As in package os: Go interrupts its own system calls.
		for again := true; again; again = resp.Errno == syscall.EINTR && req.Call != "close" {
			resp = response{}
			resp.Errno = errno(calls[req.Call](&req, &resp))
		}
		if enc.Encode(resp) != nil {
			return
		}
	}
}

func errno(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e
	default:
		return syscall.EIO
	}
}

var calls = map[string]func(*request, *response) error{
	"access":    func(q *request, _ *response) error { return unix.Access(q.Path, q.Mode) },
	"chmod":     func(q *request, _ *response) error { return unix.Chmod(q.Path, q.Mode) },
	"chown":     func(q *request, _ *response) error { return unix.Lchown(q.Path, q.Flags, q.N) },
	"close":     func(q *request, _ *response) error { return unix.Close(q.FD) },
	"fallocate": func(q *request, _ *response) error { return unix.Fallocate(q.FD, 0, q.Off, int64(q.N)) },
	"fsync":     func(q *request, _ *response) error { return unix.Fsync(q.FD) },
	"ftruncate": func(q *request, _ *response) error { return unix.Ftruncate(q.FD, q.Off) },
	"link":      func(q *request, _ *response) error { return unix.Link(q.Path, q.Path2) },
	"mkdir":     func(q *request, _ *response) error { return unix.Mkdir(q.Path, q.Mode) },
	"mknod":     func(q *request, _ *response) error { return unix.Mknod(q.Path, q.Mode, 0) },
	"rmdir":     func(q *request, _ *response) error { return unix.Rmdir(q.Path) },
	"setxattr":  func(q *request, _ *response) error { return unix.Setxattr(q.Path, q.Path2, q.Data, 0) },
	"symlink":   func(q *request, _ *response) error { return unix.Symlink(string(q.Data), q.Path) },
	"truncate":  func(q *request, _ *response) error { return unix.Truncate(q.Path, q.Off) },
	"unlink":    func(q *request, _ *response) error { return unix.Unlink(q.Path) },
	"statfs":    func(q *request, r *response) error { return unix.Statfs(q.Path, &r.Statfs) },

	"rename": func(q *request, _ *response) error {
		return unix.Renameat2(unix.AT_FDCWD, q.Path, unix.AT_FDCWD, q.Path2, uint(q.Flags))
	},
	"handle": func(q *request, _ *response) error {
		_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, q.Path, 0)
		return err
	},
	"utimes": func(q *request, _ *response) error {
		ts := unix.NsecToTimespec(q.Time.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, q.Path, []unix.Timespec{ts, ts}, 0)
	},
	"open": func(q *request, r *response) (err error) {
		r.N, err = unix.Open(q.Path, q.Flags|unix.O_CLOEXEC, q.Mode)
		return err
	},
	"dup": func(q *request, r *response) (err error) {
		r.N, err = unix.Dup(q.FD)
		return err
	},
	"lseek": func(q *request, r *response) error {
		off, err := unix.Seek(q.FD, q.Off, q.Flags)
		r.N = int(off)
		return err
	},
	"stat": func(q *request, r *response) error {
		return stat(r, func(st *unix.Stat_t) error { return unix.Stat(q.Path, st) })
	},
	"lstat": func(q *request, r *response) error {
		return stat(r, func(st *unix.Stat_t) error { return unix.Lstat(q.Path, st) })
	},
	"fstat": func(q *request, r *response) error {
		return stat(r, func(st *unix.Stat_t) error { return unix.Fstat(q.FD, st) })
	},
	"readlink": func(q *request, r *response) error {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlink(q.Path, buf)
		r.Data = buf[:max(n, 0)]
		return err
	},
	"write": func(q *request, _ *response) error {
		return writeAll(q.Data, func(b []byte, _ int64) (int, error) { return unix.Write(q.FD, b) })
	},
	"pwrite": func(q *request, _ *response) error {
		return writeAll(q.Data, func(b []byte, done int64) (int, error) { return unix.Pwrite(q.FD, b, q.Off+done) })
	},
	"pread": func(q *request, r *response) (err error) {
		r.Data, err = readAll(q.FD, q.Off, q.N)
		return err
	},
	"readfile": func(q *request, r *response) error {
		fd, err := unix.Open(q.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		r.Data, err = readAll(fd, 0, -1)
		return errors.Join(err, unix.Close(fd))
	},
	"mmap": func(q *request, r *response) error {
		fd, err := unix.Open(q.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		data, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		end := len(data)
		if q.N >= 0 {
			end = min(end, int(q.Off)+q.N)
		}
		r.Data = bytes.Clone(data[q.Off:end])
		return unix.Munmap(data)
	},
	"readdir": func(q *request, r *response) error {
		fd, err := unix.Open(q.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		r.Names, err = readNames(fd)
		return errors.Join(err, unix.Close(fd))
	},
	"fdreaddir": func(q *request, r *response) (err error) {
		if _, err := unix.Seek(q.FD, 0, io.SeekStart); err != nil {
			return err
		}
		r.Names, err = readNames(q.FD)
		return err
	},
}

func stat(r *response, call func(*unix.Stat_t) error) error {
	var st unix.Stat_t
	if err := call(&st); err != nil {
		return err
	}
	r.Stat = Stat{
		Mode:    st.Mode,
		Size:    st.Size,
		ModTime: time.Unix(st.Mtim.Unix()).UTC(),
		UID:     st.Uid,
		GID:     st.Gid,
		Ino:     st.Ino,
		Nlink:   uint64(st.Nlink),
		Blocks:  st.Blocks,
	}
	return nil
}

func writeAll(data []byte, write func(b []byte, done int64) (int, error)) error {
	for done := 0; done < len(data); {
		n, err := write(data[done:], int64(done))
		if err == syscall.EINTR {
			continue // here, as the call as a whole can't be repeated
		}
		if err != nil {
			return err
		}
		done += n
	}
	return nil
}

// readAll reads n bytes from off on, or to the end of the file if n < 0.
func readAll(fd int, off int64, n int) ([]byte, error) {
	var data []byte
	buf := make([]byte, 128<<10)
	for n < 0 || len(data) < n {
		b := buf
		if n >= 0 {
			b = buf[:min(len(buf), n-len(data))]
		}
		got, err := unix.Pread(fd, b, off+int64(len(data)))
		if err != nil {
			return data, err
		}
		if got == 0 {
			break
		}
		data = append(data, b[:got]...)
	}
	return data, nil
}

func readNames(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if n <= 0 || err != nil {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
