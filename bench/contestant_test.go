package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// contestant is ltxfs, or what it is measured beside.
type contestant struct {
	name string
	kind kind
	// program is the path of what it runs, or why it can't. It may be nil.
	program func() (string, error)
	// open makes it ready to work on a replica, with nothing cached.
	open func(w *world, r replicaAt) (*session, error)
}

type kind int

const (
	subject  kind = iota // ltxfs as it is
	baseline             // another ltxfs
	peer                 // another program that mounts a bucket
	limit                // no mount of the replica at all
)

// replicaAt is a replica in a place.
type replicaAt struct {
	place
	name  string // of its directory, or of its prefix in the bucket
	write bool
}

// session is a contestant at work.
type session struct {
	daemon *daemon
	cred   *syscall.Credential // whom the children run as
	// level is the directory of a level.
	level func(level int) string
	// object is the object of a key below the replica, in the place of level.
	object *object
	source string // the directory whose files have the content, on the same machine
}

func (s *session) close() error {
	if s.daemon == nil {
		return nil
	}
	return s.daemon.close()
}

// target has a job work on a file of a level, or on the level itself if name is "".
func (s *session) target(j job, level int, name string) job {
	if s.object != nil {
		o := *s.object
		o.Key += fmt.Sprintf("/%04d/%s", level, name)
		j.Object = &o
		return j
	}
	j.Path = filepath.Join(s.level(level), name)
	return j
}

// ltxfsOf is an ltxfs, as the user who runs the bench.
func ltxfsOf(name string, kind kind, path func(w *world) string) *contestant {
	return &contestant{name: name, kind: kind, open: func(w *world, r replicaAt) (*session, error) {
		return w.mountLtxfs(path(w), r, nil)
	}}
}

func (w *world) mountLtxfs(path string, r replicaAt, cred *syscall.Credential) (*session, error) {
	source := filepath.Join(w.dir, r.name)
	cmd := exec.Command(path, "mount")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if r.write {
		staging, err := os.MkdirTemp(w.dir, "staging-")
		if err != nil {
			return nil, err
		}
		cmd.Args = append(cmd.Args, "--rw", "--staging-dir", staging)
	}
	if r.endpoint != "" {
		cmd.Env = w.server.Env()
		source = s3test.URL(r.endpoint, w.bucket, r.name)
	}
	cmd.Args = append(cmd.Args, source, "MOUNTPOINT")
	d, err := w.startDaemon(cmd)
	if err != nil {
		return nil, err
	}
	s := &session{daemon: d, cred: cred, level: func(level int) string {
		return filepath.Join(d.dir, "ltx", fmt.Sprintf("%04d", level))
	}}
	if r.endpoint == "" {
		s.source = source
	}
	return s, nil
}

// peerOf is a peer, which mounts the whole bucket.
func peerOf(name, program string, command func(w *world, r replicaAt) (*exec.Cmd, error)) *contestant {
	c := &contestant{name: name, kind: peer, program: sync.OnceValues(func() (string, error) { return find(program) })}
	c.open = func(w *world, r replicaAt) (*session, error) {
		cmd, err := command(w, r)
		if err != nil {
			return nil, err
		}
		if cmd.Path, cmd.Err = c.program(); cmd.Err != nil {
			return nil, cmd.Err
		}
		cmd.Env = append(cmd.Env, w.server.Env()...)
		d, err := w.startDaemon(cmd)
		if err != nil {
			return nil, err
		}
		return &session{daemon: d, level: func(level int) string {
			return filepath.Join(d.dir, r.name, fmt.Sprintf("%04d", level))
		}}, nil
	}
	return c
}

// find finds a program among the tools, or in PATH.
func find(program string) (string, error) {
	tool := filepath.Join(os.Getenv("LTXFS_TOOLS"), program)
	if _, err := os.Stat(tool); err == nil {
		return tool, nil
	}
	return exec.LookPath(program)
}

// absent is why it can't run here, or nil.
func (c *contestant) absent() error {
	if c.program == nil {
		return nil
	}
	_, err := c.program()
	return err
}

func s3fsCommand(w *world, r replicaAt) (*exec.Cmd, error) {
	passwd := filepath.Join(w.dir, "s3fs-passwd")
	err := os.WriteFile(passwd, []byte(w.server.AccessKey+":"+w.server.SecretKey), 0o600)
	return exec.Command("s3fs", w.bucket, "MOUNTPOINT", "-f", "-o",
		"passwd_file="+passwd+",use_path_request_style,url="+r.endpoint+",endpoint="+w.server.Region), err
}

