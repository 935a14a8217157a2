package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// keeping is a contestant that finds the large file in its cache on disk, from an earlier mount.
// whole finds the file that has it there, once the next mount will use that.
func keeping(name string, c *contestant, whole func(w *world) (string, error)) *contestant {
	k := *c
	k.name = name
	k.open = func(w *world, r replicaAt) (*session, error) {
		s, err := c.open(w, r)
		if err != nil {
			return nil, err
		}
		if s.kept, err = whole(w); err != nil {
			return nil, errors.Join(err, s.close())
		}
		return s, nil
	}
	k.fill = func(w *world) error {
		if _, err := whole(w); err == nil {
			return nil // another group has filled it
		}
		s, err := c.open(w, replicaAt{place: w.far, name: largeReplica})
		if err != nil {
			return err
		}
		_, err = w.do(s.target(job{Kind: "read", Block: 1 << 20, Readers: 1}, 9, largeName), s.daemon, nil)
		for began := time.Now(); err == nil; time.Sleep(10 * time.Millisecond) {
			if _, missing := whole(w); missing == nil {
				break
			} else if time.Since(began) > w.deadline() {
				err = missing
			}
		}
		return errors.Join(err, s.close())
	}
	return &k
}

// ltxfsKeeping is ltxfs with a disk cache.
func ltxfsKeeping(name string, env ...string) *contestant {
	return keeping(name, &contestant{kind: subject, open: func(w *world, r replicaAt) (*session, error) {
		return w.mountLtxfs(w.ltxfs, r, nil, append(env, "LTXFS_DISK_CACHE="+filepath.Join(w.dir, "disk-cache"))...)
	}}, diskCacheEntry)
}

// diskCacheEntry finds the one whole entry: its name is hexadecimal, where others have .part or .sums.
func diskCacheEntry(w *world) (string, error) { return w.filled("disk-cache/v1/*[0-9a-f]") }

var (
	passedThrough = ltxfsKeeping("ltxfs, passthrough")
	checked       = ltxfsKeeping("ltxfs, checked", "LTXFS_DISK_CACHE_CHECK=always")
	s3fsKeeping   = keeping("s3fs use_cache", peerOf("s3fs", func(w *world, r replicaAt) (*exec.Cmd, error) {
		cmd, err := s3fsCommand(w, r)
		cmd.Args = append(cmd.Args, "-o", "use_cache="+filepath.Join(w.dir, "s3fs-kept"))
		return cmd, err
	}), func(w *world) (string, error) {
		return w.filled("s3fs-kept/[^.]*/" + largeReplica + "/0009/" + largeName)
	})
	rcloneKeeping = keeping("rclone vfs-cache-mode", peerOf("rclone", func(w *world, r replicaAt) (*exec.Cmd, error) {
		cmd, err := rcloneCommand(w, r)
		cmd.Args = append(cmd.Args, "--cache-dir", filepath.Join(w.dir, "rclone-kept"), "--vfs-cache-mode", "full", "--vfs-cache-max-age", "24h")
		return cmd, err
	}), rcloneEntry)
)

// rcloneEntry finds rclone's copy once rclone has noted, some seconds later, which ranges are in it.
func rcloneEntry(w *world) (string, error) {
	const file = "/*/*/" + largeReplica + "/0009/" + largeName
	path, err := w.filled("rclone-kept/vfs" + file)
	if err != nil {
		return "", err
	}
	noted, err := w.only("rclone-kept/vfsMeta" + file)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(noted)
	if err != nil {
		return "", err
	}
	var note struct {
		Size int64
		Rs   []struct{ Size int64 }
	}
	if err := json.Unmarshal(data, &note); err != nil {
		return "", err
	}
	if len(note.Rs) != 1 || note.Rs[0].Size != note.Size {
		return "", fmt.Errorf("rclone has noted %v of %d bytes", note.Rs, note.Size)
	}
	return path, nil
}

// entry is the disk cache's file itself: another would lie elsewhere on the disk, of which not all is as fast.
var entry = &contestant{name: "file", kind: limit, open: func(w *world, _ replicaAt) (*session, error) {
	path, err := diskCacheEntry(w)
	return &session{kept: path, target: func(j job, _ int, _ string) job {
		j.Path = path
		return j
	}}, err
}}

// filled is the one file of a pattern, below the bench's directory, once no hole is in it.
func (w *world) filled(pattern string) (string, error) {
	path, err := w.only(pattern)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", err
	}
	if st.Blocks*512 < w.size() {
		return "", fmt.Errorf("of %s, %d bytes are there", path, st.Blocks*512)
	}
	return path, nil
}

func (w *world) only(pattern string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(w.dir, pattern))
	if err != nil {
		return "", err
	}
	if len(paths) != 1 {
		return "", fmt.Errorf("%d files are %s, not 1", len(paths), pattern)
	}
	return paths[0], nil
}

// keptGroup reads the large file, 20 ms away, on a mount that finds it in its disk cache.
func keptGroup(w *world, name, title string, readers ...*contestant) *group {
	return &group{
		name: name, title: "Reading a file of " + w.large() + " that an earlier mount has kept on disk, " + title, replica: largeReplica,
		places: []place{w.far}, contestants: func(*world, place) []*contestant { return append(slices.Clone(readers), entry) },
		prepare: func(w *world) error {
			if err := prepareLarge(w); err != nil {
				return err
			}
			for _, c := range readers {
				if !c.chosen() || c.absent() != nil {
					continue
				}
				if err := c.fill(w); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			return nil
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
