package file

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/ltxfs/ltxfs/replica"
)

// DeleteLTXFiles deletes files and then brings each directory that it has
// changed to stable storage, once. If that fails, the files are gone from the
// listing but may be back after a crash.
//
// Once ctx is done it deletes no more, and its error says how many are left.
func (s *Store) DeleteLTXFiles(ctx context.Context, names ...replica.Name) error {
	var errs []error
	changed := make(map[string]bool) // by directory
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("delete files: %d of %d are left: %w", len(names)-i, len(names), err))
			break
		}
		path, err := s.remove(ctx, name)
		if path != "" {
			changed[filepath.Dir(path)] = true
			s.log().Debug("deleted LTX file", "ltx_level", name.Level, "name", name.Base())
		}
		errs = append(errs, replica.NewFileError("delete", name, err))
	}
	for _, dir := range slices.Sorted(maps.Keys(changed)) {
		err := s.syncDir(dir)
		if isMissing(err) {
			err = s.checkAvailable() // or another has removed more than was asked for
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("deleted files may be back after a crash: %w", err))
		}
	}
	return errors.Join(errs...)
}

// remove removes a regular file, and returns its path if there was one. What isn't
// one is a stranger's, and counts as no file.
func (s *Store) remove(ctx context.Context, name replica.Name) (path string, err error) {
	path, err = s.filePath(ctx, name)
	if err != nil {
		return "", err
	}
	st, err := lstat(path)
	if err == nil && st.isRegular() {
		err = unlink(path)
		if err == nil {
			return path, nil
		}
	}
	if err == nil || isMissing(err) {
		// It counts as deleted only in a replica that is there.
		err = s.checkAvailable()
	}
	return "", err
}
