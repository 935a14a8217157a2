package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

const (
	// ReadyEnv tells a process which descriptor it reports on.
	ReadyEnv = "LTXFS_READY_FD"

	// notifyEnv names systemd's socket.
	notifyEnv = "NOTIFY_SOCKET"

	// readyReport begins the report of a process that has mounted. The path of
	// its log follows.
	readyReport = "mounted "
)

// Reporter reports to the process that started this one, if one waits, and to
// systemd, if it asks for it.
type Reporter struct {
	// Watchdog is within what time systemd wants to hear Alive again. 0 is never.
	Watchdog time.Duration

	fd     *os.File
	socket string
}

// FromEnvironment returns the Reporter of this process. Reporting does nothing
// if nobody waits. No process that this one starts is asked to report.
func FromEnvironment() *Reporter {
	r := &Reporter{socket: os.Getenv(notifyEnv)}
	fd, err := strconv.Atoi(os.Getenv(ReadyEnv))
	if err == nil && fd >= 3 {
		unix.CloseOnExec(fd)
		r.fd = os.NewFile(uintptr(fd), "ready")
	}
	os.Unsetenv(notifyEnv)
	os.Unsetenv(ReadyEnv)
	r.Watchdog, _ = systemd.SdWatchdogEnabled(true) // what systemd sets can be read
	return r
}

// InBackground reports whether another process waits for the report.
func (r *Reporter) InBackground() bool { return r.fd != nil }

// Ready reports to the process that waits that the mount is there. From then on
// nothing of this process is attached to that one: standard error goes to log,
// or nowhere if log is nil.
func (r *Reporter) Ready(log *os.File) error {
	if r.fd == nil {
		return nil
	}
	name := ""
	if log != nil {
		name = log.Name()
	}
	// Reported at any rate: whoever waits would end the mount that is there.
	err := detach(log)
	_, werr := r.fd.WriteString(readyReport + name)
	return errors.Join(err, werr, r.fd.Close())
}

// detach leaves the caller's session, and lets go of the terminal, and of the working
// directory, whose file system somebody may want to unmount. It touches nothing below
// the mountpoint: until the report, an automounter has it wait there.
func detach(log *os.File) error {
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("leave the session: %w", err)
	}
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
	for fd, to := range []*os.File{null, null, log} {
		if err := redirect(fd, to); err != nil {
			return err
		}
	}
	return nil
}

// LogTo has standard error, to which Go itself writes the last words of a crash, go to log.
func LogTo(log *os.File) error { return redirect(2, log) }

func redirect(fd int, to *os.File) error {
	if err := unix.Dup3(int(to.Fd()), fd, 0); err != nil {
		return fmt.Errorf("redirect descriptor %d: %w", fd, err)
	}
	return nil
}

// Supervised reports whether systemd started this process and listens to it.
func (r *Reporter) Supervised() bool { return r.socket != "" }

// Started tells systemd, if it started this process, that the mount is there.
func (r *Reporter) Started() error { return r.notify(systemd.SdNotifyReady) }

// Stopping tells systemd, if it started this process, that it is about to end.
func (r *Reporter) Stopping() error { return r.notify(systemd.SdNotifyStopping) }

// Status has systemctl status show a line.
func (r *Reporter) Status(line string) error { return r.notify("STATUS=" + line) }

// Alive has systemd's watchdog wait for another Watchdog.
func (r *Reporter) Alive() error { return r.notify(systemd.SdNotifyWatchdog) }

// notifyTimeout is how long systemd may take to receive a message.
const notifyTimeout = time.Second

// notify sends a message by the protocol of sd_notify(3), if systemd waits for any.
// go-systemd's own has no deadline, and looks for the socket in the environment, from where
// children would have it.
func (r *Reporter) notify(message string) error {
	if r.socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", r.socket)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	err = conn.SetWriteDeadline(time.Now().Add(notifyTimeout))
	if err == nil {
		_, err = conn.Write([]byte(message))
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
