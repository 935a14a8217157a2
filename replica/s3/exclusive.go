package s3

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// ifNoneMatch makes a request of an exclusive write fail if there is an object, in
// a store that knows such conditions.
func (u *upload) ifNoneMatch() *string {
	if !u.exclusive || u.client.refusesConditions.Load() {
		return nil
	}
	return aws.String("*")
}

// hold takes the name, from just before the object may show until it is
// verified: what an own write or deletion did to it meanwhile would look like a
// fault of the store. Where the store knows no conditions, it also looks whether
// the name is free.
func (u *upload) hold(ctx context.Context) (err error) {
	u.release()
	if u.unlock, err = u.client.names.lock(ctx, u.key); err != nil {
		return err
	}
	if !u.exclusive || !u.client.refusesConditions.Load() {
		return nil
	}
	_, err = u.client.head(ctx, u.session, u.key, false)
	switch {
	case err == nil:
		return fmt.Errorf("the store has such a file: %w", os.ErrExist)
	case !isNotFound(err):
		return err
	}
	return nil
}

func (u *upload) release() {
	if u.unlock != nil {
		u.unlock()
		u.unlock = nil
	}
}

// conflict makes sense of a failed request of an exclusive write. The object that
// the store has may be our own, when the answer to an earlier attempt was lost; or
// that of an earlier write of the same content, of which nobody could tell in time
// that it had succeeded.
func (u *upload) conflict(ctx context.Context, err error) error {
	if !u.exclusive || !errors.Is(err, errPrecondition) {
		return err
	}
	out, herr := u.client.head(ctx, u.session, u.key, !u.client.refusesChecksums.Load())
	if herr == nil {
		same, known := u.sums.ofStore(out)
		if out.Metadata[metaWriteID] == u.id || *out.ContentLength == u.sums.size && same && known {
			u.done(out.ETag, out.ResultMetadata)
			return nil
		}
		return fmt.Errorf("the store has such a file: %w", os.ErrExist)
	}
	// As text: it is neither there nor known to be missing.
	return fmt.Errorf("another write or deletion of the file is under way: %v; %v", err, herr)
}
