// Package daemon starts ltxfs in the background and has the process that
// starts it know when the mount is there, or why it isn't.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

// errTimeout means that the started process was killed since it hadn't
// reported within the deadline.
var errTimeout = errors.New("no report from the process that was to mount")

// Options are how a process is started.
type Options struct {
	// Args are the arguments of ltxfs.
	Args []string

	// Env is added to this process's environment.
	Env []string

	// Stderr is the process's standard error until it reports.
	Stderr *os.File

	// Timeout is how long the process may take.
	Timeout time.Duration

	// EndWithParent has the process told to end when this one dies.
	EndWithParent bool
}

// Process is a process that has reported.
type Process struct {
	PID     int
	LogFile string // "" if it logs nowhere

	cmd     *exec.Cmd
	done    chan struct{}
	waitErr error // set before done is closed
}

// endPatience is how long an interrupted process may take to end by itself.
const endPatience = 20 * time.Second

// Start runs ltxfs and waits for its report. It begins in this process's working
// directory, so that relative paths in its configuration mean the same, and in its
// process group: an automounter has everybody wait for the mount but its own group.
// From its report on, it works in /, in a session of its own. If it ends instead, it
// has said why, and the error is exitcode.Reported. Once ctx is done, it is told to
// end.
func Start(ctx context.Context, opts Options) (*Process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start in the background: find the program: %w", err)
	}
	reports, report, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start in the background: %w", err)
	}
	defer reports.Close()
	cmd := exec.Command(program, opts.Args...)
	cmd.Stderr = opts.Stderr
	cmd.ExtraFiles = []*os.File{report} // descriptor 3
	cmd.Env = append(append(os.Environ(), opts.Env...), ReadyEnv+"=3")
	if opts.EndWithParent {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	}
	err = cmd.Start()
	report.Close()
	if err != nil {
		return nil, fmt.Errorf("start in the background: %w", err)
	}
	p := &Process{PID: cmd.Process.Pid, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.waitErr = cmd.Wait()
	}()
	return p, p.await(ctx, reports, opts.Timeout)
}

// await waits until the process has reported, has ended or must be killed.
func (p *Process) await(ctx context.Context, reports io.Reader, timeout time.Duration) error {
	reported := make(chan string, 1)
	go func() {
		report, _ := io.ReadAll(reports) // nothing, if the process ends without
		reported <- string(report)
	}()
	select {
	case report := <-reported:
		if logFile, ok := strings.CutPrefix(report, readyReport); ok {
			p.LogFile = logFile
			return nil
		}
		code, err := p.wait(endPatience)
		switch {
		case err != nil:
			return err
		case code != 0:
			return exitcode.Reported(exitcode.Code(code))
		}
		return errors.New("the process ended without a mount")
	case <-ctx.Done():
		_, _ = p.Stop(endPatience) // which the error is about
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	case <-time.After(timeout):
		err := exitcode.Errorf(exitcode.Timeout, "%w within %s", errTimeout, timeout)
		p.cmd.Process.Kill()
		if _, werr := p.wait(endPatience); errors.Is(werr, errTimeout) {
			err = fmt.Errorf("%w, and it can't be killed", err)
		}
		return err
	}
}

// wait waits for the end of the process and returns its exit code. Past its
// patience it kills it.
func (p *Process) wait(patience time.Duration) (int, error) {
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		return -1, exitcode.Errorf(exitcode.Timeout, "%w: it doesn't end", errTimeout)
	}
	if state := p.cmd.ProcessState; state.Exited() {
		return state.ExitCode(), nil
	}
	return -1, fmt.Errorf("the process that was to mount has died: %w", p.waitErr)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop has the process end as on SIGTERM and returns its exit code. Past the
// deadline it is killed.
func (p *Process) Stop(deadline time.Duration) (int, error) {
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return -1, err
	}
	return p.wait(deadline)
}
