// Package restore writes a state of a database to a file: by parallel reads, under
// another name until it is whole and on disk, and going on where it was broken off.
package restore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
)

const (
	// chunkSize is how much is read and written at once, in bytes, and atOnce how many of
	// these at the same time. Chunks are what is noted as done.
	chunkSize = 4 << 20
	atOnce    = 3
)

// Options say where a state goes.
type Options struct {
	Path  string // of the file
	Force bool   // replace the file if it is there

	// Replica is the identity of the replica: what was left by the restore of another one
	// isn't gone on with.
	Replica string

	// Progress, if not nil, is called when so many bytes more are there: had if they were
	// from an earlier call.
	Progress func(n int64, had bool)
}

// Run writes a state to a file. The file has its name once all of it is on disk. Until
// then it is PATH.ltxfs-part, which stays if ctx ends, and which the next call for the same
// state goes on with.
func Run(ctx context.Context, s *database.State, opts Options) error {
	if opts.Progress == nil {
		opts.Progress = func(int64, bool) {}
	}
	if err := opts.check(); err != nil {
		return err
	}
	r, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := openPart(opts.Path, identity(opts.Replica, s, r), s.Size())
	if err != nil {
		return err
	}
	defer p.close()
	if err := fill(ctx, r, p, s.Size(), opts.Progress); err != nil {
		return fmt.Errorf("%w; what is done stays in %s, and the same command goes on with it", err, p.path)
	}
	return p.publish(opts.Path, opts.Force)
}

// identity tells a state from others, as far as its files do.
func identity(replica string, s *database.State, r *database.Reader) string {
	return fmt.Sprintf("%s %s %x", replica, s.TXID, r.Identity())
}

// check refuses what would be lost, or would be taken for a part of the database.
func (o *Options) check() error {
	st, err := os.Lstat(o.Path)
	switch {
	case strings.HasSuffix(o.Path, "/") || err == nil && st.IsDir():
		return exitcode.Errorf(exitcode.Usage, "restore to %s: it is a directory: name a file", o.Path)
	case err == nil && !st.Mode().IsRegular():
		return exitcode.Errorf(exitcode.Usage, "restore to %s: it is no regular file: choose another name", o.Path)
	case err == nil && !o.Force:
		return exitcode.Errorf(exitcode.Usage, "restore to %s: it is there already: choose another name, or replace it with --force", o.Path)
	}
	for _, suffix := range []string{"-wal", "-journal", "-shm"} {
		if _, err := os.Lstat(o.Path + suffix); err == nil {
			return exitcode.Errorf(exitcode.Usage, "restore to %s: %s%s is there, and SQLite would take it for a part of the database: move it away",
				o.Path, filepath.Base(o.Path), suffix)
		}
	}
	return nil
}

// fill writes what isn't there yet.
func fill(ctx context.Context, r *database.Reader, p *part, size int64, progress func(int64, bool)) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range atOnce {
		g.Go(func() error {
			buf := make([]byte, chunkSize)
			for {
				i := next.Add(1) - 1
				off := i * chunkSize
				if off >= size {
					return nil
				}
				chunk := buf[:min(chunkSize, size-off)]
				if p.has(i, chunk) {
					progress(int64(len(chunk)), true)
					continue
				}
				if _, err := r.ReadAt(ctx, chunk, off); err != nil {
					return err
				}
				if err := p.write(i, chunk); err != nil {
					return err
				}
				progress(int64(len(chunk)), false)
			}
		})
	}
	return g.Wait()
}
