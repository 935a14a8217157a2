package retry

import (
	"context"
	"errors"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// DeleteLTXFiles implements replica.Client. Only the files that are left are
// tried again: one that was deleted may have been written anew since.
func (c *client) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error {
	t := c.try("delete")
	var lost []error // what can't be deleted
	for {
		err := c.Client.DeleteLTXFiles(ctx, files)
		left, failed, passing := c.sort(files, err)
		lost = append(lost, failed...)
		if len(passing) == 0 {
			return errors.Join(lost...)
		}
		files = left
		if err := t.again(ctx, errors.Join(passing...)); err != nil {
			return errors.Join(append(lost, err)...)
		}
	}
}

// sort splits an error of DeleteLTXFiles into those of files that won't go and
// what may pass, which leaves the files left. An error that names no file is of
// all.
func (c *client) sort(files []*ltx.FileInfo, err error) (left []*ltx.FileInfo, failed, passing []error) {
	type name struct {
		level    int
		min, max ltx.TXID
	}
	named := make(map[name]bool)
	all := false
	for _, err := range leaves(err) {
		if !Retryable(err) || c.opts.Retryable != nil && !c.opts.Retryable(err) {
			failed = append(failed, err)
			continue
		}
		passing = append(passing, err)
		// Not errors.As: what is deeper in an error may not be all it is of.
		if f, ok := err.(*replica.FileError); ok {
			named[name{f.Level, f.MinTXID, f.MaxTXID}] = true
		} else {
			all = true
		}
	}
	for _, f := range files {
		if f != nil && (all || named[name{f.Level, f.MinTXID, f.MaxTXID}]) {
			left = append(left, f)
		}
	}
	if len(left) == 0 {
		left = files
	}
	return left, failed, passing
}

// leaves are the errors that errors.Join put together.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err} // also one that says more than its parts
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, leaves(err)...)
	}
	return all
}
