package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// daemon is a process that serves a mount.
type daemon struct {
	dir   string // the mount point
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{}
	took  time.Duration // from its start until the mount was there
}

const (
	mountTimeout = time.Minute
	endTimeout   = 30 * time.Second
)

// startDaemon starts a program that stays in the foreground, and returns once it
// has mounted. The program gets the mount point for each argument MOUNTPOINT.
func (w *world) startDaemon(cmd *exec.Cmd) (*daemon, error) {
	dir, err := os.MkdirTemp(w.dir, "mnt-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, cmd: cmd, ended: make(chan struct{})}
	if d.log, err = os.Create(dir + ".log"); err != nil {
		return nil, err
	}
	for i, arg := range cmd.Args {
		if arg == "MOUNTPOINT" {
			cmd.Args[i] = dir
		}
	}
	cmd.Stdout, cmd.Stderr = d.log, d.log
	cmd.Env = append(ltxfstest.Env(), append(cmd.Env, "GODEBUG=gctrace=1")...)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { defer close(d.ended); _ = cmd.Wait() }()
	for len(ltxfstest.Mounts(dir)) == 0 {
		switch {
		case d.endsWithin(time.Millisecond):
			return nil, errors.Join(fmt.Errorf("%s ended before it had mounted: %s", cmd.Path, d.output(0)), d.close())
		case time.Since(began) > mountTimeout:
			return nil, errors.Join(fmt.Errorf("%s has not mounted after %v: %s", cmd.Path, mountTimeout, d.output(0)), d.abort())
		}
	}
	d.took = time.Since(began)
	return d, nil
}

// close unmounts and waits for the end of the process.
func (d *daemon) close() error {
	if len(ltxfstest.Mounts(d.dir)) > 0 {
		unmount := exec.Command("fusermount3", "-u", d.dir)
		if out, err := unmount.CombinedOutput(); err != nil {
			return errors.Join(fmt.Errorf("unmount: %w: %s", err, out), d.abort())
		}
	}
	if !d.endsWithin(endTimeout) {
		return errors.Join(fmt.Errorf("%s still runs %v after it was unmounted", d.cmd.Path, endTimeout), d.abort())
	}
	return errors.Join(d.log.Close(), os.Remove(d.log.Name()), os.Remove(d.dir))
}

// abort ends the mount whatever state it is in. What hangs in it fails then.
func (d *daemon) abort() error {
	_ = exec.Command("fusermount3", "-u", "-z", d.dir).Run()
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	if !d.endsWithin(endTimeout) {
		return fmt.Errorf("%s still runs after SIGKILL", d.cmd.Path)
	}
	return nil
}

func (d *daemon) endsWithin(t time.Duration) bool {
	select {
	case <-d.ended:
		return true
	case <-time.After(t):
		return false
	}
}

// output is what the daemon has written from an offset on.
func (d *daemon) output(from int64) string {
	data, err := os.ReadFile(d.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(data[min(from, int64(len(data))):])
}

// usage is what a daemon has used up.
type usage struct {
	cpu    time.Duration
	ready  time.Duration // in which its threads ran, or waited for a core
	log    int64         // bytes that it has written to its log
	memory int64         // the most that it had resident, in bytes
}

// resetMemory makes the memory that is resident now the most that ever was.
func (d *daemon) resetMemory() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.cmd.Process.Pid), []byte("5"), 0)
}

func (d *daemon) usage() (u usage, err error) {
	proc := fmt.Sprintf("/proc/%d/", d.cmd.Process.Pid)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return u, err
	}
	// See proc_pid_stat(5): behind the name in parentheses, utime is the 12th.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, ticks := range fields[11:13] {
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * time.Second / 100
	}
	tasks, err := filepath.Glob(proc + "task/*/schedstat")
	if err != nil {
		return u, err
	}
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		var ran, waited, slices int64
		if _, err := fmt.Sscan(string(data), &ran, &waited, &slices); err != nil {
			return u, fmt.Errorf("%s: %w", task, err)
		}
		u.ready += time.Duration(ran + waited)
	}
	if u.memory, err = highWater(proc + "status"); err != nil {
		return u, err
	}
	info, err := d.log.Stat()
	if err != nil {
		return u, err
	}
	u.log = info.Size()
	return u, nil
}

var vmHWM = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB`)

// highWater is the most memory that a process had resident, in bytes.
func highWater(status string) (int64, error) {
	data, err := os.ReadFile(status)
	if err != nil {
		return 0, err
	}
	match := vmHWM.FindSubmatch(data)
	if match == nil {
		return 0, fmt.Errorf("%s has no VmHWM", status)
	}
	kib, err := strconv.ParseInt(string(match[1]), 10, 64)
	return kib << 10, err
}

// gcCPU matches what GODEBUG=gctrace=1 tells of a collection: the CPU milliseconds
// of the sweep's end, of marking by assists, by workers and in idle time, and of
// the mark's end.
var gcCPU = regexp.MustCompile(`(?m)^gc \d+ @.* ([\d.]+)\+([\d.]+)/([\d.]+)/([\d.]+)\+([\d.]+) ms cpu,`)

// collected is the time that a Go program's collector took, by its log from an
// offset on. What it waited for a core is in it. It is no program in Go if ok is
// false.
func (d *daemon) collected(from int64) (took time.Duration, ok bool) {
	for _, match := range gcCPU.FindAllStringSubmatch(d.output(from), -1) {
		for _, text := range match[1:] {
			ms, _ := strconv.ParseFloat(text, 64) // as the pattern has it
			took += time.Duration(ms * float64(time.Millisecond))
		}
	}
	return took, gcCPU.MatchString(d.output(0))
}
