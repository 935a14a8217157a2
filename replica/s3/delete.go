package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	// deleteBatch is how many objects one request may delete.
	deleteBatch = 1000

	// lookBatch is up to how many files are looked for one by one to see
	// whether they are gone, and not by a listing.
	lookBatch = 4

	// deleteConcurrency is how many objects are deleted at a time in a store
	// that deletes them one by one.
	deleteConcurrency = 10
)

// DeleteLTXFiles deletes files, 1,000 a request, and makes sure that they are gone:
// stores exist that say so and do nothing.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) (err error) {
	d := newDeletion(c)
	for _, f := range files {
		if f == nil {
			d.errs = append(d.errs, fmt.Errorf("delete: a file is nil: %w", os.ErrInvalid))
			continue
		}
		d.add(replica.File{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID})
	}
	ctx, leave, err := c.enter(ctx)
	if err != nil {
		return d.fail(err)
	}
	defer func() { err = leave(err) }()
	s, err := c.init(ctx)
	if err != nil {
		return d.fail(err)
	}
	d.session = s
	unlock, err := c.names.lock(ctx, slices.Collect(maps.Values(d.keys()))...)
	if err != nil {
		return d.fail(err)
	}
	defer unlock()
	return d.run(ctx)
}

// DeleteAll deletes every file of the replica, and nothing else: what has no LTX
// name, or is in no directory of the replica's layout, stays.
func (c *ReplicaClient) DeleteAll(ctx context.Context) (err error) {
	ctx, leave, err := c.enter(ctx)
	if err != nil {
		return fmt.Errorf("delete all files: %w", err)
	}
	defer func() { err = leave(err) }()
	s, err := c.init(ctx)
	if err != nil {
		return fmt.Errorf("delete all files: %w", err)
	}
	unlock, err := c.names.lockAll(ctx)
	if err != nil {
		return fmt.Errorf("delete all files: %w", err)
	}
	defer unlock()
	var errs []error
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		d := newDeletion(c)
		d.session = s
		it := c.list(ctx, s, level, 0, false)
		for it.Next() {
			d.add(it.file)
			if len(d.left) == deleteBatch {
				errs = append(errs, d.run(ctx))
				d = newDeletion(c)
				d.session = s
			}
		}
		errs = append(errs, it.Close(), d.run(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete all files: %w", err)
	}
	return nil
}

// deletion is a set of files to delete.
type deletion struct {
	client  *ReplicaClient
	session *session

	mu   sync.Mutex
	left map[replica.File]error // and what went wrong with each
	errs []error
}

func newDeletion(c *ReplicaClient) *deletion {
	return &deletion{client: c, left: map[replica.File]error{}}
}

func (d *deletion) add(f replica.File) {
	f = replica.File{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID}
	if err := replica.CheckFile(f.Level, f.MinTXID, f.MaxTXID); err != nil {
		d.errs = append(d.errs, deleteError(f, err))
		return
	}
	d.left[f] = nil
}

func deleteError(f replica.File, err error) error {
	return replica.NewFileError("delete", f.Level, f.MinTXID, f.MaxTXID, err)
}

// keys are those of the files that are left.
func (d *deletion) keys() map[replica.File]string {
	keys := make(map[replica.File]string, len(d.left))
	for f := range d.left {
		keys[f] = d.session.key(f.Level, f.MinTXID, f.MaxTXID)
	}
	return keys
}

// files are those that are left, by level and TXIDs.
func (d *deletion) files() []replica.File {
	return slices.SortedFunc(maps.Keys(d.left), compareFiles)
}

// fail is the error of a deletion that has not begun.
func (d *deletion) fail(err error) error {
	for f := range d.left {
		d.left[f] = err
	}
	return d.result()
}

// result names every file that is left.
func (d *deletion) result() error {
	errs := d.errs
	for _, f := range d.files() {
		errs = append(errs, deleteError(f, d.left[f]))
	}
	return errors.Join(errs...)
}

// errStillThere means that a store has what it says it has deleted.
var errStillThere = errors.New("the store says that it has deleted the file, and still has it, or another writer has written it again")

// run deletes what is left, as far as that can be done.
func (d *deletion) run(ctx context.Context) error {
	for batch := range slices.Chunk(d.files(), deleteBatch) {
		deleted, when := d.deleteBatch(ctx, batch)
		d.confirm(ctx, deleted, when)
	}
	return d.result()
}

// deleteBatch has the store delete files. It returns those that the store says it
// has deleted, and when that was by the store's clock.
func (d *deletion) deleteBatch(ctx context.Context, batch []replica.File) ([]replica.File, time.Time) {
	if len(batch) == 1 || d.client.deletesOneByOne.Load() {
		return d.deleteEach(ctx, batch)
	}
	c := d.client
	byKey := map[string]replica.File{}
	in := &awss3.DeleteObjectsInput{Bucket: &c.cfg.Bucket, Delete: &types.Delete{Quiet: aws.Bool(true)}, RequestPayer: c.payer()}
	for _, f := range batch {
		key := d.session.key(f.Level, f.MinTXID, f.MaxTXID)
		byKey[key] = f
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: &key})
	}
	without, withMD5 := c.refusesChecksums.Load(), c.wantsMD5.Load()
	out, err := d.session.s3.DeleteObjects(ctx, in, c.deleteChecksum)
	if err != nil {
		err = storeError(ctx, "DeleteObjects", err)
		var e *StoreError
		if errors.As(err, &e) && (e.Status == http.StatusNotImplemented || e.Status == http.StatusMethodNotAllowed) {
			c.deletesOneByOne.Store(true)
			return d.deleteEach(ctx, batch)
		}
		if isMissingMD5(err) && !withMD5 {
			c.wantsMD5.Store(true)
			return d.deleteBatch(ctx, batch)
		}
		if refusesHeaders(err) && !without {
			c.refusesChecksums.Store(true)
			return d.deleteBatch(ctx, batch)
		}
		for _, f := range batch {
			d.left[f] = err
		}
		return nil, time.Time{}
	}
	c.sawBucket()
	for _, e := range out.Errors {
		f, ok := byKey[aws.ToString(e.Key)]
		if !ok {
			continue // the check below finds out
		}
		code := aws.ToString(e.Code)
		if code == "NoSuchKey" {
			continue
		}
		d.left[f] = &StoreError{Op: "DeleteObjects", Code: code, Status: http.StatusOK, text: clip(aws.ToString(e.Message)), is: kindOf(code)}
		delete(byKey, aws.ToString(e.Key))
	}
	when, _ := awsmiddleware.GetServerTime(out.ResultMetadata)
	return slices.Collect(maps.Values(byKey)), when
}