func rcloneCommand(w *world, r replicaAt) (*exec.Cmd, error) {
	return exec.Command("rclone", append(rcloneFlags(w, r.endpoint), "mount", ":s3:"+w.bucket, "MOUNTPOINT")...), nil
}

func rcloneFlags(w *world, endpoint string) []string {
	return []string{
		"--config", os.DevNull, "--cache-dir", filepath.Join(w.dir, "rclone-cache"), "--s3-provider", "Minio", "--s3-env-auth",
		"--s3-endpoint", endpoint, "--s3-region", w.server.Region,
	}
}

func geesefsCommand(w *world, r replicaAt) (*exec.Cmd, error) {
	return exec.Command("geesefs", "-f", "--endpoint", r.endpoint, "--region", w.server.Region, w.bucket, "MOUNTPOINT"), nil
}

// The contestants.
var (
	ltxfs    = ltxfsOf("ltxfs", subject, func(w *world) string { return w.ltxfs })
	previous = ltxfsOf("baseline", baseline, func(*world) string { return *baselineFlag })
	geesefs  = peerOf("geesefs", "geesefs", geesefsCommand)
	s3fs     = peerOf("s3fs", "s3fs", s3fsCommand)
	rclone   = peerOf("rclone", "rclone", rcloneCommand)

	// cached is ltxfs on disk where the kernel can't pass reads through: as a user
	// who isn't root.
	cached = &contestant{name: "ltxfs, cached", kind: subject, open: func(w *world, r replicaAt) (*session, error) {
		return w.mountLtxfs(w.ltxfs, r, w.user)
	}}

	sdk = &contestant{name: "SDK", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		return &session{object: &object{
			Endpoint: r.endpoint, Region: w.server.Region, AccessKey: w.server.AccessKey, SecretKey: w.server.SecretKey,
			Bucket: w.bucket, Key: r.name,
		}}, nil
	}}

	plain = &contestant{name: "file", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		root := filepath.Join(w.dir, r.name)
		return &session{source: root, level: func(level int) string { return levelDir(root, level) }}, nil
	}}

	memory = &contestant{name: "go-fuse", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		cmd := exec.Command(w.self, "MOUNTPOINT")
		cmd.Env = []string{memoryEnv + "=" + strconv.FormatInt(w.size(), 10)}
		d, err := w.startDaemon(cmd)
		if err != nil {
			return nil, err
		}
		return &session{daemon: d, level: func(int) string { return d.dir }}, nil
	}}
)

// levelDir is the directory of a level in a replica on disk.
func levelDir(root string, level int) string { return filepath.Join(root, "ltx", strconv.Itoa(level)) }

// contestants are those of mounting who take part, in the order of the tables.
func mounting(p place) []*contestant {
	if p.endpoint == "" {
		return present(ltxfs, cached, previous)
	}
	return present(ltxfs, previous, geesefs, s3fs, rclone)
}

// present leaves out a baseline that nobody gave, and what -peers doesn't name.
func present(all ...*contestant) []*contestant {
	var some []*contestant
	for _, c := range all {
		named := *peersFlag == "" || strings.Contains(","+*peersFlag+",", ","+c.name+",")
		if c.kind == subject || c == previous && *baselineFlag != "" || c != previous && named {
			some = append(some, c)
		}
	}
	return some
}

// versions are what the programs call themselves.
func versions(w *world) []string {
	var lines []string
	for _, command := range [][]string{
		{w.ltxfs, "version"},
		{*baselineFlag, "version"},
		{"geesefs", "--version"},
		{"s3fs", "--version"},
		{"rclone", "version"},
		{"minio", "--version"},
		{"litestream", "version"},
	} {
		name := command[0]
		if name == "" {
			continue
		}
		path, err := find(name)
		if err != nil {
			lines = append(lines, fmt.Sprintf("%s is absent: %v", name, err))
			continue
		}
		cmd := exec.Command(path, command[1:]...)
		cmd.Env = ltxfstest.Env()
		out, err := cmd.CombinedOutput()
		if err != nil {
			out = []byte(err.Error())
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		lines = append(lines, fmt.Sprintf("%s: %s", filepath.Base(path), first))
	}
	return lines
}
