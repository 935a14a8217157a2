package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxFile is more than a state file can hold.
const maxFile = 64 << 20

// Watch looks at the state file of a mountpoint from outside.
type Watch struct {
	State State // as Find found it

	dir  Dir
	base string
	lock *os.File
}

// Find looks for the state file of a mountpoint in several directories. It
// returns fs.ErrNotExist if none has one.
func Find(dirs []Dir, mountpoint string) (*Watch, error) {
	for _, dir := range dirs {
		w, err := dir.find(mountpoint)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		return w, err
	}
	return nil, fmt.Errorf("state of the mount at %s: %w", mountpoint, fs.ErrNotExist)
}

func (d Dir) find(mountpoint string) (*Watch, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	w := &Watch{dir: d, base: d.base(mountpoint)}
	var err error
	if w.State, err = w.Load(); err != nil {
		return nil, err
	}
	if w.lock, err = openLock(w.base, os.O_RDONLY); err != nil {
		return nil, err
	}
	return w, nil
}

// UID is the user whose directory has the state file.
func (w *Watch) UID() uint32 { return w.dir.uid }

// Close ends the watch.
func (w *Watch) Close() { w.lock.Close() }

// Load reads the state as it is now.
func (w *Watch) Load() (State, error) {
	f, err := os.OpenFile(w.base+".json", os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return State{}, fmt.Errorf("read the state of the mount: %w", err)
	}
	defer f.Close()
	var st State
	if err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&st); err != nil {
		return State{}, fmt.Errorf("read the state of the mount: %s: %w", f.Name(), err)
	}
	return st, nil
}

// Alive reports whether the process that serves the mount lives. Without a Watch,
// nil, none does.
func (w *Watch) Alive() bool {
	if w == nil {
		return false
	}
	free, err := tryLock(w.lock, unix.LOCK_SH)
	if free {
		err = unix.Flock(int(w.lock.Fd()), unix.LOCK_UN)
	}
	return !free && err == nil
}

// Wait waits until the process that serves the mount has ended.
func (w *Watch) Wait(ctx context.Context) error {
	for w.Alive() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Signal sends a signal to the process that serves the mount. It refuses to
// if the process isn't one of the user whose directory this is, since a state
// file can say anything. One that has ended meanwhile is os.ErrProcessDone.
func (w *Watch) Signal(sig unix.Signal) error {
	st, err := w.Load()
	if !w.Alive() || err == nil && st.PID <= 1 {
		return os.ErrProcessDone
	}
	if err != nil {
		return err
	}
	var info unix.Stat_t
	if err = unix.Stat(fmt.Sprintf("/proc/%d", st.PID), &info); err == nil && info.Uid != w.dir.uid {
		return fmt.Errorf("signal process %d: it belongs to user %d, not to user %d", st.PID, info.Uid, w.dir.uid)
	}
	if err == nil {
		err = unix.Kill(st.PID, sig)
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return os.ErrProcessDone
	case err != nil:
		return fmt.Errorf("signal process %d: %w", st.PID, err)
	}
	return nil
}
