package replicas

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
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
		{code("SignatureDoesNotMatch"), exitcode.Permission, "check the secret access key"},
		{code("RequestTimeTooSkewed"), exitcode.Permission, "set this machine's clock"},
		{is(s3.ErrRegion), exitcode.NoReplica, ""},
		{is(os.ErrPermission), exitcode.Permission, "the credentials must be allowed to list the bucket (s3:ListBucket)"},
		// A name or a port that is wrong is tried until the deadline, as it could
		// be right a moment later.
		{says("no such host"), exitcode.NoReplica, "check the endpoint, the bucket's name and the network"},
		{says("connection refused", "no route to host", "network is unreachable"), exitcode.NoReplica, "check the endpoint, and that the store runs"},
		{says("gave HTTP response to HTTPS client"), exitcode.NoReplica, "the store speaks no TLS: begin the endpoint with http://"},
		{says("Client sent an HTTP request to an HTTPS server"), exitcode.NoReplica, "the store wants TLS: begin the endpoint with https://"},
		{isBare400, exitcode.NoReplica, "if the store wants TLS, begin the endpoint with https://"},
		{says("failed to get shared config profile"), exitcode.Usage, "check the profile's name, and what AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name"},
		{says("certificate signed by unknown authority", "certificate is not trusted"), exitcode.NoReplica,
			"name the authority's certificates with LTXFS_S3_CA_FILE or AWS_CA_BUNDLE"},
		{is(s3.ErrTLS), exitcode.NoReplica, "check the endpoint's certificate, and the host in the endpoint"},
		{is(s3.ErrUnreachable), exitcode.NoReplica, "check the endpoint and the network"},
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
		var answer *s3.StoreError
		return errors.As(err, &answer) && slices.Contains(codes, answer.Code)
	}
}

// isBare400 fits what most servers with TLS answer to a request without: a plain
// text, of which often nothing but the status arrives.
func isBare400(err error) bool {
	var answer *s3.StoreError
	return errors.As(err, &answer) && answer.Status == http.StatusBadRequest && answer.Code == ""
}

// says fits errors by their text: the store keeps what it wraps to itself.
func says(texts ...string) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(err.Error(), text) })
	}
}
