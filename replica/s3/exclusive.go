package s3

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
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
// the name is free; done is true if it has this content already.
func (u *upload) hold(ctx context.Context) (done bool, err error) {
	u.release()
	if u.unlock, err = u.client.names.lock(ctx, u.key); err != nil {
		return false, err
	}
	if !u.exclusive || !u.client.refusesConditions.Load() {
		return false, nil
	}
	out, err := u.client.head(ctx, u.session, u.key, !u.client.refusesChecksums.Load())
	if isNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, u.adopt(out)
}

// adopt takes an object for that of this write if it is, when the answer to an
// earlier attempt was lost, or if it has the same content, as after an earlier
// write of which nobody could tell in time that it had succeeded. Any other is
// os.ErrExist.
func (u *upload) adopt(out *awss3.HeadObjectOutput) error {
	own := out.Metadata[metaWriteID] == u.id
	same, known := u.sums.ofStore(out)
	if !own && !(*out.ContentLength == u.sums.size && same && known) {
		return fmt.Errorf("the store has such a file: %w", os.ErrExist)
	}
	u.adopted = !own
	u.done(out.ETag, out.ResultMetadata)
	return nil
}

func (u *upload) release() {
	if u.unlock != nil {
		u.unlock()
		u.unlock = nil
	}
}

// conflict makes sense of a failed request of an exclusive write.
func (u *upload) conflict(ctx context.Context, err error) error {
	if !u.exclusive || !errors.Is(err, errPrecondition) && !errors.Is(err, errNoSuchUpload) {
		return err
	}
	out, herr := u.client.head(ctx, u.session, u.key, !u.client.refusesChecksums.Load())
	if herr == nil {
		return u.adopt(out)
	}
	// As text: it is neither there nor known to be missing.
	return fmt.Errorf("another write or deletion of the file is under way: %v; %v", err, herr)
}
