// Package daemon starts ltxfs in the background and has the process that
// starts it know when the mount is there, or why it isn't.
package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout means that the started process was killed since it hadn't
// reported within the deadline.
var ErrTimeout = errors.New("no report from the process that was to mount")

// ExitError means that the started process ended before it reported. It has
// said why on standard error.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Options are how a process is started.
type Options struct {
	// Program and Args are what is run.
	Program string
	Args    []string

	// Stderr gets what the process writes to standard error until it
	// reports.
	Stderr io.Writer

	// Timeout is how long the process may take.
	Timeout time.Duration

	// Interrupt, when it gets a signal, ends the process in its stead.
	Interrupt <-chan os.Signal

	// Env is added to this process's environment.
	Env []string

	// Message is handed to the process in such a way that no other can read
	// it, as others can its arguments. The process gets it by Message.
	Message string

	// EndWithParent has the process told to end when this one dies.
	EndWithParent bool
}

// Process is a process that has reported.
type Process struct {
	Ready
	cmd     *exec.Cmd
	done    chan struct{}
	waitErr error // set before done is closed
}

// endPatience is how long an interrupted process may take to end by itself.
const endPatience = 20 * time.Second

// Start runs a process in a session of its own and waits for its report. It
// begins in this process's working directory, so that relative paths in its
// configuration mean the same; from its report on, it works in /.
func Start(opts Options) (*Process, error) {
	reports, report, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start in the background: %w", err)
	}
	defer reports.Close()
	messages, stderr, err := os.Pipe()
	if err != nil {
		report.Close()
		return nil, fmt.Errorf("start in the background: %w", err)
	}
	defer messages.Close()

	cmd := exec.Command(opts.Program, opts.Args...)
	cmd.Stderr = stderr
	cmd.ExtraFiles = []*os.File{report} // descriptor 3
	cmd.Env = append(append(os.Environ(), opts.Env...), readyEnv+"=3")
	if opts.Message != "" {
		message, err := sendMessage(opts.Message)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start in the background: %w", err), report.Close(), stderr.Close())
		}
		defer message.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, message) // descriptor 4
		cmd.Env = append(cmd.Env, messageEnv+"=4")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if opts.EndWithParent {
		cmd.SysProcAttr.Pdeathsig = unix.SIGTERM
	}
	err = cmd.Start()
	report.Close()
	stderr.Close()
	if err != nil {
		return nil, fmt.Errorf("start in the background: %w", err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		io.Copy(opts.Stderr, messages)
	}()
	ready := make(chan *Ready, 1)
	go func() {
		var r Ready
		if json.NewDecoder(reports).Decode(&r) != nil {
			ready <- nil
			return
		}
		ready <- &r
	}()
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.waitErr = cmd.Wait()
	}()
	return p, p.await(opts, ready, copied)
}

// await waits until the process has reported, has ended or must be killed.
func (p *Process) await(opts Options, ready <-chan *Ready, copied <-chan struct{}) error {
	timer := time.NewTimer(opts.Timeout)
	defer timer.Stop()
	interrupt := opts.Interrupt
	var killed error
	for {
		select {
		case r := <-ready:
			if r != nil && killed == nil {
				p.Ready = *r
				drained(copied)
				return nil
			}
			code, err := p.wait(endPatience)
			drained(copied)
			switch {
			case killed != nil:
				return killed
			case err != nil:
				return err
			}
			return &ExitError{code}
		case sig := <-interrupt:
			killed = fmt.Errorf("interrupted by the signal %v", sig)
			p.cmd.Process.Signal(unix.SIGTERM)
			timer.Reset(endPatience)
			interrupt = nil
		case <-timer.C:
			p.cmd.Process.Kill()
			if killed == nil {
				killed = fmt.Errorf("%w within %s", ErrTimeout, opts.Timeout)
			}
			if _, err := p.wait(endPatience); errors.Is(err, ErrTimeout) {
				return fmt.Errorf("%w, and it can't be killed", killed)
			}
			drained(copied)
			return killed
		}
	}
}

// drained waits until all that the process wrote has been passed on. It closes
// its end when it reports or ends; a helper that outlives it may not.
func drained(copied <-chan struct{}) {
	select {
	case <-copied:
	case <-time.After(time.Second):
	}
}

// wait waits for the end of the process and returns its exit code. Past its
// patience it kills it.
func (p *Process) wait(patience time.Duration) (int, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.cmd.Process.Kill()
		return -1, fmt.Errorf("%w: it doesn't end", ErrTimeout)
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
