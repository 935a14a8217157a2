package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
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

// deletion is one call of delete.
type deletion struct {
	at *session

	mu     sync.Mutex
	failed map[replica.Name]error // the files that are left, and why
}

func (d *deletion) fail(err error, names ...replica.Name) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		d.failed[name] = err
	}
}

// delete deletes files, whose names are in order. It returns those that are left,
// and why.
func (at *session) delete(ctx context.Context, names []replica.Name) map[replica.Name]error {
	d := &deletion{at: at, failed: map[replica.Name]error{}}
	for batch := range slices.Chunk(names, deleteBatch) {
		for attempt := 1; ; attempt++ {
			deleted, again, when := d.deleteBatch(ctx, batch)
			d.confirm(ctx, deleted, when)
			if batch = again; len(batch) == 0 || attempt >= at.cfg.Retry.Attempts || at.pause(ctx, attempt) != nil {
				break
			}
			for _, name := range again {
				delete(d.failed, name)
			}
		}
	}
	return d.failed
}

// deleteBatch has the store delete files. It returns those that the store says it
// has deleted, those that it may delete if it is asked again, and when that was by the store's
// clock.
func (d *deletion) deleteBatch(ctx context.Context, batch []replica.Name) (deleted, again []replica.Name, when time.Time) {
	at := d.at
	if len(batch) == 1 || at.lacks(deletionOfMany) {
		deleted, when = d.deleteEach(ctx, batch)
		return deleted, nil, when
	}
	byKey := map[string]replica.Name{}
	in := &awss3.DeleteObjectsInput{Bucket: &at.cfg.Bucket, Delete: &types.Delete{Quiet: aws.Bool(true)}}
	for _, name := range batch {
		key := d.at.key(name)
		byKey[key] = name
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: &key})
	}
	out, err := at.deleteObjects(ctx, in)
	if status := answered(err).Status; status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed {
		at.learn(deletionOfMany, err)
		deleted, when = d.deleteEach(ctx, batch)
		return deleted, nil, when
	} else if err != nil {
		d.fail(err, batch...)
		return nil, nil, time.Time{}
	}
	at.sawBucket()
	for _, e := range out.Errors {
		name, ok := byKey[aws.ToString(e.Key)]
		code := aws.ToString(e.Code)
		if !ok || code == "NoSuchKey" {
			continue // of a strange key, it is looked at below
		}
		refusal := &StoreError{Op: "DeleteObjects", Code: code, Status: http.StatusOK, text: clip(aws.ToString(e.Message))}
		refusal.classify(nil)
		d.fail(refusal, name)
		delete(byKey, aws.ToString(e.Key))
		if retryable.code[code] {
			again = append(again, name)
		}
	}
	when, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
	return slices.Collect(maps.Values(byKey)), again, when
}

// deleteObjects has the store delete objects with one request. What is refused for its
// form, and again, is tried with the older checksum; if that is taken, it is what the
// store wants.
func (at *session) deleteObjects(ctx context.Context, in *awss3.DeleteObjectsInput) (*awss3.DeleteObjectsOutput, error) {
	ask := func(md5 bool) (*awss3.DeleteObjectsOutput, error) {
		out, err := at.s3.DeleteObjects(ctx, in, deleteChecksum(md5))
		return out, storeError(ctx, "DeleteObjects", err)
	}
	md5 := at.lacks(batchChecksums) || at.lacks(uploadChecksums)
	out, err := ask(md5)
	if md5 || !refusesForm(err) {
		return out, err
	}
	if out, err = ask(false); refusesForm(err) {
		refusal := err
		if out, err = ask(true); err == nil {
			at.learn(batchChecksums, refusal)
		}
	}
	return out, err
}

// deleteEach deletes files with a request for each.
func (d *deletion) deleteEach(ctx context.Context, batch []replica.Name) (deleted []replica.Name, when time.Time) {
	at := d.at
	var g errgroup.Group
	g.SetLimit(deleteConcurrency)
	for _, name := range batch {
		g.Go(func() error {
			key := d.at.key(name)
			out, err := d.at.s3.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &at.cfg.Bucket, Key: &key})
			if err = storeError(ctx, "DeleteObject", err); err != nil && !isNotFound(err) {
				d.fail(err, name)
				return nil
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if err == nil {
				at.sawBucket()
				if t, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok && (when.IsZero() || t.Before(when)) {
					when = t
				}
			}
			deleted = append(deleted, name)
			return nil
		})
	}
	_ = g.Wait() // its errors are in d.failed
	return deleted, when
}

// errStillThere means that a store has what it says it has deleted.
var errStillThere = errors.New("the store says that it has deleted the file, and still has it, or another writer has written it again")

// confirm makes sure that files are gone, which the store deleted when its clock
// said so. One that is late is given time. A file that was written after the
// deletion counts as deleted.
func (d *deletion) confirm(ctx context.Context, deleted []replica.Name, when time.Time) {
	isOld := func(modified time.Time) bool {
		// Within the second of the deletion, nothing tells old from new, nor do
		// listings whose times are others.
		return d.at.lacks(oneWording) || when.IsZero() || modified.Before(when.Truncate(time.Second).Add(time.Second)) ||
			d.at.isAhead(modified)
	}
	slices.SortFunc(deleted, replica.Name.Compare)
	until := time.Now().Add(d.at.cfg.Timeouts.Verify)
	for attempt := 1; len(deleted) > 0; attempt++ {
		find := d.findByListing
		if len(deleted) <= lookBatch {
			find = d.findEach
		}
		there, err := find(ctx, deleted, isOld)
		if err != nil {
			d.fail(fmt.Errorf("make sure that it is deleted: %w", err), deleted...)
			return
		}
		if deleted = there; len(deleted) == 0 {
			return
		}
		err = d.at.pause(ctx, attempt)
		if err != nil || time.Now().After(until) {
			d.fail(errors.Join(errStillThere, err), deleted...)
			return
		}
	}
}

// findEach returns those of the files that the store has, by asking for each.
func (d *deletion) findEach(ctx context.Context, names []replica.Name, isOld func(time.Time) bool) ([]replica.Name, error) {
	there := make([]bool, len(names))
	var g errgroup.Group
	for i, name := range names {
		g.Go(func() error {
			out, err := d.at.head(ctx, d.at.key(name), false)
			if errors.Is(err, errNoLength) {
				there[i] = true
				return nil
			}
			if err != nil {
				// A store that finds nothing at all has not deleted anything.
				if err = d.at.whyMissing(ctx, err); isNotFound(err) {
					return nil
				}
				return err
			}
			there[i] = out.LastModified == nil || isOld(*out.LastModified)
			return nil
		})
	}
	err := g.Wait()
	var found []replica.Name
	for i, name := range names {
		if there[i] {
			found = append(found, name)
		}
	}
	return found, err
}

// findByListing returns those of the files that the store has, by listing where
// they would be. The names are in order.
func (d *deletion) findByListing(ctx context.Context, names []replica.Name, isOld func(time.Time) bool) (found []replica.Name, err error) {
	for len(names) > 0 {
		level := names[0].Level
		n := slices.IndexFunc(names, func(name replica.Name) bool { return name.Level != level })
		if n < 0 {
			n = len(names)
		}
		wanted := names[:n]
		names = names[n:]
		err := d.at.list(ctx, level, wanted[0].MinTXID, nil, func(f replica.File) bool {
			if _, ok := slices.BinarySearchFunc(wanted, f.Name, replica.Name.Compare); ok && isOld(f.ModTime) {
				found = append(found, f.Name)
			}
			return f.Compare(wanted[n-1]) < 0 || d.at.lacks(keyOrder)
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
