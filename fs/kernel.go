package fs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// unmountTimeout bounds the setuid helper that unmounts for users.
const unmountTimeout = 30 * time.Second

// readAheadKB is how far the kernel reads ahead, in KiB. Its own 128 halve the
// throughput of one reader.
const readAheadKB = 1024

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

// unmount asks the kernel to unmount, for users by way of fusermount3.
func unmount(mountpoint string, detach bool) error {
	var err error
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if detach {
			flags |= unix.MNT_DETACH
		}
		err = unix.Unmount(mountpoint, flags)
	} else {
		err = fusermount(mountpoint, detach)
	}
	switch {
	case err == nil, errors.Is(err, unix.EINVAL):
		return nil // it isn't mounted any more
	case errors.Is(err, unix.EBUSY):
		return ErrBusy
	}
	return fmt.Errorf("unmount %s: %w", mountpoint, err)
}

func fusermount(mountpoint string, detach bool) error {
	bin, err := exec.LookPath("fusermount3")
	if err != nil {
		bin, err = exec.LookPath("/bin/fusermount3") // as go-fuse does to mount
	}
	if err != nil {
		return fmt.Errorf("%w: install the package fuse3", err)
	}
	args := []string{"-u", "--", mountpoint}
	if detach {
		args = []string{"-u", "-z", "--", mountpoint}
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	// The helper may hang on a mount that does.
	timer := time.AfterFunc(unmountTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Wait()
	text := strings.TrimSpace(out.String())
	switch {
	case err == nil:
		return nil
	case strings.Contains(text, unix.EBUSY.Error()), strings.Contains(text, "Device or resource busy"):
		return unix.EBUSY
	case strings.Contains(text, "not found in"), strings.Contains(text, "not mounted"), strings.Contains(text, "Invalid argument"):
		return unix.EINVAL
	}
	return fmt.Errorf("%w: %s", err, text)
}

// setReadAhead lets the kernel read further ahead than the 128 KiB that a FUSE
// server can ask for itself. It is root's to set; others do without. The mount's
// device number comes from the table of mounts: ltxfs must not touch its own
// mount.
func setReadAhead(mountpoint string, log *slog.Logger) {
	if os.Geteuid() != 0 {
		return
	}
	device, err := mountedDevice(mountpoint)
	if err == nil {
		err = os.WriteFile("/sys/class/bdi/"+device+"/read_ahead_kb", fmt.Appendf(nil, "%d\n", readAheadKB), 0)
	}
	if err != nil {
		log.Debug("the kernel's read-ahead stays at its default", "error", err)
	}
}

// mountedDevice is the device number, as major:minor, of what is mounted on a
// path.
func mountedDevice(mountpoint string) (string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return deviceIn(string(table), mountpoint)
}

// deviceIn finds a mountpoint in the text of a mountinfo. The last line with it
// is the mount on top.
func deviceIn(table, mountpoint string) (device string, err error) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(table) {
		// ID, parent, major:minor, root, mountpoint, …
		if fields := strings.Fields(line); len(fields) > 4 && unescape.Replace(fields[4]) == mountpoint {
			device = fields[2]
		}
	}
	if device == "" {
		return "", fmt.Errorf("%s is not in the table of mounts", mountpoint)
	}
	return device, nil
}

// setUpPassthrough asks the kernel whether it reads files on local disk itself,
// and says in the log how it is. The answer holds for the mount as a whole: all
// handles of an inode must be read in the same way.
func (fsys *fileSystem) setUpPassthrough(server *fuse.Server) {
	if _, ok := replica.As[replica.LocalOpener](fsys.client); !ok {
		return
	}
	fsys.registrar = func(fd int) error {
		id, e := server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(fd)})
		if e != 0 {
			return e
		}
		if e := server.UnregisterBackingFd(id); e != 0 {
			return e
		}
		return nil
	}
	if server.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0 {
		fsys.log.Info("passthrough is off: the kernel has none before Linux 6.9; reading through the cache")
		return
	}
	if err := fsys.probe(); err != nil {
		fsys.log.Info("passthrough is off: the kernel allows it to root alone; reading through the cache", "error", err)
		return
	}
	fsys.passthrough.Store(true)
	fsys.log.Info("passthrough is on: the kernel reads files on disk itself")
}

// probe asks the kernel with a file in memory, of which nothing is left if this
// process is killed.
func (fsys *fileSystem) probe() error {
	fd, err := unix.MemfdCreate("ltxfs-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	return errors.Join(fsys.registrar(fd), unix.Close(fd))
}

// takesPassthrough asks the kernel about the replica's own disk, with the first
// file that is opened: one on a stacked file system it doesn't take.
func (fsys *fileSystem) takesPassthrough(f *os.File) bool {
	if fsys.probed.Load() {
		return fsys.passthrough.Load()
	}
	fsys.probeMu.Lock()
	defer fsys.probeMu.Unlock()
	if fsys.probed.Load() {
		return fsys.passthrough.Load()
	}
	if err := fsys.registrar(int(f.Fd())); err != nil {
		fsys.passthrough.Store(false)
		fsys.log.Info("passthrough is off: the kernel refuses the replica's file system; reading through the cache", "error", err)
	}
	fsys.probed.Store(true)
	return fsys.passthrough.Load()
}

func stack() string { return string(debug.Stack()) }
