package file

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// Space returns the room in the file system of the replica's directory.
func (s *Store) Space(ctx context.Context) (replica.Space, error) {
	if err := ctx.Err(); err != nil {
		return replica.Space{}, fmt.Errorf("space of replica %s: %w", s.path, err)
	}
	var st unix.Statfs_t
	// A directory has a dot in it, and what has taken its place may not.
	if _, err := retry(func() (int, error) { return 0, unix.Statfs(s.path+"/.", &st) }); err != nil {
		return replica.Space{}, fmt.Errorf("space of replica %s: %w", s.path, s.whyMissing(err))
	}
	unit := blockUnit(&st)
	return replica.Space{
		Total:     int64(st.Blocks) * unit,
		Free:      int64(st.Bfree) * unit,
		Available: int64(st.Bavail) * unit,
		Files:     int64(st.Files),
		FilesFree: int64(st.Ffree),
	}, nil
}
