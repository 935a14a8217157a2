package staging

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockSuffix = ".lock"
	// openLock serialises Open, Close and Scan, so that nobody takes a directory
	// that another mount is about to lock for one that was left behind.
	openLock = "open" + lockSuffix
	// openTimeout bounds the wait for it. Its holder makes or looks at a few directories.
	openTimeout = 10 * time.Second
)

// Dir is the staging directory of one mount, locked by it. Its methods may be
// called from many goroutines.
type Dir struct {
	path      string
	lock      *os.File
	leftovers []Entry
}

// Entry is a file in a staging directory.
type Entry struct {
	Name    string    // in the mount, such as ltx/0000/upload.tmp
	Path    string    // of the staged bytes on local disk
	Size    int64     // in bytes
	ModTime time.Time // of the last write
	Err     error     // why it is not published, nil if nothing has tried
}

// DefaultPath is where staging directories are unless the user says
// otherwise: /var/lib/ltxfs/staging for root, else
// $XDG_STATE_HOME/ltxfs/staging or ~/.local/state/ltxfs/staging.
func DefaultPath() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/ltxfs/staging", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ltxfs", "staging"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a staging directory: %w: name one with --staging-dir", err)
	}
	return filepath.Join(home, ".local", "state", "ltxfs", "staging"), nil
}

// Open makes a directory for one mount of a replica under base, which it makes
// too (0700) if it is missing, and locks it. replica tells the replicas of one
// base apart: its canonical URL.
func Open(base, replica string) (*Dir, error) {
	base, parent, err := dirsOf(base, replica)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make the staging directory: %w: name another with --staging-dir", err)
	}
	if err := checkDirs(base, parent); err != nil {
		return nil, err
	}
	guard, err := lockWithin(filepath.Join(parent, openLock), os.O_RDWR|os.O_CREATE, openTimeout)
	if err != nil {
		return nil, fmt.Errorf("lock the staging directory: %w", err)
	}
	defer guard.Close()

	leftovers, err := leftIn(parent, true)
	if err != nil {
		return nil, fmt.Errorf("look for files left in the staging directory: %w", err)
	}
	name := fmt.Sprintf("%s-%d", time.Now().UTC().Format("20060102T150405.000000000"), os.Getpid())
	dir := filepath.Join(parent, name)
	lock, err := lockWithin(dir+lockSuffix, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("make the staging directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make the staging directory: %w", err), lock.Close(), os.Remove(lock.Name()))
	}
	return &Dir{path: dir, lock: lock, leftovers: leftovers}, nil
}

// dirsOf are the base directory and the replica's in it.
func dirsOf(base, replica string) (abs, parent string, err error) {
	abs, err = filepath.Abs(base)
	if err != nil {
		return "", "", fmt.Errorf("staging directory: %w", err)
	}
	return abs, filepath.Join(abs, replicaName(replica)), nil
}

// Path is the directory itself.
func (d *Dir) Path() string { return d.path }

// Leftovers are the files that earlier mounts of the same replica left here
// unpublished, as found by Open.
func (d *Dir) Leftovers() []Entry { return d.leftovers }

// FilePath is where the file with a name in the mount is staged.
func (d *Dir) FilePath(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// Create makes an empty file for a name in the mount, replacing what is staged
// under it.
func (d *Dir) Create(name string) (*os.File, error) {
	p := d.FilePath(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return nil, err
	}
	// A new inode, not a truncated one: a reader of the earlier may have it open.
	if err := d.Remove(name); err != nil {
		return nil, err
	}
	return os.OpenFile(p, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
}

// Rename gives a staged file another name in the mount, replacing what is
// staged under that.
func (d *Dir) Rename(oldName, newName string) error {
	p := d.FilePath(newName)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return err
	}
	return os.Rename(d.FilePath(oldName), p)
}

// Remove removes a staged file. It is no error if there is none.
func (d *Dir) Remove(name string) error {
	return removeIfThere(d.FilePath(name))
}

// Close removes the directory if it holds no file, and releases the lock.
func (d *Dir) Close() error {
	guard, err := lockWithin(filepath.Join(filepath.Dir(d.path), openLock), os.O_RDWR, openTimeout)
	switch {
	case errors.Is(err, os.ErrNotExist): // somebody removed it, and the directory perhaps
		err = removeMount(d.path)
	case err == nil:
		err = errors.Join(removeMount(d.path), guard.Close())
	default:
		err = fmt.Errorf("lock the staging directory: %w", err)
	}
	return errors.Join(err, d.lock.Close())
}

// replicaName is a directory name for a replica: readable, and one of its own.
func replicaName(replica string) string {
	sum := sha256.Sum256([]byte(replica))
	location, _, _ := strings.Cut(replica, "?") // an endpoint says less than the path
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, path.Base(strings.TrimRight(filepath.ToSlash(location), "/")))
	if len(readable) > 64 {
		readable = readable[:64]
	}
	return readable + "-" + hex.EncodeToString(sum[:6])
}

// checkDirs refuses a base directory in which others can swap our directory for
// another: one that isn't ours or root's, or that others can write to, unless it is
// sticky as /tmp is. It refuses a replica's directory into which others can put or
// swap files.
func checkDirs(base, parent string) error {
	var b, p unix.Stat_t
	if err := unix.Stat(base, &b); err != nil {
		return fmt.Errorf("check the staging directory %s: %w", base, err)
	}
	if err := unix.Lstat(parent, &p); err != nil {
		return fmt.Errorf("check the staging directory %s: %w", parent, err)
	}
	user := uint32(os.Geteuid())
	switch {
	case b.Uid != 0 && b.Uid != user:
		return fmt.Errorf("staging directory %s belongs to another user (uid %d): name one of your own with --staging-dir", base, b.Uid)
	case b.Mode&0o022 != 0 && b.Mode&unix.S_ISVTX == 0:
		return fmt.Errorf("staging directory %s can be written by others: chmod go-w it", base)
	case p.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("staging directory %s: not a directory", parent)
	case p.Uid != user:
		return fmt.Errorf("staging directory %s belongs to another user (uid %d): name one of your own with --staging-dir", parent, p.Uid)
	case p.Mode&0o022 != 0:
		return fmt.Errorf("staging directory %s can be written by others: chmod 700 it", parent)
	}
	return nil
}
