package ltxfstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Result is what a program that ended left.
type Result struct {
	Args   []string
	Code   int // -1 if a signal ended it
	Stdout string
	Stderr string
}

func (r Result) String() string {
	return fmt.Sprintf("%s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(r.Args, " "), r.Code, r.Stdout, r.Stderr)
}

// Run runs a program to its end and returns its exit code, whatever that is.
// At the timeout it fails the test with the program's output and the logs and
// goroutines of the test's mounts, and kills the program's process group.
func Run(t testing.TB, timeout time.Duration, name string, args ...string) Result {
	t.Helper()
	return RunCmd(t, timeout, exec.Command(name, args...))
}

// RunCmd is Run for a prepared command. If that has a standard output already, the
// result has none.
func RunCmd(t testing.TB, timeout time.Duration, cmd *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if cmd.Stderr = &stderr; cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	if cmd.Env == nil {
		cmd.Env = Env()
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	// A daemon that the program left behind may hold its pipes open.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	select {
	case err := <-done:
		result := Result{Args: cmd.Args, Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
			t.Fatalf("%v\n%v", err, result)
		}
		return result
	case <-ctx.Done():
	}
	// The program may hang in a system call that only the end of the mount
	// ends, so the mounts go first.
	dump := dumpMounts(t)
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatalf("%s: still runs after %v and after SIGKILL%s", strings.Join(cmd.Args, " "), timeout, dump)
	}
	t.Fatalf("%s: still runs after %v\nstdout: %s\nstderr: %s%s",
		strings.Join(cmd.Args, " "), timeout, &stdout, &stderr, dump)
	panic("unreachable")
}

// MustRun runs a program that must exit with 0 in a time without surprises, and
// returns its standard output.
func MustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	result := Run(t, Timeout, name, args...)
	if result.Code != 0 {
		t.Fatal(result)
	}
	return result.Stdout
}

// Shell runs a script with sh, which gets args as $1 and on. It must exit with
// 0, and so must each command of it. Shell returns its standard output.
func Shell(t testing.TB, script string, args ...string) string {
	t.Helper()
	return MustRun(t, "bash", append([]string{"-euo", "pipefail", "-c", script, "bash"}, args...)...)
}

// Ltxfs runs the built binary to its end.
func Ltxfs(t testing.TB, args ...string) Result {
	t.Helper()
	return Run(t, Timeout, Binary(), args...)
}

// The exit codes of ltxfs that the tests expect, as the manual lists them.
const (
	ExitOK             = 0
	ExitUsage          = 2
	ExitNoReplica      = 3
	ExitBadMountpoint  = 4
	ExitAlreadyMounted = 5
	ExitPermission     = 7
	ExitUnpublished    = 8
	ExitBusy           = 9
	ExitTimeout        = 10
	ExitNotMounted     = 11
	ExitDamaged        = 13
	ExitUndetermined   = 14
)
