package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// explain gives an error of Init its exit code, and says what to do about it.
func (s *Source) explain(ctx context.Context, err error) error {
	switch {
	case context.Cause(ctx) != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return exitcode.Errorf(exitcode.Failure, "open replica %s: %w", s.Name(), context.Cause(ctx))
	case s.OnDisk():
		return s.explainFile(err)
	}
	return s.explainS3(err)
}

func (s *Source) explainFile(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "open %w: run ltxfs as a user who may read it", err)
	case errors.Is(err, context.DeadlineExceeded):
		return exitcode.Errorf(exitcode.Timeout, "open replica %s: no answer in time: check the file system that holds it", s.Path)
	case errors.Is(err, replica.ErrMixedLayouts), errors.Is(err, os.ErrNotExist):
		return exitcode.Errorf(exitcode.NoReplica, "open %w", err)
	}
	return exitcode.Errorf(exitcode.NoReplica, "open %w: check the replica, and --layout", err)
}

// advice is what to do about errors of a store. The first that fits counts. What
// has none, or says itself what to do, has "".
var advice = []struct {
	fits func(err error) bool
	code exitcode.Code
	text string
}{
	{is(s3.ErrNoSuchBucket), exitcode.NoReplica, ""},
	{is(s3.ErrNoCredentials), exitcode.Permission, ""},
	{is(s3.ErrInside), exitcode.NoReplica, ""},
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
}

func (s *Source) explainS3(err error) error {
	named := fmt.Errorf("open %w", err)
	if prefix := "replica " + s.Name() + ": "; !strings.HasPrefix(err.Error(), prefix) {
		named = fmt.Errorf("open %s%w", prefix, err)
	}
	for _, a := range advice {
		switch {
		case !a.fits(err):
		case a.text == "":
			return exitcode.Wrap(a.code, named)
		default:
			return exitcode.Errorf(a.code, "%w: %s", named, a.text)
		}
	}
	return exitcode.Errorf(exitcode.NoReplica, "%w: check the URL and its settings", named)
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// code fits answers of the store by their codes.
func code(codes ...string) func(error) bool {
	return func(err error) bool {
		var answer *s3.StoreError
		if !errors.As(err, &answer) {
			return false
		}
		for _, c := range codes {
			if answer.Code == c {
				return true
			}
		}
		return false
	}
}

// isBare400 fits what most servers with TLS answer to a request without: a plain
// text, of which often nothing but the status arrives.
func isBare400(err error) bool {
	var answer *s3.StoreError
	return errors.As(err, &answer) && answer.Status == http.StatusBadRequest && answer.Code == ""
}

// says fits errors by their text: the client keeps what it wraps to itself.
func says(texts ...string) func(error) bool {
	return func(err error) bool {
		for _, text := range texts {
			if strings.Contains(err.Error(), text) {
				return true
			}
		}
		return false
	}
}

// configCode is the exit code for an error of Litestream's configuration.
func configCode(err error) exitcode.Code {
	switch {
	case errors.Is(err, replica.ErrUnsupported):
		return exitcode.NoReplica
	case errors.Is(err, os.ErrPermission):
		return exitcode.Permission
	}
	return exitcode.Usage
}
