package s3test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a child that runs until it is stopped, or this process ends.
type process struct {
	cmd    *exec.Cmd
	out    tail
	exited chan struct{} // closed once it is reaped
}

// startProcess starts a child in a process group of its own.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the thread ends that has started
		// the child, so it must not end before the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.exited)
		}
	}()
	return p, <-started
}

// stop ends the process, the kind way first, even if it is paused.
func (p *process) stop(timeout time.Duration) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, sig := range []syscall.Signal{sig, syscall.SIGCONT} {
			if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		}
		if p.endsWithin(timeout) {
			return nil
		}
	}
	return fmt.Errorf("the process %d still runs after SIGKILL", p.cmd.Process.Pid)
}

func (p *process) ended() bool { return p.endsWithin(0) }

func (p *process) endsWithin(d time.Duration) bool {
	select {
	case <-p.exited:
		return true
	default:
	}
	select {
	case <-p.exited:
		return true
	case <-time.After(d):
		return false
	}
}

// output is the last that the process has written.
func (p *process) output() string { return p.out.String() }

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// tailSize is how many bytes a tail keeps.
const tailSize = 16 << 10

// Write implements io.Writer.
func (b *tail) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, data...)
	if n := len(b.buf) - tailSize; n > 0 {
		b.buf = append(b.buf[:0], b.buf[n:]...)
	}
	return len(data), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}

// firstPort and lastPort bound the ports of servers. They lie below those that
// the kernel takes for the near end of a connection: while a server is stopped,
// such a port could be given away, and even be connected to itself.
const (
	firstPort = 20_000
	lastPort  = 32_000
)

// freeAddr is an address on which nobody listens.
func freeAddr() (string, error) {
	const tries = 100
	var last error
	for range tries {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("no free port after %d tries: %w", tries, last)
}
