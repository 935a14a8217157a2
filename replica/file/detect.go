package file

import (
	"context"
	"path/filepath"

	"github.com/ltxfs/ltxfs/replica"
)

// detectLayout returns the layout of the files in a directory. Without files,
// directories that only one layout has tell it; without those, or with those
// of several, it is Litestream's.
func detectLayout(ctx context.Context, root string) (replica.Layout, error) {
	var withDirs []replica.Layout
	layout, err := replica.DetectLayout(func(l replica.Layout) (bool, error) {
		hasDir := false
		for _, dir := range l.LevelDirs() {
			exists, holds, err := holdsFiles(ctx, filepath.Join(root, filepath.FromSlash(dir)))
			if err != nil {
				return false, err
			}
			if holds {
				return true, nil
			}
			hasDir = hasDir || exists
		}
		if hasDir {
			withDirs = append(withDirs, l)
		}
		return false, nil
	}, replica.Layout{})
	switch {
	case err != nil:
		return replica.Layout{}, err
	case !layout.IsZero():
		return layout, nil
	case len(withDirs) == 1:
		return withDirs[0], nil
	}
	return replica.LitestreamFile, nil
}

// holdsFiles reports whether dir exists as a directory, and whether it holds a
// regular file with an LTX name.
func holdsFiles(ctx context.Context, dir string) (exists, holds bool, err error) {
	f, err := openDir(dir)
	if isMissing(err) {
		return false, false, nil
	} else if err != nil {
		return false, false, err
	}
	defer f.Close()
	for e, err := range entries(ctx, f) {
		if err != nil {
			return true, false, err
		}
		if _, isLTX := replica.ParseName(0, e.name); isLTX {
			if holds, err = e.isRegular(f); holds || err != nil {
				return true, holds, err
			}
		}
	}
	return true, false, nil
}