// deleteEach deletes files with a request for each.
func (d *deletion) deleteEach(ctx context.Context, batch []replica.File) (deleted []replica.File, when time.Time) {
	c := d.client
	var g errgroup.Group
	g.SetLimit(deleteConcurrency)
	for _, f := range batch {
		g.Go(func() error {
			key := d.session.key(f.Level, f.MinTXID, f.MaxTXID)
			out, err := d.session.s3.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &c.cfg.Bucket, Key: &key, RequestPayer: c.payer()})
			err = storeError(ctx, "DeleteObject", err)
			d.mu.Lock()
			defer d.mu.Unlock()
			if err != nil && !isNotFound(err) {
				d.left[f] = err
				return nil
			}
			if err == nil {
				c.sawBucket()
				if t, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok && (when.IsZero() || t.Before(when)) {
					when = t
				}
			}
			deleted = append(deleted, f)
			return nil
		})
	}
	_ = g.Wait() // its errors are in d.left
	return deleted, when
}

// confirm makes sure that files are gone. A store that is late is given time. A
// file that was written after the deletion counts as deleted.
func (d *deletion) confirm(ctx context.Context, deleted []replica.File, when time.Time) {
	until := time.Now().Add(d.client.cfg.Timeouts.Verify)
	for attempt := 1; len(deleted) > 0; attempt++ {
		there, err := d.stillThere(ctx, deleted, when)
		if err != nil {
			for _, f := range deleted {
				d.left[f] = fmt.Errorf("make sure that it is deleted: %w", err)
			}
			return
		}
		for _, f := range deleted {
			if !there[f] {
				delete(d.left, f)
			}
		}
		deleted = slices.DeleteFunc(deleted, func(f replica.File) bool { return !there[f] })
		if len(deleted) == 0 {
			return
		}
		err = sleep(ctx, d.client.cfg.Retry.delay(attempt))
		if err == nil && time.Now().Before(until) {
			continue
		}
		for _, f := range deleted {
			d.left[f] = errors.Join(errStillThere, err)
		}
		return
	}
}

// stillThere returns which files the store still has: by asking for each of a few,
// and else by listing where they would be.
func (d *deletion) stillThere(ctx context.Context, files []replica.File, when time.Time) (map[replica.File]bool, error) {
	there := map[replica.File]bool{}
	// Within the second of the deletion, nothing tells old from new.
	old := func(modified time.Time) bool {
		return when.IsZero() || modified.Before(when.Truncate(time.Second).Add(time.Second))
	}
	if len(files) <= lookBatch {
		return there, d.lookForEach(ctx, files, func(f replica.File, modified time.Time) { there[f] = old(modified) })
	}
	files = slices.SortedFunc(slices.Values(files), compareFiles)
	for start := 0; start < len(files); {
		level := files[start].Level
		end := start
		wanted := map[replica.File]bool{}
		for ; end < len(files) && files[end].Level == level; end++ {
			wanted[files[end]] = true
		}
		last := files[end-1]
		it := d.client.list(ctx, d.session, level, files[start].MinTXID, false)
		for it.Next() && compareFiles(it.file, last) <= 0 {
			f := replica.File{Level: level, MinTXID: it.file.MinTXID, MaxTXID: it.file.MaxTXID}
			if wanted[f] && old(it.file.ModTime) {
				there[f] = true
			}
		}
		if err := it.Close(); err != nil {
			return nil, err
		}
		start = end
	}
	return there, nil
}

// lookForEach calls found for each file that the store has.
func (d *deletion) lookForEach(ctx context.Context, files []replica.File, found func(f replica.File, modified time.Time)) error {
	var g errgroup.Group
	g.SetLimit(deleteConcurrency)
	for _, f := range files {
		g.Go(func() error {
			out, err := d.client.head(ctx, d.session, d.session.key(f.Level, f.MinTXID, f.MaxTXID), false)
			if err != nil {
				// A store that finds nothing at all has not deleted anything.
				if err = d.client.whyMissing(ctx, d.session, err); isNotFound(err) {
					return nil
				}
				return err
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			found(f, *out.LastModified)
			return nil
		})
	}
	return g.Wait()
}

// isMissingMD5 reports whether a store wants Content-MD5 with a request that had
// none.
func isMissingMD5(err error) bool {
	var e *StoreError
	return errors.As(err, &e) && e.Status == http.StatusBadRequest &&
		strings.Contains(strings.ToLower(e.text), "content-md5")
}
