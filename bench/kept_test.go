package bench

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// keptBy is ltxfs with a disk cache that has the file whole, from an earlier mount.
func keptBy(name string, env ...string) *contestant {
	return &contestant{name: name, kind: subject, open: func(w *world, r replicaAt) (*session, error) {
		s, err := w.mountLtxfs(w.ltxfs, r, nil, append(env, w.keeping())...)
		if err != nil {
			return nil, err
		}
		if s.kept, err = w.whole(); err != nil {
			return nil, errors.Join(err, s.close())
		}
		return s, nil
	}}
}

var (
	passedThrough = keptBy("ltxfs, passthrough")
	checked       = keptBy("ltxfs, checked", "LTXFS_DISK_CACHE_CHECK=always")
)

// entry is the disk cache's file itself: another would lie elsewhere on the disk, of which not all is as fast.
var entry = &contestant{name: "file", kind: limit, open: func(w *world, _ replicaAt) (*session, error) {
	path, err := w.whole()
	return &session{kept: path, target: func(j job, _ int, _ string) job {
		j.Path = path
		return j
	}}, err
}}

func (w *world) keeping() string { return "LTXFS_DISK_CACHE=" + w.diskCache() }

func (w *world) diskCache() string { return filepath.Join(w.dir, "disk-cache") }

// whole is the one entry of the disk cache that is whole.
func (w *world) whole() (string, error) {
	paths, err := filepath.Glob(filepath.Join(w.diskCache(), "v1", "*"))
	paths = slices.DeleteFunc(paths, func(path string) bool { return filepath.Ext(path) != "" })
	if err == nil && len(paths) != 1 {
		err = fmt.Errorf("the disk cache has %d whole entries, not 1", len(paths))
	}
	if err != nil {
		return "", err
	}
	return paths[0], nil
}

// fillDiskCache has a mount read the large file, and waits until that is kept.
func (w *world) fillDiskCache() error {
	s, err := w.mountLtxfs(w.ltxfs, replicaAt{place: w.far, name: largeReplica}, nil, w.keeping())
	if err != nil {
		return err
	}
	_, err = w.do(s.target(job{Kind: "read", Block: 1 << 20, Readers: 1}, 9, largeName), s.daemon, nil)
	for began := time.Now(); err == nil; time.Sleep(10 * time.Millisecond) {
		if _, missing := w.whole(); missing == nil {
			break
		} else if time.Since(began) > w.deadline() {
			err = missing
		}
	}
	return errors.Join(err, s.close())
}

// keptGroup reads the large file, 20 ms away, on a mount that finds it in its disk cache.
func keptGroup(w *world, name, title string, c *contestant) *group {
	return &group{
		name: name, title: "Reading a file of " + w.large() + " that an earlier mount has kept on disk, " + title, replica: largeReplica,
		places: []place{w.far}, contestants: func(*world, place) []*contestant { return []*contestant{c, entry} },
		prepare: func(w *world) error {
			if err := prepareLarge(w); err != nil {
				return err
			}
			if _, err := w.whole(); err == nil {
				return nil // another group has filled it
			}
			return w.fillDiskCache()
		},
		rows: []row{
			readBy("one reader, cold", true, 1),
			readBy("four readers, cold", true, 4),
		},
	}
}

// first is ltxfs without one, where that isn't what is measured.
var first = ltxfsOf("first mount", limit, func(w *world) string { return w.ltxfs })

// seen is ltxfs with a disk cache that has what an earlier mount has read of the database.
var seen = &contestant{name: "ltxfs, second mount", kind: subject, open: func(w *world, r replicaAt) (*session, error) {
	return w.mountLtxfs(w.ltxfs, r, nil, "LTXFS_DISK_CACHE="+w.databaseCache())
}}

func (w *world) databaseCache() string { return filepath.Join(w.dir, "database-cache") }

// keptDatabaseGroup looks a row of the database up, 20 ms away, right after mounting.
func keptDatabaseGroup(w *world) *group {
	g := databaseGroup(w)
	lookup := g.rows[0]
	lookup.name, lookup.start, lookup.metrics = "an indexed lookup, mounted", false, []*metric{seconds, requests}
	fill := g.prepare
	return &group{
		name: "database-kept", title: "The same database, of which an earlier mount has kept what it read", replica: databaseReplica, places: []place{w.far},
		contestants: func(*world, place) []*contestant { return []*contestant{seen, first, localDatabase} },
		prepare: func(w *world) error {
			if err := fill(w); err != nil {
				return err
			}
			s, err := seen.open(w, replicaAt{place: w.far, name: databaseReplica})
			if err != nil {
				return err
			}
			_, err = w.do(s.target(lookup.job, 0, ""), s.daemon, nil)
			return errors.Join(err, s.close())
		},
		rows: []row{lookup},
	}
}
