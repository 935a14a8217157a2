package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// writeGroup writes the large file, and small ones one after the other.
func writeGroup(w *world, name string, small int, places ...place) *group {
	smallDir := filepath.Join(w.dir, "small-"+name)
	return &group{
		name: name, title: fmt.Sprintf("Writing a file of %s, and %d of 4 KiB, to the end of fsync and close", w.large(), small), replica: name, write: true,
		places:      places,
		contestants: with([]*contestant{copied}, []*contestant{copied}, []*contestant{plain}),
		prepare: func(w *world) error {
			for i := range small {
				data := storetest.LTX(w.b, 1, 1, storetest.Noise(), storetest.Commit(1))
				if i > 0 {
					data = storetest.LTX(w.b, ltx.TXID(i+1), ltx.TXID(i+1), storetest.Noise(), storetest.Pages(1))
				}
				ltxfstest.Store(w.b, filepath.Join(smallDir, smallName(i+1)), data, storetest.DefaultTime)
			}
			return prepareLarge(w)
		},
		rows: []row{
			{
				name: "large file", fresh: true, level: 9, file: largeName,
				job:     job{Kind: "write", Source: filepath.Join(w.dir, largeReplica, fmt.Sprintf(onDisk, 9), largeName)},
				metrics: []*metric{seconds},
			},
			{
				name: "small files", fresh: true, level: 0,
				job:     job{Kind: "write", Source: smallDir},
				metrics: []*metric{seconds},
			},
		},
	}
}

// write copies a file, or all files of a directory one after the other.
func (j job) write() (o outcome, err error) {
	info, err := os.Stat(j.Source)
	if err != nil {
		return o, err
	}
	dir, names := filepath.Dir(j.Source), []string{filepath.Base(j.Source)}
	to := filepath.Dir(j.Path)
	if info.IsDir() {
		dir, to, names = j.Source, j.Path, nil
		entries, err := os.ReadDir(dir)
		if err != nil {
			return o, err
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return o, err
	}
	began := time.Now()
	for _, name := range names {
		if err := copyFile(filepath.Join(to, name), filepath.Join(dir, name)); err != nil {
			return o, err
		}
	}
	return outcome{Seconds: time.Since(began).Seconds()}, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	return errors.Join(err, out.Sync(), out.Close())
}

// stored compares what a replica has in a level with what was written to it.
func (w *world) stored(r replicaAt, level int, source string) error {
	want, err := bytesBelow(source)
	if err != nil {
		return err
	}
	var got int64
	if r.endpoint == "" {
		got, err = bytesBelow(filepath.Join(w.dir, r.name, fmt.Sprintf(onDisk, level)))
	} else {
		for _, o := range w.server.Objects(w.b, w.bucket, r.key(level, "")) {
			got += o.Size
		}
	}
	if err == nil && got != want {
		err = fmt.Errorf("%d bytes were written, and the replica has %d", want, got)
	}
	return err
}

// bytesBelow is the size of a file, or of all files of a directory.
func bytesBelow(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// discard removes a replica that was written.
func (w *world) discard(r replicaAt) error {
	if r.endpoint == "" {
		return os.RemoveAll(filepath.Join(w.dir, r.name))
	}
	w.server.Delete(w.b, w.bucket, w.server.Keys(w.b, w.bucket, r.name+"/")...)
	return nil
}

func restoreGroup(w *world) *group {
	return &group{
		name: "restore", title: "litestream restore of " + w.large(), replica: largeReplica,
		places: allPlaces(w), prepare: prepareLarge,
		contestants: func(*world, place) []*contestant { return []*contestant{ltxfs, previous, straight} },
		rows: []row{{
			name: "restore, cold", fresh: true, evict: true, level: 9, file: largeName,
			job: job{Kind: "restore"}, metrics: []*metric{seconds},
		}},
	}
}

// restore has Litestream restore the replica to a file that goes again.
func (j job) restore() (outcome, error) {
	dir, err := os.MkdirTemp("", "restore-")
	if err != nil {
		return outcome{}, err
	}
	defer os.RemoveAll(dir)
	program, err := find("litestream")
	if err != nil {
		return outcome{}, err
	}
	j.Command = []string{program, "restore", "-o", filepath.Join(dir, "restored.db")}
	return j.command()
}
