package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxFile is more than a state file can hold.
const maxFile = 64 << 20

// keepFor is how long the state and the log of a mount that has ended stay.
const keepFor = 7 * 24 * time.Hour

// Watch looks at the state file of a mountpoint from outside.
type Watch struct {
	dir  Dir
	base string
	lock *os.File
}

// Find looks for the state file of a mountpoint in several directories. It
// returns fs.ErrNotExist if none has one.
func Find(dirs []Dir, mountpoint string) (*Watch, error) {
	for _, dir := range dirs {
		err := dir.check()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		base := dir.base(mountpoint)
		if _, err := os.Lstat(base + ".json"); err != nil {
			continue
		}
		lock, err := openLock(base, os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &Watch{dir: dir, base: base, lock: lock}, nil
	}
	return nil, fmt.Errorf("state of the mount at %s: %w", mountpoint, fs.ErrNotExist)
}

// Close ends the watch.
func (w *Watch) Close() { w.lock.Close() }

// Load reads the state as it is now.
func (w *Watch) Load() (State, error) {
	f, err := os.OpenFile(w.base+".json", os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return State{}, fmt.Errorf("read the state of the mount: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return State{}, fmt.Errorf("read the state of the mount: %w", err)
	}
	var st State
	if err := json.Unmarshal(data, &st); err != nil {
		return State{}, fmt.Errorf("read the state of the mount: %s: %w", f.Name(), err)
	}
	return st, nil
}

// Alive reports whether the process that serves the mount lives.
func (w *Watch) Alive() (bool, error) {
	free, err := tryLock(w.lock, unix.LOCK_SH)
	if free {
		err = unix.Flock(int(w.lock.Fd()), unix.LOCK_UN)
	}
	return !free, err
}

// Wait waits until the process that serves the mount has ended.
func (w *Watch) Wait(ctx context.Context) error {
	for {
		alive, err := w.Alive()
		if err != nil || !alive {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Signal sends a signal to the process that serves the mount. It refuses to
// if the process isn't one of the user whose directory this is, since a state
// file can say anything.
func (w *Watch) Signal(sig unix.Signal) error {
	st, err := w.Load()
	if err != nil {
		return err
	}
	alive, err := w.Alive()
	if err != nil {
		return err
	}
	if !alive || st.PID <= 1 {
		return os.ErrProcessDone
	}
	var info unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", st.PID), &info); err != nil {
		return fmt.Errorf("signal process %d: %w", st.PID, err)
	}
	if info.Uid != w.dir.uid {
		return fmt.Errorf("signal process %d: it belongs to user %d, not to user %d", st.PID, info.Uid, w.dir.uid)
	}
	if err := unix.Kill(st.PID, sig); err != nil {
		return fmt.Errorf("signal process %d: %w", st.PID, err)
	}
	return nil
}

// prune removes the state files and logs of mounts that ended a while ago, and
// what an interrupted Save left.
func (d Dir) prune() {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < keepFor {
			continue
		}
		path := filepath.Join(d.path, entry.Name())
		extension := extensionOf(path)
		base := strings.TrimSuffix(path, extension)
		switch extension {
		case ".tmp":
			os.Remove(path)
		case ".json":
			if lock, err := takeLock(base, os.O_CREATE); err == nil && lock != nil {
				removeLocked(base, lock)
			}
		case ".log", ".log.1":
			if _, err := os.Lstat(base + ".json"); err != nil {
				os.Remove(path)
			}
		}
	}
}

// extensionOf is the extension of a file of this package, or "".
func extensionOf(path string) string {
	for _, extension := range []string{".tmp", ".json", ".log", ".log.1"} {
		if strings.HasSuffix(path, extension) {
			return extension
		}
	}
	return ""
}
