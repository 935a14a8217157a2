package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	daemon  *daemon             // nil if there is no mount
	cred    *syscall.Credential // whom the children run as
	source  string              // the replica's directory, if the content is on disk
	opening s3test.Traffic      // what the store was asked until it was ready
	// target has a job work on a file of a level, or on the level itself if name is "".
	target func(j job, level int, name string) job
}

func (s *session) close() error {
	if s.daemon == nil {
		return nil
	}
	return s.daemon.close()
}

// inTree has jobs work on a tree with a replica at root.
func inTree(root, levels string) func(j job, level int, name string) job {
	return func(j job, level int, name string) job {
		if j.Path = filepath.Join(root, fmt.Sprintf(levels, level), name); j.Kind == "restore" {
			j.Path = "file://" + root
		}
		return j
	}
}

// How levels are called.
const (
	inMount  = "ltx/%04d"
	inBucket = "%04d"
	onDisk   = "ltx/%d"
)

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
	s := &session{daemon: d, cred: cred, target: inTree(d.dir, inMount)}
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
		return &session{daemon: d, target: inTree(filepath.Join(d.dir, r.name), inBucket)}, nil
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
		return &session{target: func(j job, level int, name string) job {
			j.Object = &object{
				Endpoint: r.endpoint, Region: w.server.Region, AccessKey: w.server.AccessKey, SecretKey: w.server.SecretKey,
				Bucket: w.bucket, Key: r.key(level, name),
			}
			return j
		}}, nil
	}}

	plain = &contestant{name: "file", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		root := filepath.Join(w.dir, r.name)
		return &session{source: root, target: inTree(root, onDisk)}, nil
	}}

	memory = &contestant{name: "go-fuse", kind: limit, open: func(w *world, _ replicaAt) (*session, error) {
		cmd := exec.Command(w.self, "MOUNTPOINT")
		cmd.Env = []string{memoryEnv + "=" + strconv.FormatInt(w.size(), 10)}
		d, err := w.startDaemon(cmd)
		if err != nil {
			return nil, err
		}
		return &session{daemon: d, target: func(j job, _ int, name string) job {
			j.Path = filepath.Join(d.dir, name)
			return j
		}}, nil
	}}

	// copied is rclone without a mount, and without comparing what has arrived.
	copied = &contestant{name: "rclone copy", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		path, err := find("rclone")
		if err != nil {
			return nil, err
		}
		command := append([]string{path}, rcloneFlags(w, r.endpoint)...)
		command = append(command, "--ignore-checksum", "--no-check-dest", "--s3-disable-checksum", "--s3-no-head", "--s3-no-check-bucket")
		return &session{target: func(j job, level int, name string) job {
			verb := "copyto"
			if name == "" {
				verb = "copy"
			}
			j.Kind, j.Command, j.Env = "command", append(command, verb, j.Source), w.server.Env()
			j.Path = ":s3:" + w.bucket + "/" + r.key(level, name)
			return j
		}}, nil
	}}

	// straight is Litestream without a mount.
	straight = &contestant{name: "Litestream", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		return &session{target: func(j job, _ int, _ string) job {
			if j.Path = "file://" + filepath.Join(w.dir, r.name); r.endpoint != "" {
				j.Path, j.Env = s3test.URL(r.endpoint, w.bucket, r.name), w.server.Env()
			}
			return j
		}}, nil
	}}
)

// key is the key of a file of a level, or what those of all its files begin with.
func (r replicaAt) key(level int, name string) string {
	return r.name + "/" + fmt.Sprintf(inBucket, level) + "/" + name
}

// mounting are the contestants that mount, in the order of the tables.
func mounting(p place) []*contestant {
	if p.endpoint == "" {
		return []*contestant{ltxfs, cached, previous}
	}
	return []*contestant{ltxfs, previous, geesefs, s3fs, rclone}
}

// with are the contestants that mount, and others.
func with(near, far, disk []*contestant) func(w *world, p place) []*contestant {
	return func(w *world, p place) []*contestant {
		others := disk
		switch p {
		case w.near:
			others = near
		case w.far:
			others = far
		}
		return append(mounting(p), others...)
	}
}

// chosen reports whether a contestant was asked for.
func (c *contestant) chosen() bool {
	switch c {
	case ltxfs, cached:
		return true
	case previous:
		return *baselineFlag != ""
	default:
		return *peersFlag == "" || slices.Contains(strings.Split(*peersFlag, ","), c.name)
	}
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
