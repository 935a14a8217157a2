package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// toolTimeout is when a tool has hung. It may make several calls that each wait
// for their own deadline, and wait for another tool that does so in the same
// directory, which the kernel locks.
const toolTimeout = 200 * time.Second

// outcome is what one tool did to one file.
type outcome struct {
	file   ltxFile
	tool   string
	took   time.Duration
	data   []byte // what was read, of a read
	stderr string
	errno  syscall.Errno // 0 if it succeeded

	// staged is the name, relative to the mount point, under which a write
	// that failed left its file in the mount, or "".
	staged string
}

func (o outcome) err() error {
	if o.errno == 0 {
		return nil
	}
	return o.errno
}

// errnos are those that tools name by their text.
var errnos = []syscall.Errno{
	syscall.EACCES, syscall.EIO, syscall.ENOENT, syscall.EPERM, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EEXIST,
	syscall.EBADMSG, syscall.EINVAL, syscall.EROFS, syscall.ENOSPC, syscall.ENOTCONN, syscall.ECONNABORTED,
}

// cText is how the C library words an errno that Go words otherwise, in lower
// case.
var cText = map[syscall.Errno]string{syscall.ESTALE: "stale file handle", syscall.EACCES: "permission denied"}

// errnoOf is the errno that a tool has printed.
func errnoOf(result ltxfstest.Result) syscall.Errno {
	if result.Code == 0 {
		return 0
	}
	text := strings.ToLower(result.Stderr)
	for _, e := range errnos {
		want := cText[e]
		if want == "" {
			want = e.Error()
		}
		if strings.Contains(text, want) {
			return e
		}
	}
	return syscall.Errno(255) // a failure without an errno, which no test allows
}

// run runs a tool.
func (r *rig) run(name string, args ...string) (ltxfstest.Result, time.Duration) {
	r.t.Helper()
	began := time.Now()
	result := ltxfstest.Run(r.t, toolTimeout, name, args...)
	return result, time.Since(began)
}

// readFlag is how dd reads.
type readFlag string

const (
	// direct goes past the kernel's cache: each read is one of the daemon's.
	direct readFlag = "direct"
	// buffered goes through the kernel's cache, with its read-ahead, and drops
	// from it what was read.
	buffered readFlag = "nocache"
)

// read reads a file.
func (r *rig) read(f ltxFile, how readFlag) outcome {
	r.t.Helper()
	result, took := r.run("dd", "if="+r.m.Path(f.path()), "bs=128k", "iflag="+string(how), "status=none")
	return outcome{file: f, tool: "dd iflag=" + string(how), took: took, data: []byte(result.Stdout), stderr: result.Stderr,
		errno: errnoOf(result)}
}

// writeMode is by which call a file is published.
type writeMode string

const (
	throughClose  writeMode = "close"
	throughRename writeMode = "rename"
	throughFsync  writeMode = "fsync"
)

// write writes a file that is not in the mount.
func (r *rig) write(f ltxFile, mode writeMode) outcome {
	r.t.Helper()
	source := filepath.Join(r.t.TempDir(), f.name())
	require.NoError(r.t, os.WriteFile(source, f.data, 0o644))
	defer os.Remove(source)
	target := r.m.Path(f.path())
	o := outcome{file: f, tool: "write through " + string(mode)}
	var result ltxfstest.Result
	switch mode {
	case throughClose:
		result, o.took = r.run("cp", source, target)
		if strings.Contains(result.Stderr, "failed to close") {
			o.staged = f.path()
		}
	case throughFsync:
		result, o.took = r.run("dd", "if="+source, "of="+target, "bs=1M", "conv=fsync", "status=none")
		if strings.Contains(result.Stderr, "fsync failed") || strings.Contains(result.Stderr, "closing output file") {
			o.staged = f.path()
		}
	case throughRename:
		result, o.took = r.run("cp", source, target+".tmp")
		if result.Code == 0 {
			var took time.Duration
			o.staged = f.path() + ".tmp"
			result, took = r.run("mv", "-T", target+".tmp", target)
			o.took += took
		}
	}
	o.stderr, o.errno = result.Stderr, errnoOf(result)
	if o.errno == 0 {
		o.staged = ""
		r.acknowledge(f)
	}
	return o
}

// beginWrite starts to write a file, and returns once it is staged, but has no
// content yet. finish gives it its content and publishes it, by close.
func (r *rig) beginWrite(f ltxFile) (finish func() outcome) {
	r.t.Helper()
	cmd := exec.Command("dd", "of="+r.m.Path(f.path()), "bs=1M", "iflag=fullblock", "status=none")
	cmd.Env = ltxfstest.Env()
	stdin, content, err := os.Pipe()
	require.NoError(r.t, err)
	cmd.Stdin = stdin
	done := make(chan ltxfstest.Result, 1)
	go func() {
		done <- ltxfstest.RunCmd(r.t, toolTimeout, cmd)
		stdin.Close()
	}()
	ltxfstest.Eventually(r.t, ltxfstest.Timeout, f.path()+" is staged", func() bool { return r.stagedFiles()[f.name()] != "" })
	return func() outcome {
		began := time.Now()
		_, err := content.Write(f.data)
		require.NoError(r.t, errors.Join(err, content.Close()))
		result := <-done
		o := outcome{file: f, tool: "write", took: time.Since(began), stderr: result.Stderr, errno: errnoOf(result)}
		if o.errno == 0 {
			r.acknowledge(f)
		} else {
			o.staged = f.path()
		}
		return o
	}
}

// publish publishes what a failed write has left, as a user can: by fsync, or by
// the rename.
func (r *rig) publish(o outcome) outcome {
	r.t.Helper()
	again := outcome{file: o.file, tool: "publish again"}
	var result ltxfstest.Result
	if o.staged == o.file.path() {
		result, again.took = r.run("sync", r.m.Path(o.staged))
	} else {
		result, again.took = r.run("mv", "-T", r.m.Path(o.staged), r.m.Path(o.file.path()))
	}
	if again.stderr, again.errno = result.Stderr, errnoOf(result); again.errno == 0 {
		r.acknowledge(o.file)
	}
	return again
}

// list lists the directory of a level.
func (r *rig) list(level int) (names []string, o outcome) {
	r.t.Helper()
	result, took := r.run("ls", r.m.Path("ltx", fmt.Sprintf("%04d", level)))
	return strings.Fields(result.Stdout), outcome{tool: "ls", took: took, stderr: result.Stderr, errno: errnoOf(result)}
}

// stagedFiles are the files in the staging directory, by name, with their paths.
func (r *rig) stagedFiles() map[string]string {
	r.t.Helper()
	staged := map[string]string{}
	err := filepath.WalkDir(r.m.Staging, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".lock") {
			staged[d.Name()] = path
		}
		return err
	})
	require.NoError(r.t, err)
	return staged
}
