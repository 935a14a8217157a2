package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

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
	// fill has its cache on disk filled, if it has one that is measured.
	fill func(w *world) error
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

// key is the key of a file of a level, or what those of all its files begin with.
func (r replicaAt) key(level int, name string) string {
	return r.name + "/" + fmt.Sprintf(inBucket, level) + "/" + name
}

// session is a contestant at work.
type session struct {
	daemon  *daemon             // nil if there is no mount
	cred    *syscall.Credential // whom the children run as
	source  string              // the replica's directory, if the content is on disk
	kept    string              // the file that has it, if that is in a disk cache
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
		switch j.Kind {
		case "restore":
			j.Path = "file://" + root
		case "state":
			j.Path = filepath.Join(root, "db", "latest.db")
		default:
			j.Path = filepath.Join(root, fmt.Sprintf(levels, level), name)
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

func (w *world) mountLtxfs(path string, r replicaAt, cred *syscall.Credential, env ...string) (*session, error) {
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
		cmd.Env = append(w.server.Env(), env...)
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

// absent is why it can't run here, or nil.
func (c *contestant) absent() error {
	if c.program == nil {
		return nil
	}
	_, err := c.program()
	return err
}

// The contestants that mount.
var (
	ltxfs    = ltxfsOf("ltxfs", subject, func(w *world) string { return w.ltxfs })
	previous = ltxfsOf("baseline", baseline, func(*world) string { return *baselineFlag })
	geesefs  = peerOf("geesefs", geesefsCommand)
	s3fs     = peerOf("s3fs", s3fsCommand)
	rclone   = peerOf("rclone", rcloneCommand)

	// cached is ltxfs on disk where the kernel can't pass reads through: as a user
	// who isn't root.
	cached = &contestant{name: "ltxfs, cached", kind: subject, open: func(w *world, r replicaAt) (*session, error) {
		return w.mountLtxfs(w.ltxfs, r, w.user)
	}}
)

// mounting are the contestants that mount, in the order of the tables.
func mounting(p place) []*contestant {
	if p.endpoint == "" {
		return []*contestant{ltxfs, previous}
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
	case ltxfs, cached, offline, passedThrough, checked:
		return true
	case previous:
		return *baselineFlag != ""
	default:
		return *peersFlag == "" || slices.Contains(strings.Split(*peersFlag, ","), c.name)
	}
}
