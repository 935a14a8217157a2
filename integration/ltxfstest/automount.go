package ltxfstest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Automounter is a child that mounts something on a directory when somebody looks into
// it, as autofs and x-systemd.automount do. All that happens in a mount namespace of
// its own.
type Automounter struct {
	t       testing.TB
	trigger Trigger
	cmd     *exec.Cmd
	stdin   io.Writer
	lines   chan string // what it tells
}

// Trigger is what an Automounter waits for and does.
type Trigger struct {
	Dir        string              // that sets it off
	Key        string              // the name in Dir that does so instead; "" if none does, as in a direct map
	Credential *syscall.Credential // who mounts, nil for ourselves
	Env        []string            // of the mount, beside ours
	Command    []string            // that mounts
}

// mountpoint is where the trigger's command mounts.
func (tr *Trigger) mountpoint() string { return filepath.Join(tr.Dir, tr.Key) }

// triggerEnv makes the test binary serve as an Automounter, for the trigger in it.
const triggerEnv = "LTXFSTEST_TRIGGER"

// Automount arms a trigger, until the test ends.
func Automount(t testing.TB, tr Trigger) *Automounter {
	t.Helper()
	if tr.Credential != nil {
		tr.Env = append(tr.Env, "GOCOVERDIR="+coverDirOf(t, tr.Credential))
	}
	config, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	a := &Automounter{t: t, trigger: tr, cmd: exec.Command(TestBinary(t, nil)), lines: make(chan string, 16)}
	a.cmd.Env = append(Env(), triggerEnv+"="+string(config))
	a.cmd.Stderr = os.Stderr
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if a.stdin, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			a.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		a.trigger.Credential = nil
		a.Run("umount", "-l", tr.mountpoint()) // which ends a daemon that is left
		_ = a.cmd.Process.Kill()               // and with it the trigger
		for range a.lines {
		}
		_ = a.cmd.Wait()
	})
	a.Expect("armed")
	return a
}

// Expect waits for what the automounter tells next: "armed", "mount " and the exit code
// of the command, or "expire " and what came of it, "ok" or an error.
func (a *Automounter) Expect(want string) {
	a.t.Helper()
	select {
	case got := <-a.lines:
		if got != want {
			a.t.Fatalf("the automounter told %q, not %q", got, want)
		}
	case <-time.After(Timeout):
		a.t.Fatalf("the automounter didn't tell %q", want)
	}
}

// Expire has the kernel unmount what nobody uses, as automounters do after a while.
func (a *Automounter) Expire() {
	a.t.Helper()
	if _, err := io.WriteString(a.stdin, "expire\n"); err != nil {
		a.t.Fatal(err)
	}
}

// Command is a program that sees what the automounter mounts, run by who mounts it, but
// in another process group.
func (a *Automounter) Command(name string, args ...string) *exec.Cmd {
	enter := []string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", a.cmd.Process.Pid)}
	if cred := a.trigger.Credential; cred != nil {
		enter = append(enter, fmt.Sprintf("--setuid=%d", cred.Uid), fmt.Sprintf("--setgid=%d", cred.Gid))
	}
	cmd := exec.Command("nsenter", append(append(enter, "--", name), args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// Run runs such a program to its end.
func (a *Automounter) Run(name string, args ...string) Result {
	a.t.Helper()
	return RunCmd(a.t, Timeout, a.Command(name, args...))
}

// The kernel's side, of linux/auto_fs.h. A packet's kind is one of two for an indirect
// map, and two more for a direct one.
const (
	autofsReady       = 0x9360
	autofsFail        = 0x9361
	autofsExpireMulti = 0x40049366
	expireNow         = 1 // whatever is idle, for however short a time

	packetMissing = 3
	packetExpire  = 4
	packetDirect  = 2 // is added for a direct map
)

// serveTrigger is the child.
func serveTrigger(config string) error {
	var tr Trigger
	if err := json.Unmarshal([]byte(config), &tr); err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_DIRECT); err != nil {
		return err
	}
	uid, kind, direct := 0, "indirect", uint32(0)
	if tr.Credential != nil {
		uid = int(tr.Credential.Uid)
	}
	if tr.Key == "" {
		kind, direct = "direct", packetDirect
	}
	options := fmt.Sprintf("fd=%d,pgrp=%d,uid=%d,minproto=5,maxproto=5,%s", pipe[1], unix.Getpgrp(), uid, kind)
	if err := unix.Mount("ltxfstest", tr.Dir, "autofs", 0, options); err != nil {
		return err
	}
	root, err := unix.Open(tr.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fmt.Println("armed")
	go func() {
		for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
			result := "ok"
			if err := unix.IoctlSetPointerInt(root, autofsExpireMulti, expireNow); err != nil {
				result = err.Error()
			}
			fmt.Println("expire " + result)
		}
	}()
	for {
		var packet struct {
			head struct{ proto, kind, token uint32 }
			rest [512]byte
		}
		n, err := unix.Read(pipe[0], unsafe.Slice((*byte)(unsafe.Pointer(&packet)), unsafe.Sizeof(packet)))
		if err != nil || n < int(unsafe.Sizeof(packet.head)) {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		answer := uint(autofsReady)
		switch packet.head.kind - direct {
		case packetMissing:
			if code := tr.mount(); code != 0 {
				answer = autofsFail
			}
		case packetExpire:
			if unix.Unmount(tr.mountpoint(), unix.UMOUNT_NOFOLLOW) != nil {
				answer = autofsFail
			}
		}
		if err := unix.IoctlSetInt(root, answer, int(packet.head.token)); err != nil {
			return err
		}
	}
}

// mount runs the command in the automounter's process group, which the kernel lets
// through, and returns its exit code.
func (tr *Trigger) mount() int {
	if tr.Key != "" {
		_ = os.Mkdir(tr.mountpoint(), 0o755) // it may be there
	}
	cmd := exec.Command(tr.Command[0], tr.Command[1:]...)
	cmd.Env = append(os.Environ(), tr.Env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: tr.Credential}
	_ = cmd.Run() // its exit code has it
	code := cmd.ProcessState.ExitCode()
	fmt.Printf("mount %d\n", code)
	return code
}
