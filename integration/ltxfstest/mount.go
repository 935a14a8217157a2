package ltxfstest

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Mounted is a replica that an ltxfs process of its own has mounted.
type Mounted struct {
	Dir     string // the mount point
	Staging string // what --staging-dir is, or "" if the mount is read-only
	PID     int    // of the daemon

	test   string // the name of the test that mounted it
	cmd    *exec.Cmd
	log    syncBuffer
	exited chan struct{} // closed once the daemon is reaped
	dumped atomic.Bool
}

// MountOptions say how to mount. The zero value is root's read-only mount on a
// fresh directory.
type MountOptions struct {
	Dir        string // the mount point, a fresh empty directory if ""
	Binary     string // the ltxfs, the one that Main built if ""
	Flags      []string
	Credential *syscall.Credential // whom the daemon runs as, nil for ourselves
	Env        []string            // added to the daemon's environment
}

// Mount mounts a replica read-only, or read-write with --rw among the flags, and
// returns once the mount is there. It is unmounted when the test ends.
func Mount(t testing.TB, replica string, flags ...string) *Mounted {
	t.Helper()
	return MountWith(t, replica, MountOptions{Flags: flags})
}

// MountWith is Mount with more options.
func MountWith(t testing.TB, replica string, opts MountOptions) *Mounted {
	t.Helper()
	m := Start(t, replica, opts)
	m.wait(t)
	m.waitForLog(opts)
	return m
}

// waitForLog returns once the log says that the mount is there, and so has all that
// was told before: the daemon doesn't wait for its log. Where flags send that
// elsewhere or leave it out, there is nothing to wait for.
func (m *Mounted) waitForLog(opts MountOptions) {
	for _, f := range opts.Flags {
		if strings.HasPrefix(f, "--log-") || strings.HasPrefix(f, "-o") {
			return
		}
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if strings.Contains(m.Log(), "msg=mounted") || m.ended() {
			return
		}
	}
}

// Start is MountWith, but returns before there is a mount.
func Start(t testing.TB, replica string, opts MountOptions) *Mounted {
	t.Helper()
	m := &Mounted{Dir: opts.Dir, test: t.Name(), exited: make(chan struct{})}
	if m.Dir == "" {
		m.Dir = MountPoint(t)
	}
	flags := m.stagingFlags(t, opts)
	m.cmd = exec.Command(cmp.Or(opts.Binary, Binary()), append(append([]string{"mount"}, flags...), replica, m.Dir)...)
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	m.cmd.WaitDelay = time.Second
	m.cmd.Env = append(Env(), append(cacheEnv(t, opts.Credential), opts.Env...)...)
	// A group of its own: a ^C at the terminal shall not take the mounts
	// away under the tests' feet.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: opts.Credential}
	if opts.Credential != nil {
		chown(t, m.Dir, opts.Credential)
		m.cmd.Env = append(m.cmd.Env, "GOCOVERDIR="+coverDirOf(t, opts.Credential))
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.PID = m.cmd.Process.Pid
	go func() {
		defer close(m.exited)
		_ = m.cmd.Wait()
	}()
	live.add(m)
	t.Cleanup(func() { m.cleanUp(t) })
	return m
}

var caches = flag.Bool("caches", false, "mount with every cache on, and small, unless a test has a say in it")

// cacheEnv is the environment that turns every cache on. All mounts of a user share one on disk.
func cacheEnv(t testing.TB, cred *syscall.Credential) []string {
	if !*caches {
		return nil
	}
	dir := filepath.Join(workDir, "disk-cache")
	if cred != nil {
		dir = fmt.Sprint(dir, "-", cred.Uid)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if cred != nil {
		chown(t, dir, cred)
	}
	return []string{"LTXFS_DISK_CACHE=" + dir, "LTXFS_DISK_CACHE_SIZE=2MiB", "LTXFS_CACHE_SIZE=4MiB"}
}

// MountPoint makes an empty directory to mount on, which goes when the test ends.
// Other users can enter it. It isn't one of t.TempDir, which would be removed
// with all that a forgotten mount shows in it.
func MountPoint(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(workDir, "mnt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		detach(dir)
		if err := os.Remove(dir); err != nil {
			t.Errorf("the mount point is not as it was: %v", err)
		}
	})
	return dir
}

// stagingFlags are the flags of opts, with a staging directory of the test's own
// if the mount needs one and the flags name none.
func (m *Mounted) stagingFlags(t testing.TB, opts MountOptions) []string {
	if !slices.Contains(opts.Flags, "--rw") {
		return opts.Flags
	}
	for i, f := range opts.Flags {
		if dir, ok := strings.CutPrefix(f, "--staging-dir="); ok {
			m.Staging = dir
		} else if f == "--staging-dir" && i+1 < len(opts.Flags) {
			m.Staging = opts.Flags[i+1]
		}
	}
	if m.Staging != "" {
		return opts.Flags
	}
	m.Staging = t.TempDir()
	if opts.Credential != nil {
		chown(t, m.Staging, opts.Credential)
	}
	return append(slices.Clone(opts.Flags), "--staging-dir", m.Staging)
}

// wait returns once the mount answers. That the kernel lists it isn't enough, as
// it may be a dead one that ltxfs has yet to take away.
func (m *Mounted) wait(t testing.TB) {
	t.Helper()
	const fuseMagic = "65735546\n"
	mounted := func() bool {
		return len(Mounts(m.Dir)) > 0 && Run(t, Timeout, "stat", "-f", "-c", "%t", m.Dir).Stdout == fuseMagic
	}
	for deadline := time.Now().Add(Timeout); !mounted(); time.Sleep(2 * time.Millisecond) {
		switch {
		case m.ended():
			t.Fatalf("ltxfs mount exited with %d before it had mounted:\n%s", m.cmd.ProcessState.ExitCode(), m.Log())
		case time.Now().After(deadline):
			t.Fatalf("ltxfs mount has not mounted after %v%s", Timeout, m.dump())
		}
	}
}

// Path joins names to the mount point.
func (m *Mounted) Path(names ...string) string {
	return filepath.Join(append([]string{m.Dir}, names...)...)
}

// Log is what the daemon has written on stdout and stderr.
func (m *Mounted) Log() string { return m.log.String() }

// LogFrom is Log without its first n bytes.
func (m *Mounted) LogFrom(n int) string { return m.log.from(n) }

// Signal sends the daemon a signal.
func (m *Mounted) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v to the daemon: %v", sig, err)
	}
}

