package ltxfstest

import (
	"encoding/gob"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Process is a child that makes single system calls for a test, one after the
// other: what the tests ask of a mount without a tool goes through one, so that
// a mount that hangs leaves the child hanging, and the test fails.
//
// Its methods return the errno of the call, as a syscall.Errno, or nil. Relative
// paths are below the process's directory, though that is never its working
// directory.
type Process struct {
	t   testing.TB
	dir string
	cmd *exec.Cmd
	enc *gob.Encoder
	dec *gob.Decoder
}

// processEnv makes the test binary serve as a Process.
const processEnv = "LTXFSTEST_PROCESS"

// Process starts a process with the mount as its directory.
func (m *Mounted) Process(t testing.TB) *Process {
	t.Helper()
	return NewProcess(t, m.Dir, nil)
}

// NewProcess starts a process with a directory, as another user if cred isn't
// nil. It ends with the test, or when it is closed.
func NewProcess(t testing.TB, dir string, cred *syscall.Credential) *Process {
	t.Helper()
	p := &Process{t: t, dir: dir, cmd: exec.Command(TestBinary(t, cred))}
	p.cmd.Env = append(Env(), processEnv+"=1")
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred, Pdeathsig: syscall.SIGKILL}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.enc, p.dec = gob.NewEncoder(stdin), gob.NewDecoder(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Close kills the process: the kernel closes what it has open.
func (p *Process) Close() {
	_ = p.cmd.Process.Kill()
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(Timeout):
		p.t.Errorf("a process can't be killed: it hangs in a system call%s", dumpMounts(p.t))
	}
}

// do makes one call. When its deadline passes, the test fails at once.
func (p *Process) do(req request) (response, error) {
	p.t.Helper()
	var resp response
	done := make(chan error, 1)
	go func() {
		if err := p.enc.Encode(req); err != nil {
			done <- err
			return
		}
		done <- p.dec.Decode(&resp)
	}()
	select {
	case err := <-done:
		if err != nil {
			p.t.Fatalf("the process that should do %s %s is gone: %v", req.Call, req.Path, err)
		}
	case <-time.After(Timeout):
		p.t.Fatalf("%s %s hangs: no answer after %v%s", req.Call, req.Path, Timeout, dumpMounts(p.t))
	}
	if resp.Errno != 0 {
		return resp, resp.Errno
	}
	return resp, nil
}

func (p *Process) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.dir, path)
}

// path makes a call that takes one path.
func (p *Process) path(call, path string, req request) error {
	p.t.Helper()
	req.Call, req.Path = call, p.abs(path)
	_, err := p.do(req)
	return err
}

// paths makes a call that takes two.
func (p *Process) paths(call, path, path2 string, req request) error {
	p.t.Helper()
	req.Path2 = p.abs(path2)
	return p.path(call, path, req)
}
