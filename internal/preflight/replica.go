package preflight

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/litestreamyml"
	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	// maxLook is how many entries of a directory are looked at for hints.
	maxLook = 4096

	// maxNamed is how many replicas a hint names.
	maxNamed = 3
)

// Replica makes sure that path, absolute and without links, can be the root of
// a replica on disk, and be written to if write is set. It says what was probably
// meant where it can't.
func (c *Checker) Replica(path string, write bool) error {
	if err := c.NoMount(path); err != nil {
		return err
	}
	info, err := stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exitcode.Errorf(exitcode.NoReplica,
			"open replica %s: no such directory: check the path, or make the directory if a new replica shall be written there", path)
	case errors.Is(err, fs.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "open replica %s: you may not look at it: run ltxfs as a user who may", path)
	case errors.Is(err, mounts.ErrHung):
		return exitcode.Errorf(exitcode.Timeout, "open replica %s: its file system gives %w: check that file system", path, err)
	case err != nil:
		return exitcode.Errorf(exitcode.NoReplica, "open replica %s: %w: check the path", path, cause(err))
	case !info.IsDir():
		return notADirectory(path)
	}
	_, err = mounts.Within(mounts.Patience, func() (struct{}, error) {
		err := c.lookInto(path)
		if err == nil && write {
			err = canWrite(path)
		}
		return struct{}{}, err
	})
	if errors.Is(err, mounts.ErrHung) {
		return exitcode.Errorf(exitcode.Timeout, "open replica %s: its file system gives %w: check that file system", path, err)
	}
	return err
}

// NoMount makes sure that the root of a replica isn't in a mount of ltxfs. It looks at the
// table of mounts alone.
func (c *Checker) NoMount(path string) error {
	table, err := c.mounts()
	if err != nil {
		return err
	}
	if m := table.Containing(path); mounts.IsLTXFS(m) {
		return exitcode.Errorf(exitcode.NoReplica, "open replica %s: this is the mount of an ltxfs, not a replica: give what is mounted there, %s",
			path, m.Source)
	}
	return nil
}

func canWrite(path string) error {
	if err := unix.Access(path, unix.W_OK); err != nil {
		return exitcode.Errorf(exitcode.Permission,
			"open replica %s for writing: %w: mount without --rw, or as a user who may write there", path, err)
	}
	return nil
}

// notADirectory is the error for a replica that is a file.
func notADirectory(path string) error {
	if _, _, err := ltx.ParseFilename(filepath.Base(path)); err == nil {
		return exitcode.Errorf(exitcode.NoReplica,
			"open replica %s: this is one LTX file: give the replica's directory, the one that holds the directory ltx", path)
	}
	if litestreamyml.IsSQLite(path) {
		return exitcode.Errorf(exitcode.NoReplica,
			"open replica %s: this is an SQLite database: give the replica's directory, not the database", path)
	}
	return exitcode.Errorf(exitcode.NoReplica, "open replica %s: not a directory: give the replica's directory", path)
}

// lookInto looks for what tells that a directory isn't the root of a replica.
func (c *Checker) lookInto(path string) error {
	if _, err := isEmpty(path); errors.Is(err, fs.ErrPermission) {
		return exitcode.Errorf(exitcode.Permission, "open replica %s: you may not read it: run ltxfs as a user who may", path)
	}
	if isReplica(path) {
		if strings.HasPrefix(filepath.Base(path), ".") && strings.HasSuffix(path, "-litestream") {
			c.logger.Warn("this is Litestream's own working directory, not a replica: write nothing to it", "replica", path)
		}
		return nil
	}
	if is03(path) {
		return exitcode.Errorf(exitcode.NoReplica, "open replica %s: %w", path, replica.ErrLitestream03)
	}
	if root, ok := rootAbove(path); ok {
		return exitcode.Errorf(exitcode.NoReplica, "open replica %s: this is a directory in a replica: did you mean %s", path, root)
	}
	if found := replicasBelow(path); len(found) > 0 {
		c.logger.Warn("no LTX files here, but replicas below: did you mean one of them?",
			"replica", path, "below", strings.Join(found, ", "))
	} else {
		c.logger.Info("the replica has no LTX files yet", "replica", path)
	}
	return nil
}

// levelDirs are the directories that hold a replica's levels, in any layout.
func levelDirs() []string {
	var dirs []string
	for _, layout := range replica.Layouts {
		dirs = append(dirs, layout.LevelDirs()...)
	}
	return dirs
}

// isReplica reports whether a directory holds LTX files in any layout.
func isReplica(root string) bool {
	return slices.ContainsFunc(levelDirs(), func(dir string) bool { return holdsLTX(filepath.Join(root, dir)) })
}

// is03 reports whether a directory is a replica of Litestream 0.3, or in one.
func is03(path string) bool {
	root, _ := replica.Root03(path)
	return holds(filepath.Join(root, replica.Generations03), replica.IsGeneration03)
}

// rootAbove returns the replica that path is a directory of.
func rootAbove(path string) (string, bool) {
	parent := filepath.Dir(path)
	for _, root := range []string{parent, filepath.Dir(parent)} {
		rel, err := filepath.Rel(root, path)
		isPart := func(dir string) bool { return dir == rel || strings.HasPrefix(dir, rel+"/") }
		if err == nil && slices.ContainsFunc(levelDirs(), isPart) && isReplica(root) {
			return root, true
		}
	}
	return "", false
}

// replicasBelow returns some replicas in the directories of a directory, and
// in theirs.
func replicasBelow(path string) []string {
	var found []string
	budget := maxLook
	var look func(dir string, depth int)
	look = func(dir string, depth int) {
		f, err := os.Open(dir)
		if err != nil {
			return
		}
		entries, _ := f.ReadDir(budget)
		f.Close()
		budget -= len(entries)
		for _, entry := range entries {
			if len(found) >= maxNamed || budget <= 0 {
				return
			}
			sub := filepath.Join(dir, entry.Name())
			switch {
			case !entry.IsDir():
			case isReplica(sub):
				found = append(found, sub)
			case depth > 1:
				look(sub, depth-1)
			}
		}
	}
	look(path, 2)
	return found
}

// holdsLTX reports whether there is an LTX file among the first entries of a
// directory.
func holdsLTX(dir string) bool {
	return holds(dir, func(name string) bool {
		_, _, err := ltx.ParseFilename(name)
		return err == nil
	})
}

// holds reports whether a name fits among the first entries of a directory.
func holds(dir string, fits func(name string) bool) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxLook)
	return slices.ContainsFunc(names, fits)
}