// Terminate sends SIGTERM and returns the exit code. The mount must be gone then.
func (m *Mounted) Terminate(t testing.TB) int {
	t.Helper()
	m.Signal(t, syscall.SIGTERM)
	return m.Wait(t)
}

// Wait waits until the daemon has exited and returns its exit code. The mount
// must be gone then.
func (m *Mounted) Wait(t testing.TB) int {
	t.Helper()
	if !m.endsWithin(Timeout) {
		t.Fatalf("ltxfs mount still runs after %v%s", Timeout, m.dump())
	}
	if left := Mounts(m.Dir); len(left) > 0 {
		t.Fatalf("ltxfs mount exited and left the mount: %v\n%s", left, m.Log())
	}
	return m.cmd.ProcessState.ExitCode()
}

// Kill sends SIGKILL, unless someone else has, and waits until the daemon is
// gone. The dead mount stays.
func (m *Mounted) Kill(t testing.TB) {
	t.Helper()
	_ = m.cmd.Process.Kill()
	if m.endsWithin(Timeout / 2) {
		return
	}
	detach(m.Dir)
	if m.endsWithin(Timeout) {
		t.Fatal("after SIGKILL, the daemon's end hung until its mount was forced away: it was using its own mount")
	}
	t.Fatal("the daemon still runs after SIGKILL")
}

// Memory is the most memory that the daemon has had resident, in bytes.
func (m *Mounted) Memory(t testing.TB) int64 {
	t.Helper()
	return procStatus(t, m.PID, "VmHWM")
}

func (m *Mounted) ended() bool {
	select {
	case <-m.exited:
		return true
	default:
		return false
	}
}

func (m *Mounted) endsWithin(d time.Duration) bool {
	select {
	case <-m.exited:
		return true
	case <-time.After(d):
		return false
	}
}

// crash matches what only a Go program that went wrong writes.
var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |WARNING: DATA RACE|goroutine \d+ \[)|panic in|panicked`)

// cleanUp ends the mount whatever state it is in, the kind way first, since only
// an orderly exit leaves coverage behind.
func (m *Mounted) cleanUp(t testing.TB) {
	defer live.remove(m)
	crashed := crash.MatchString(m.Log())
	if !m.ended() {
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
		if !m.endsWithin(Timeout) {
			t.Errorf("ltxfs mount didn't end %v after SIGTERM%s", Timeout, m.dump())
		}
	}
	detach(m.Dir)
	_ = m.cmd.Process.Kill()
	if !m.endsWithin(Timeout) {
		t.Errorf("the daemon still runs after SIGKILL")
	}
	if left := Mounts(m.Dir); len(left) > 0 {
		t.Errorf("the mount can't be detached: %v", left)
	}
	if crashed && !m.dumped.Load() {
		t.Error("the daemon crashed: see its log")
	}
	if t.Failed() && !m.dumped.Load() {
		t.Logf("the log of the mount on %s:\n%s", m.Dir, m.Log())
	}
}

// dump ends the daemon with SIGQUIT and returns its log, which then ends with
// its goroutines.
func (m *Mounted) dump() string {
	m.dumped.Store(true)
	_ = m.cmd.Process.Signal(syscall.SIGQUIT)
	m.endsWithin(5 * time.Second)
	return "\n--- the daemon of " + m.Dir + ":\n" + m.Log()
}

// live are the mounts whose daemons may still run.
var live mountSet

type mountSet struct {
	mu     sync.Mutex
	mounts []*Mounted
}

func (s *mountSet) add(m *Mounted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts = append(s.mounts, m)
}

func (s *mountSet) remove(m *Mounted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts = slices.DeleteFunc(s.mounts, func(n *Mounted) bool { return n == m })
}

// of are the mounts that a test made, or a test that it is a part of.
func (s *mountSet) of(test string) []*Mounted {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mounts []*Mounted
	for _, m := range s.mounts {
		if test == m.test || strings.HasPrefix(test, m.test+"/") {
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// dumpMounts ends the daemons of a test with their logs and goroutines. The test
// is lost when it is called.
func dumpMounts(t testing.TB) string {
	var b strings.Builder
	for _, m := range live.of(t.Name()) {
		b.WriteString(m.dump())
	}
	return b.String()
}

// syncBuffer is a bytes.Buffer that can be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string { return b.from(0) }

func (b *syncBuffer) from(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf.Bytes()[n:])
}
