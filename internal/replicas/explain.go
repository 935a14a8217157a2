package replicas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// advice is what to do about an error of a store.
type advice struct {
	fits func(err error) bool
	code exitcode.Code
	text string // "" where the error itself says what to do
}

var (
	adviceOnDisk = []advice{
		{is(os.ErrPermission), exitcode.Permission, "run ltxfs as a user who may read it"},
		{is(context.DeadlineExceeded), exitcode.Timeout, "check the file system that holds it"},
		{is(replica.ErrMixedLayouts), exitcode.NoReplica, ""},
		{is(os.ErrNotExist), exitcode.NoReplica, ""},
		{always, exitcode.NoReplica, "check the replica, and --layout"},
	}

	adviceInS3 = []advice{
		{is(s3.ErrNoSuchBucket), exitcode.NoReplica, ""},
		{is(s3.ErrNoCredentials), exitcode.Permission, ""},
		{is(s3.ErrInside), exitcode.NoReplica, ""},
		{is(replica.ErrLitestream03), exitcode.NoReplica, ""},
		{is(replica.ErrMixedLayouts), exitcode.NoReplica, ""},
		{code("ExpiredToken", "InvalidToken", "InvalidTokenId", "TokenRefreshRequired"), exitcode.Permission, "get new credentials, and mount again"},
		{code("InvalidAccessKeyId"), exitcode.Permission, "check the access key's ID, and that the endpoint is the store that it is for"},
		{code("SignatureDoesNotMatch"), exitcode.Permission, "check the secret access key, and that nothing before the store changes the header Host"},
		{code("RequestTimeTooSkewed"), exitcode.Permission, "set this machine's clock"},
		{is(s3.ErrRegion), exitcode.NoReplica, ""},
		{is(s3.ErrPathStyle), exitcode.NoReplica, "set forcePathStyle=false, which puts the bucket into the host"},
		{is(s3.ErrNoSuchProfile), exitcode.Usage, "check the profile's name, and what AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name"},
		{is(s3.ErrConfiguration), exitcode.Usage, "check the variables that begin with AWS_, and the shared AWS files"},
		{is(os.ErrPermission), exitcode.Permission, "the credentials must be allowed to list the bucket (s3:ListBucket)"},
		{is(transport.ErrProxy), exitcode.NoReplica, "check the proxy that HTTPS_PROXY or HTTP_PROXY names, or name the store's host in NO_PROXY"},
		// A name or a port that is wrong is tried until the deadline, as it could
		// be right a moment later.
		{is(transport.ErrNoSuchHost), exitcode.NoReplica, "check the endpoint, the bucket's name and the network"},
		{is(transport.ErrNoTLS), exitcode.NoReplica, "the store speaks no TLS: begin the endpoint with http://"},
		{isBare400, exitcode.NoReplica, "if the store wants TLS, begin the endpoint with https://"},
		{is(transport.ErrUntrusted), exitcode.NoReplica, "name the authority's certificates with LTXFS_S3_CA_FILE or AWS_CA_BUNDLE"},
		{is(transport.ErrTLS), exitcode.NoReplica, "check the endpoint's certificate, and the host in the endpoint"},
		{is(transport.ErrUnreachable), exitcode.NoReplica, "check the endpoint and the network, and that the store runs"},
		{is(context.DeadlineExceeded), exitcode.Timeout, "check the endpoint and the network"},
		{always, exitcode.NoReplica, "check the URL and its settings"},
	}
)

// explain gives an error of Init its exit code, and says what to do about it. The
// first advice that fits counts.
func explain(ctx context.Context, source *settings.Source, err error) error {
	prefix, table := "replica "+source.Name()+": ", adviceInS3
	if source.OnDisk() {
		table = adviceOnDisk
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return exitcode.Errorf(exitcode.Failure, "open %s%w", prefix, cause)
	}
	named := fmt.Errorf("open %w", err)
	if !strings.HasPrefix(err.Error(), prefix) {
		named = fmt.Errorf("open %s%w", prefix, err)
	}
	if !source.OnDisk() {
		if r := diagnose(ctx, source, err); r != nil {
			return exitcode.Errorf(r.code, "%w: %s", named, r.text)
		}
	}
	a := table[slices.IndexFunc(table, func(a advice) bool { return a.fits(err) })]
	if a.text == "" {
		return exitcode.Wrap(a.code, named)
	}
	return exitcode.Errorf(a.code, "%w: %s", named, a.text)
}

func always(error) bool { return true }

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// code fits answers of the store by their codes.
func code(codes ...string) func(error) bool {
	return func(err error) bool {
		found := answer(err)
		return found != nil && slices.Contains(codes, found.Code)
	}
}

// IsMissing reports whether there is no replica of that name, as far as an error of opening it
// tells: it isn't that it couldn't be reached.
func IsMissing(err error) bool {
	return slices.ContainsFunc([]error{os.ErrNotExist, syscall.ENOTDIR, s3.ErrNoSuchBucket, s3.ErrInside, replica.ErrLitestream03, replica.ErrMixedLayouts},
		func(target error) bool { return errors.Is(err, target) })
}
