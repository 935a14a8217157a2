package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// childEnv makes the bench's binary do a job. Work is done by children, so that a
// mount that hangs can be given up.
const childEnv = "LTXFSBENCH_CHILD"

// job is work for a child.
type job struct {
	Kind string // a name in jobs

	// One of these is worked on.
	Path   string
	Object *object

	Evict   string // a file that the kernel's cache shall have nothing of, or ""
	Source  string // the file that is written, or a directory of files
	Readers int    // or threads
	Block   int    // bytes of a read
	Reads   int
	Mmap    bool // read by page faults
	Seed    uint64
	Command []string // gets the path as its last argument
	Env     []string // added to the command's environment

	// A database is queried by SQL, or copied to To, a file that goes again if that is "".
	Query, To string
	Extension string // of SQLite, by which it is opened
}

// outcome is what a child tells of its job.
type outcome struct {
	Seconds  float64
	P50, P99 float64 // of a read, in milliseconds
	Bytes    int64   // read or written
	Reads    int
	Entries  int // listed

	CPU    float64 // seconds of the child itself
	Memory int64   // the most that it had resident, in bytes
}

var jobs = map[string]func(j job) (outcome, error){
	"read":    job.read,
	"random":  job.random,
	"list":    job.list,
	"write":   job.write,
	"restore": job.restore,
	"state":   job.state,
	"command": job.command,

	"restored": job.restored,
	"verified": job.verified,
	"unpack":   job.unpack,
}

// serveChild is the main function of a child.
func serveChild(in io.Reader, out io.Writer) (code int) {
	debug.SetGCPercent(-1) // a page fault may stop a thread, and the collector would wait for it
	debug.SetMemoryLimit(512 << 20)
	var j job
	err := json.NewDecoder(in).Decode(&j)
	if err == nil && j.Evict != "" {
		err = evict(j.Evict)
	}
	var o outcome
	before, _ := used()
	if err == nil {
		o, err = jobs[j.Kind](j)
	}
	after, memory := used()
	o.CPU, o.Memory = (after - before).Seconds(), memory
	if err == nil {
		err = json.NewEncoder(out).Encode(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// used is the CPU time of this process and its children, and the most memory that
// one of them had resident, in bytes.
func used() (cpu time.Duration, memory int64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		_ = syscall.Getrusage(who, &u) // it has nothing to refuse
		cpu += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		memory = max(memory, u.Maxrss<<10)
	}
	return cpu, memory
}

// do has a child do a job, on the mount of d, if that isn't nil.
func (w *world) do(j job, d *daemon, cred *syscall.Credential) (o outcome, err error) {
	input, err := json.Marshal(j)
	if err != nil {
		return o, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(w.self)
	cmd.Env = append(ltxfstest.Env(), childEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: cred}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return o, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timeout := time.After(w.deadline())
	select {
	case err := <-ended:
		if err != nil {
			return o, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
		}
		return o, json.Unmarshal(stdout.Bytes(), &o)
	case <-w.ctx.Done():
		err = w.ctx.Err()
	case <-timeout:
		err = fmt.Errorf("over %v", w.deadline())
	}
	// The child may hang in a system call that only the end of the mount ends.
	if d != nil {
		err = errors.Join(err, d.abort())
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-ended:
	case <-time.After(endTimeout):
		err = errors.Join(err, errors.New("the child hangs after SIGKILL"))
	}
	return o, err
}

// command runs a program and tells how long it took.
func (j job) command() (o outcome, err error) {
	cmd := exec.Command(j.Command[0], append(j.Command[1:], j.Path)...)
	cmd.Env = append(os.Environ(), j.Env...)
	var stderr bytes.Buffer
	var lines lineCounter
	cmd.Stdout, cmd.Stderr = &lines, &stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return o, fmt.Errorf("%w: %s", err, &stderr)
	}
	return outcome{Seconds: time.Since(began).Seconds(), Entries: lines.n}, nil
}

type lineCounter struct{ n int }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.n += bytes.Count(p, []byte("\n"))
	return len(p), nil
}
