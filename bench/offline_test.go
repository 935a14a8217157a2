package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// offlineGroups measure the commands that need no mount, on the database's replica.
func offlineGroups(w *world) (groups []*group) {
	group := func(name string, contestants []*contestant, rows ...row) {
		g := databaseGroup(w)
		g.name, g.title, g.rows = name, "ltxfs "+name+": "+g.title, rows
		g.contestants = func(*world, place) []*contestant { return contestants }
		groups = append(groups, g)
	}
	restore := func(name, dir string) row {
		return row{name: name, fresh: true, job: job{Kind: "restored", To: dir}, metrics: []*metric{seconds, resident}}
	}
	group("offline-restore", []*contestant{offline, straight}, restore("restore to memory", "/dev/shm"), restore("restore to a disk", os.TempDir()))
	group("offline-verify", []*contestant{offline, sdk, unpacking},
		row{name: "verify", fresh: true, level: 9, file: largeName, job: job{Kind: "verified"}, metrics: []*metric{speed, resident, requests}})
	return groups
}

var (
	// offline is ltxfs without a mount.
	offline = &contestant{name: "ltxfs", kind: subject, open: func(w *world, r replicaAt) (*session, error) {
		return &session{target: func(j job, _ int, _ string) job {
			j.Path, j.Env = s3test.URL(r.endpoint, w.bucket, r.name), w.server.Env()
			j.Command = []string{w.ltxfs}
			j.Source = filepath.Join(w.dir, r.name) // the same, to tell its size
			return j
		}}, nil
	}}

	// unpacking is what all cores can unpack of a file that is in memory.
	unpacking = &contestant{name: "unpacking", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		return &session{target: func(j job, level int, name string) job {
			j.Kind, j.Path = "unpack", filepath.Join(w.dir, r.name, fmt.Sprintf(onDisk, level), name)
			return j
		}}, nil
	}}
)

// restored has ltxfs or Litestream restore a replica to a file that goes again.
func (j job) restored() (o outcome, err error) {
	dir, err := os.MkdirTemp(j.To, "restored-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir)
	if len(j.Command) == 0 {
		program, err := find("litestream")
		if err != nil {
			return o, err
		}
		j.Command = []string{program}
	}
	j.Command = append(j.Command, "restore", "-o", filepath.Join(dir, "restored.db"))
	return j.command()
}

// verified has ltxfs verify a replica, of which the same files are on disk, or the SDK read an
// object.
func (j job) verified() (o outcome, err error) {
	if j.Object != nil {
		return j.Object.read()
	}
	j.Command = append(j.Command, "verify")
	if o, err = j.command(); err != nil {
		return o, err
	}
	files, err := filepath.Glob(filepath.Join(j.Source, "ltx/*/*.ltx"))
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return o, err
		}
		o.Bytes += st.Size()
	}
	return o, err
}

// unpack unpacks a file that is in memory, on all cores.
func (j job) unpack() (o outcome, err error) {
	data, err := os.ReadFile(j.Path)
	if err != nil {
		return o, err
	}
	h, err := ltxfile.ParseHeader(data)
	if err != nil {
		return o, err
	}
	off, n, err := ltxfile.IndexAt(data, int64(len(data)))
	if err != nil {
		return o, err
	}
	var frames []ltxfile.Frame
	err = ltxfile.ReadIndex(bytes.NewReader(data[off:off+n]), off, func(f ltxfile.Frame) error {
		frames = append(frames, f)
		return nil
	})
	if err != nil {
		return o, err
	}
	began := time.Now()
	var g errgroup.Group
	cores := runtime.NumCPU()
	for i := range cores {
		g.Go(func() error {
			page := make([]byte, h.PageSize)
			for _, f := range frames[i*len(frames)/cores : (i+1)*len(frames)/cores] {
				if err := ltxfile.UnpackPage(data[f.Offset:f.Offset+f.Size], f.Pgno, page); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	return outcome{Seconds: time.Since(began).Seconds(), Bytes: int64(len(data))}, err
}
