package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A temporary name is a file's name between a dot, which keeps it out of what
// people and other programs list, and a random number.
const (
	tempPrefix = "."
	tempSuffix = ".tmp"
)

func tempName(name string) string {
	return fmt.Sprintf("%s%s.%016x%s", tempPrefix, name, rand.Uint64(), tempSuffix)
}

// isTempName reports whether tempName makes such a name.
func isTempName(name string) bool {
	if len(name) != len(tempPrefix)+nameLen+1+txidDigits+len(tempSuffix) ||
		!strings.HasPrefix(name, tempPrefix) || !strings.HasSuffix(name, tempSuffix) {
		return false
	}
	name = name[len(tempPrefix) : len(name)-len(tempSuffix)]
	_, isLTX := parseName(name[:nameLen])
	_, isHex := parseHex(name[nameLen+1:])
	return isLTX && name[nameLen] == '.' && isHex
}

// sweeper removes what writers left behind that were killed, once for each
// directory.
type sweeper struct {
	mu    sync.Mutex
	swept map[string]bool
}

// sweep sweeps a directory unless that was done before. What can't be removed
// is told to log and stays.
func (s *sweeper) sweep(ctx context.Context, log *slog.Logger, dir *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.swept[dir.Name()] {
		return
	}
	if err := sweepDir(ctx, log, dir.Name()); ctx.Err() != nil {
		return // the next writer's turn
	} else if isMissing(err) {
		return // a DeleteAll has removed it
	} else if err != nil {
		log.Warn("can't look for leftovers of killed writers", "dir", dir.Name(), "error", err)
	}
	if s.swept == nil {
		s.swept = make(map[string]bool)
	}
	s.swept[dir.Name()] = true
}

// sweepDir removes the temporary files in a directory whose writers are dead.
func sweepDir(ctx context.Context, log *slog.Logger, path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	var temps []string
	err = eachName(ctx, dir, func(name string) {
		if isTempName(name) {
			temps = append(temps, name)
		}
	})
	if err != nil {
		return err
	}
	for _, name := range temps {
		switch removed, err := removeDead(dir, name); {
		case err != nil:
			log.Warn("can't remove what a killed writer left", "dir", path, "name", name, "error", err)
		case removed:
			log.Info("removed what a killed writer left", "dir", path, "name", name)
		}
	}
	return nil
}

// errLocked means that a file's lock is another's.
var errLocked = errors.New("locked by another")

// lock takes the lock of a temporary file, which tells sweepers that its writer
// lives, and goes with the descriptor. Where there are no locks there is no
// sweeping either, so that a writer needn't have one.
func lock(f *os.File) error {
	err := withFD(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// removeDead removes a temporary file unless its writer holds the lock on it.
func removeDead(dir *os.File, name string) (removed bool, err error) {
	// Some file systems give an exclusive lock only to who may write.
	f, err := openAt(dir, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EISDIR) {
		return false, nil // done by another, or not ours
	} else if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := stat(f)
	if err != nil || !st.isRegular() {
		return false, err
	}
	if err := lock(f); err == errLocked {
		return false, nil
	} else if err != nil {
		return false, err
	}
	// Its writer may have finished, and the name be another's, since it was
	// opened.
	if st, err := statAt(dir, name); err != nil || !isSame(f, st) {
		return false, nil
	}
	err = unlinkAt(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}
