package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// readyEnv tells a process which descriptor it reports on.
const readyEnv = "LTXFS_READY_FD"

// Ready is what the started process reports once it has mounted.
type Ready struct {
	PID     int    `json:"pid"`
	LogFile string `json:"log_file,omitempty"`
}

// notifyEnv names systemd's socket.
const notifyEnv = "NOTIFY_SOCKET"

// Reporter reports to the process that started this one, if one waits, and to
// systemd, if it asks for it.
type Reporter struct {
	fd     *os.File
	socket string
}

// FromEnvironment returns the Reporter of this process. Reporting does nothing
// if nobody waits. No process that this one starts is asked to report.
func FromEnvironment() *Reporter {
	r := &Reporter{socket: os.Getenv(notifyEnv)}
	os.Unsetenv(notifyEnv)
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	os.Unsetenv(readyEnv)
	if err == nil && fd >= 3 {
		unix.CloseOnExec(fd)
		r.fd = os.NewFile(uintptr(fd), "ready")
	}
	return r
}

// InBackground reports whether another process waits for the report.
func (r *Reporter) InBackground() bool { return r.fd != nil }

// Ready reports to the process that waits that the mount is there. From then on
// nothing of this process is attached to that one: standard error goes to log,
// or nowhere if log is nil.
func (r *Reporter) Ready(ready Ready, log *os.File) error {
	if r.fd == nil {
		return nil
	}
	// Reported at any rate: whoever waits would end the mount that is there.
	err := detach(log)
	return errors.Join(err, json.NewEncoder(r.fd).Encode(ready), r.fd.Close())
}

// detach lets go of the terminal, and of the working directory, whose file
// system somebody may want to unmount.
func detach(log *os.File) error {
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("leave the working directory: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("detach from the terminal: %w", err)
	}
	defer null.Close()
	if log == nil {
		log = null
	}
	for fd, to := range map[int]*os.File{0: null, 1: null, 2: log} {
		if err := unix.Dup3(int(to.Fd()), fd, 0); err != nil {
			return fmt.Errorf("detach from the terminal: %w", err)
		}
	}
	return nil
}

// Started tells systemd, if it started this process, that the mount is there.
func (r *Reporter) Started() error { return r.notify("READY=1") }

// Stopping tells systemd, if it started this process, that it is about to end.
func (r *Reporter) Stopping() error { return r.notify("STOPPING=1") }

// notify sends a line by the protocol of sd_notify(3), if systemd waits for one.
func (r *Reporter) notify(line string) error {
	if r.socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: r.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	_, err = conn.Write([]byte(line))
	return errors.Join(err, conn.Close())
}
