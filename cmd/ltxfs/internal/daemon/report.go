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

// Reporter reports to the process that started this one, if one waits.
type Reporter struct{ fd *os.File }

// FromEnvironment returns the Reporter of this process. Reporting does nothing
// if nobody waits.
func FromEnvironment() *Reporter {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	os.Unsetenv(readyEnv)
	if err != nil || fd < 3 {
		return &Reporter{}
	}
	unix.CloseOnExec(fd)
	return &Reporter{os.NewFile(uintptr(fd), "ready")}
}

// InBackground reports whether another process waits for the report.
func (r *Reporter) InBackground() bool { return r.fd != nil }

// Ready reports that the mount is there. From then on nothing of this process
// is attached to the one that started it: standard error goes to log, or
// nowhere if log is nil.
func (r *Reporter) Ready(ready Ready, log *os.File) error {
	if err := notifySystemd("READY=1"); err != nil {
		return err
	}
	if r.fd == nil {
		return nil
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
	err = json.NewEncoder(r.fd).Encode(ready)
	return errors.Join(err, r.fd.Close())
}

// Stopping tells systemd, if it started this process, that it is about to end.
func Stopping() error { return notifySystemd("STOPPING=1") }

// notifySystemd sends a line by the protocol of sd_notify(3), if systemd
// waits for one.
func notifySystemd(line string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	_, err = conn.Write([]byte(line))
	return errors.Join(err, conn.Close())
}
