package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// exactWindow is how many files a listing may be ahead of the loop, for each HEAD
// that may be under way. It bounds what is in memory.
const exactWindow = 4

// exactFile is a file on its way from a listing to the loop.
type exactFile struct {
	replica.File
	err  error
	done chan struct{} // closed once the time is exact, or can't be
}

// listExact is list with exact times. HEADs run ahead of the loop, and the listing
// ahead of the HEADs. A file that has vanished is left out, and one that was replaced
// is what was found. Any other error ends the listing: another time in the place
// of the exact one would be a wrong one.
func (at *session) listExact(ctx context.Context, level int, opts replica.ListOptions, yield func(replica.File) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heads := at.cfg.MetadataConcurrency
	var g errgroup.Group
	g.SetLimit(heads + 1) // and the listing
	queue := make(chan *exactFile, exactWindow*heads)
	g.Go(func() error {
		defer close(queue)
		list := at.listInOrder
		if opts.AnyOrder {
			list = at.list
		}
		return list(ctx, level, opts.From, func(f replica.File) bool {
			e := &exactFile{File: f, done: make(chan struct{})}
			if opts.SetKnownTime(&e.File) {
				close(e.done)
			} else {
				g.Go(func() error {
					defer close(e.done)
					e.File, e.err = at.stat(ctx, f.Name, replica.StatOptions{ExactTime: true, Known: f.Version})
					e.err = replica.NewFileError("stat", f.Name, e.err)
					return nil
				})
			}
			select {
			case queue <- e:
				return true
			case <-ctx.Done():
				return false
			}
		})
	})
	var stopped bool
	var err error
	for e := range queue { // to its end, so that nothing is under way afterwards
		<-e.done
		if stopped || err != nil || errors.Is(e.err, os.ErrNotExist) {
			continue
		}
		if err = e.err; err == nil {
			stopped = !yield(e.File)
		}
		if stopped || err != nil {
			cancel()
		}
	}
	listErr := g.Wait()
	if stopped || err != nil {
		return err
	}
	// The listing ends without an error where it waits for the loop.
	return cmp.Or(listErr, ctx.Err())
}

// stat asks for a file. An answer to HEAD that shows a version in other words than
// listings do, or without a time, it puts in theirs.
func (at *session) stat(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	// A file may be replaced between two requests, but hardly again and again.
	for range 3 {
		var out *awss3.HeadObjectOutput
		var key string
		err := at.find(ctx, name, func(k string) (err error) {
			key = k
			out, err = at.head(ctx, key, false)
			return err
		})
		if err != nil {
			return replica.File{}, err
		}
		f, err := at.inListing(ctx, key, at.newFile(name, out.ETag, out.LastModified, *out.ContentLength), opts.Known)
		if err != nil {
			return replica.File{}, err
		}
		if !opts.ExactTime {
			return f, nil
		}
		if t, err := time.Parse(time.RFC3339Nano, out.Metadata[metaTimestamp]); err == nil {
			f.ModTime = t.UTC()
			return f, nil
		}
		f.ModTime, err = at.headerTime(ctx, f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, replica.ErrReplaced) {
			return replica.File{}, err
		}
	}
	return replica.File{}, replica.ErrReplaced
}

// headerTime reads the timestamp in a file's header, or returns the file's time if
// it has none.
func (at *session) headerTime(ctx context.Context, f replica.File) (time.Time, error) {
	if f.Size < ltx.HeaderSize {
		return f.ModTime, nil
	}
	r, err := at.open(ctx, f, 0, ltx.HeaderSize)
	if err != nil {
		return time.Time{}, err
	}
	defer r.Close()
	head := make([]byte, ltx.HeaderSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return time.Time{}, fmt.Errorf("read the header: %w", err)
	}
	if t, ok := ltxfile.HeaderTime(head); ok {
		return t, nil
	}
	return f.ModTime, nil
}
