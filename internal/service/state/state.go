// Package state keeps one small file for each live mount, through which the
// commands of ltxfs find the process that serves it, wait for its end, and
// learn how it ended.
//
// The process holds a lock beside the file for as long as it lives, so that
// nobody mistakes a process ID that was given to another program for it.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Phases of a mount's life.
const (
	Starting = "starting"
	Mounted  = "mounted"
	Ending   = "ending" // publishing what is left, perhaps detached already
	Ended    = "ended"
)

// State is what a state file holds.
type State struct {
	PID        int       `json:"pid"`
	Phase      string    `json:"phase"`
	Mountpoint string    `json:"mountpoint"`
	Replica    string    `json:"replica"`    // as messages name it
	ReplicaID  string    `json:"replica_id"` // the same for all names of one replica
	StagingDir string    `json:"staging_dir,omitempty"`
	ReadWrite  bool      `json:"read_write"`
	LogFile    string    `json:"log_file,omitempty"`
	Version    string    `json:"version"`
	Started    time.Time `json:"started"`

	// Result is set in the phase Ended.
	Result *Result `json:"result,omitempty"`
}

// Result is how a mount ended.
type Result struct {
	Ended       time.Time     `json:"ended"`
	ExitCode    int           `json:"exit_code"`
	Error       string        `json:"error,omitempty"`
	Unpublished []Unpublished `json:"unpublished,omitempty"`
}

// Unpublished is a file that was written to a mount and is not in the replica.
type Unpublished struct {
	Name  string `json:"name"`            // in the mount
	Path  string `json:"path"`            // in the staging directory
	Size  int64  `json:"size"`            // in bytes
	Error string `json:"error,omitempty"` // why
}

// ErrLocked means that a living process serves the mountpoint, or is about to.
var ErrLocked = errors.New("another process serves this mountpoint")

// lockPatience is how long Acquire waits for one who only looks whether the
// lock is held.
const lockPatience = time.Second

// File is the state file of a mountpoint, held by the process that serves it.
type File struct {
	base  string
	lock  *os.File
	State State
}

// Acquire takes the lock of st.Mountpoint and writes its state file. It
// returns ErrLocked if a living process has it.
func Acquire(dir Dir, st State) (*File, error) {
	if err := dir.make(); err != nil {
		return nil, err
	}
	base := dir.base(st.Mountpoint)
	deadline := time.Now().Add(lockPatience)
	for {
		lock, err := takeLock(base)
		switch {
		case err != nil:
			return nil, err
		case lock == nil && time.Now().After(deadline):
			return nil, ErrLocked
		case lock == nil:
			time.Sleep(10 * time.Millisecond)
			continue
		}
		f := &File{base: base, lock: lock, State: st}
		if err := f.Save(); err != nil {
			f.Remove()
			return nil, err
		}
		dir.prune()
		return f, nil
	}
}

// Save writes the state, whole or not at all.
func (f *File) Save() error {
	data, err := json.MarshalIndent(f.State, "", "  ")
	if err == nil {
		err = os.WriteFile(f.base+".tmp", append(data, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(f.base+".tmp", f.base+".json")
	}
	if err != nil {
		return fmt.Errorf("write the state of the mount: %w", err)
	}
	return nil
}

// Release gives up the lock. The state file stays, for those who want to know
// how the mount ended.
func (f *File) Release() { f.lock.Close() }

// Remove removes the state file and gives up the lock: a mount of which nothing
// is left to tell.
func (f *File) Remove() { removeLocked(f.base, f.lock) }

func removeLocked(base string, lock *os.File) {
	os.Remove(base + ".json")
	os.Remove(socketPath(base))
	os.Remove(base + ".lock")
	lock.Close()
}

func openLock(base string, flags int) (*os.File, error) {
	f, err := os.OpenFile(base+".lock", flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the mount: %w", err)
	}
	return f, nil
}

// takeLock takes a lock, or returns nil if somebody has it.
func takeLock(base string) (*os.File, error) {
	f, err := openLock(base, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	taken, err := tryLock(f, unix.LOCK_EX)
	if taken {
		// Who held it before may have removed it.
		var ours, now os.FileInfo
		if ours, err = f.Stat(); err == nil {
			now, err = os.Lstat(f.Name())
		}
		if err == nil && os.SameFile(ours, now) {
			return f, nil
		}
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	return nil, errors.Join(err, f.Close())
}

// tryLock takes a lock, or returns false if somebody has it.
func tryLock(f *os.File, how int) (bool, error) {
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	}
	return false, fmt.Errorf("lock %s: %w", f.Name(), err)
}
