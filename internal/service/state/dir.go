package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

// Dir is a directory of state files, all of one user.
type Dir struct {
	path string
	uid  uint32
}

// keepFor is how long the state and the log of a mount that has ended stay.
const keepFor = 7 * 24 * time.Hour

// PathEnv names another directory for the state files.
const PathEnv = "LTXFS_STATE_DIR"

// Default is the directory of the user who runs this process: $LTXFS_STATE_DIR
// if that is set, else /run/ltxfs for root and $XDG_RUNTIME_DIR/ltxfs for
// others, and /tmp/ltxfs-UID where these can't be had.
func Default() Dir {
	uid := uint32(os.Geteuid())
	if path := os.Getenv(PathEnv); path != "" {
		return Dir{path, uid}
	}
	parent := "/run"
	if uid != 0 {
		parent = os.Getenv("XDG_RUNTIME_DIR")
	}
	if filepath.IsAbs(parent) && unix.Access(parent, unix.W_OK) == nil {
		return Dir{filepath.Join(parent, "ltxfs"), uid}
	}
	return Dir{tmpPath(uid), uid}
}

// Of are the directories in which the state of a user's mounts may be, whatever
// the environment of the process that mounted.
func Of(uid uint32) []Dir {
	dirs := []Dir{{filepath.Join("/run/user", strconv.Itoa(int(uid)), "ltxfs"), uid}, {tmpPath(uid), uid}}
	if uid == 0 {
		dirs[0].path = "/run/ltxfs"
	}
	if own := Default(); own.uid == uid && !slices.Contains(dirs, own) {
		dirs = append([]Dir{own}, dirs...)
	}
	return dirs
}

func tmpPath(uid uint32) string {
	return filepath.Join(os.TempDir(), "ltxfs-"+strconv.Itoa(int(uid)))
}

// make makes the directory, or makes sure that it belongs to the user and that
// nobody else can write to it.
func (d Dir) make() error {
	err := d.check()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(d.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory for the state of mounts: %w", err)
	}
	return d.check()
}

// check returns an error unless the directory is one that only its user can
// have filled. One in /tmp could be anybody's.
func (d Dir) check() error {
	if !filepath.IsAbs(d.path) { // a daemon works in another directory
		return exitcode.Errorf(exitcode.Usage, "%s=%s: give an absolute path", PathEnv, d.path)
	}
	var st unix.Stat_t
	if err := unix.Lstat(d.path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: d.path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("the state of mounts: %s is not a directory: remove it", d.path)
	case st.Uid != d.uid:
		return fmt.Errorf("the state of mounts: %s belongs to user %d, not to user %d: remove it, or set XDG_RUNTIME_DIR",
			d.path, st.Uid, d.uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("the state of mounts: other users can write to %s: chmod 0700 it", d.path)
	}
	return nil
}

var unreadable = regexp.MustCompile("[^a-zA-Z0-9._]")

// base is the path of a mountpoint's files without their extensions. It
// differs for any two mountpoints and can be told apart by eye.
func (d Dir) base(mountpoint string) string {
	readable := unreadable.ReplaceAllString(strings.Trim(mountpoint, "/"), "-")
	if len(readable) > 80 {
		readable = readable[len(readable)-80:]
	}
	sum := sha256.Sum256([]byte(mountpoint))
	return filepath.Join(d.path, readable+"-"+hex.EncodeToString(sum[:6]))
}

// prune removes the state files and logs of mounts that ended a while ago, and
// what an interrupted Save left.
func (d Dir) prune() {
	entries, _ := os.ReadDir(d.path)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < keepFor {
			continue
		}
		path := filepath.Join(d.path, entry.Name())
		if base, ok := strings.CutSuffix(path, ".json"); ok {
			if lock, err := takeLock(base); err == nil && lock != nil {
				removeLocked(base, lock)
			}
		} else if base, ok := strings.CutSuffix(strings.TrimSuffix(path, ".1"), ".log"); ok {
			if _, err := os.Lstat(base + ".json"); err != nil {
				os.Remove(path)
			}
		} else if strings.HasSuffix(path, ".tmp") {
			os.Remove(path)
		}
	}
}

// LogPath is where the log of a mountpoint's daemon goes unless the user says
// otherwise.
func (d Dir) LogPath(mountpoint string) string { return d.base(mountpoint) + ".log" }
