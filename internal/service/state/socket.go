package state

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// sumLength is how many characters at the end of a base tell mountpoints apart.
const sumLength = 12

// socketPath is where the process of a mount listens for the commands of ltxfs.
func socketPath(base string) string {
	return filepath.Join(filepath.Dir(base), base[len(base)-sumLength:]+".sock")
}

// inDir calls use with another path of a socket, which is as short as the address of one
// must be.
func inDir(base string, use func(path string) error) error {
	path := socketPath(base)
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// Listen listens on the mount's socket.
func (f *File) Listen() (l net.Listener, err error) {
	_ = os.Remove(socketPath(f.base)) // of one that was killed
	err = inDir(f.base, func(path string) error {
		u, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		u.SetUnlinkOnClose(false) // its path is gone by then; Remove does
		l = u
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		return nil, fmt.Errorf("listen for the commands of ltxfs: %w", err)
	}
	return l, nil
}

// Dial connects to the process that serves the mount.
func (w *Watch) Dial(ctx context.Context) (conn net.Conn, err error) {
	err = inDir(w.base, func(path string) error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}
