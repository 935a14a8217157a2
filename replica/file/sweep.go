package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// A temporary name is a file's name between a dot, which keeps it out of what
// people and other programs list, and a random number.
const (
	tempPrefix = "."
	tempSuffix = ".tmp"
	tempDigits = 16
)

// tempPath is a temporary path for what will have another.
func tempPath(path string) string {
	dir, name := filepath.Split(path)
	return fmt.Sprintf("%s%s%s.%0*x%s", dir, tempPrefix, name, tempDigits, rand.Uint64(), tempSuffix)
}

// isTempName reports whether tempPath makes such a name.
func isTempName(temp string) bool {
	temp, hasPrefix := strings.CutPrefix(temp, tempPrefix)
	temp, hasSuffix := strings.CutSuffix(temp, tempSuffix)
	dot := strings.LastIndexByte(temp, '.')
	if !hasPrefix || !hasSuffix || dot < 0 || len(temp)-dot-1 != tempDigits {
		return false
	}
	_, isLTX := replica.ParseName(0, temp[:dot])
	return isLTX && strings.Trim(temp[dot+1:], "0123456789abcdef") == ""
}

// sweep removes what writers left in a directory that were killed, once. What can't
// be removed is told to the log and stays.
func (s *Store) sweep(ctx context.Context, dir string) {
	if _, swept := s.swept.LoadOrStore(dir, nil); swept {
		return
	}
	if err := sweepDir(ctx, s.log(), dir); ctx.Err() != nil || isMissing(err) {
		s.swept.Delete(dir) // the next writer's turn
	} else if err != nil {
		s.log().Warn("can't look for leftovers of killed writers", "dir", dir, "error", err)
	}
}

// sweepDir removes the temporary files in a directory whose writers are dead.
func sweepDir(ctx context.Context, log *slog.Logger, path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	var temps []string
	for e, err := range entries(ctx, dir) {
		if err != nil {
			return err
		}
		if bytes.HasPrefix(e.name, []byte(tempPrefix)) && isTempName(string(e.name)) {
			temps = append(temps, string(e.name))
		}
	}
	for _, name := range temps {
		switch removed, err := removeDead(filepath.Join(path, name)); {
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
func removeDead(path string) (removed bool, err error) {
	// Some file systems give an exclusive lock only to who may write.
	f, err := open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || isNoFile(err) || errors.Is(err, unix.EISDIR) {
		return false, nil // done by another, or not ours
	} else if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := fstat(f)
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
	if !isAt(f, path) {
		return false, nil
	}
	err = unlink(path)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}
