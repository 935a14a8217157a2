package audit

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/replica"
)

// AllLevels are the levels that a replica can have.
func AllLevels() (levels []int) {
	for level := range replica.MaxLevel + 1 {
		levels = append(levels, level)
	}
	return levels
}

// filesAtOnce is how many files are looked into at the same time.
const filesAtOnce = 32

// File is a file of a replica and what it tells of itself, or why it can't.
type File struct {
	replica.File
	Contents
	Err error
}

// Time is when the last of its transactions was, or, of a snapshot, when it was taken, in
// UTC; without that, the store's time.
func (f *File) Time() time.Time {
	if at := f.Contents.Time(); f.Err == nil && !at.IsZero() {
		return at
	}
	return f.ModTime.UTC()
}

// Files looks into all files of some levels.
func Files(ctx context.Context, r *offline.Replica, t *database.Timeline, levels []int) ([]File, error) {
	var files []File
	for f := range t.Files() {
		if slices.Contains(levels, f.Level) {
			files = append(files, File{File: f})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for i := range files {
		f := &files[i]
		g.Go(func() error {
			f.Contents, f.Err = Read(ctx, r, f.File)
			if f.Err != nil && !ltxfile.IsInvalid(f.Err) {
				return f.Err
			}
			return nil
		})
	}
	return files, g.Wait()
}
