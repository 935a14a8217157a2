package replicas

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// proofTimeout bounds the requests that prove a cause, which are made at once. Tests
// shorten it.
var proofTimeout = 4 * time.Second

// remedy is another setting that would mend an error, which one request can prove.
type remedy struct {
	// change makes the setting. It returns false where it isn't the remedy of err.
	change func(c *config.Config, source *settings.Source, err error) bool

	// proves reports whether it shows by how the store answers then.
	proves func(err error) bool

	code exitcode.Code
	text string
}

var remedies = []remedy{
	{
		change: func(c *config.Config, source *settings.Source, err error) bool {
			if source.Literal == nil || !signature(err) && !code("InvalidAccessKeyId")(err) {
				return false
			}
			c.AccessKeyID = cmp.Or(source.Literal.AccessKeyID, c.AccessKeyID)
			c.SecretAccessKey = cmp.Or(source.Literal.SecretAccessKey, c.SecretAccessKey)
			c.SessionToken = cmp.Or(source.Literal.SessionToken, c.SessionToken)
			return true
		},
		proves: acceptsKey, code: exitcode.Permission,
		text: "the $ in the access key of the configuration was taken for a variable's: use --no-expand-env (Litestream's -no-expand-env), " +
			"or put the key into a variable",
	},
	{
		change: func(c *config.Config, _ *settings.Source, err error) bool {
			was := *c.SignAcceptEncoding
			c.SignAcceptEncoding = new(false)
			return was && signature(err)
		},
		proves: acceptsKey, code: exitcode.Permission,
		text: "something before the store changes the header Accept-Encoding: set signAcceptEncoding=false, with which the store takes the signature",
	},
	{
		change: func(c *config.Config, _ *settings.Source, err error) bool {
			was := *c.ForcePathStyle
			c.ForcePathStyle = new(false)
			return was && refusesAddress(err)
		},
		proves: succeeds, code: exitcode.NoReplica,
		text: "the store wants the bucket in the host: set forcePathStyle=false, with which it answers",
	},
	{
		change: func(c *config.Config, _ *settings.Source, err error) bool {
			was := *c.ForcePathStyle
			c.ForcePathStyle = new(true)
			return !was && c.Endpoint != "" && (refusesAddress(err) || errors.Is(err, transport.ErrNoSuchHost))
		},
		proves: succeeds, code: exitcode.NoReplica,
		text: "the store wants the bucket in the path: set forcePathStyle=true, with which it answers",
	},
	{
		change: func(c *config.Config, _ *settings.Source, err error) bool {
			rest, plain := strings.CutPrefix(c.Endpoint, "http://")
			c.Endpoint, c.SkipVerify = "https://"+rest, true
			return plain && (isBare400(err) || isBroken(err))
		},
		proves: answers, code: exitcode.NoReplica,
		text: "the store wants TLS: begin the endpoint with https://",
	},
}

// diagnose looks for the remedy of an error of a store in S3. It returns nil if none is
// proven, and the first of several. A request that gets no answer proves nothing.
func diagnose(ctx context.Context, source *settings.Source, err error) *remedy {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), proofTimeout)
	defer cancel()
	proven := make([]bool, len(remedies))
	var proofs sync.WaitGroup
	for i := range remedies {
		changed := *source.S3
		if r := &remedies[i]; r.change(&changed, source, err) {
			proofs.Go(func() { proven[i] = r.proves(probe(ctx, changed)) })
		}
	}
	proofs.Wait()
	if i := slices.Index(proven, true); i >= 0 {
		return &remedies[i]
	}
	return nil
}

func probe(ctx context.Context, cfg config.Config) error {
	store, err := s3.New(cfg)
	if err != nil {
		return err
	}
	defer store.Close() // which has nothing to lose
	store.SetLogger(slog.New(slog.DiscardHandler))
	return store.Probe(ctx)
}

// answer is the answer of a store that an error is, or nil.
func answer(err error) *s3.StoreError {
	found, _ := errors.AsType[*s3.StoreError](err)
	return found
}

// isBare400 fits what most servers with TLS answer to a request without: a plain
// text, of which often nothing but the status arrives.
func isBare400(err error) bool {
	found := answer(err)
	return found != nil && found.Status == http.StatusBadRequest && isBare(found)
}

// isBroken fits requests to servers that can be reached, and answer nothing of HTTP.
func isBroken(err error) bool {
	found := answer(err)
	return found != nil && found.Status == 0 && !errors.Is(err, transport.ErrUnreachable) &&
		!errors.Is(err, s3.ErrNoCredentials) && !errors.Is(err, s3.ErrConfiguration)
}

func signature(err error) bool { return code("SignatureDoesNotMatch")(err) }

func succeeds(err error) bool { return err == nil }

// answers reports whether a store has answered, be it to refuse. What something on the way
// to it answers has no code.
func answers(err error) bool { return err == nil || answer(err) != nil && !isBare(answer(err)) }

// isBare fits answers without an error code. The SDK makes one of the status.
func isBare(found *s3.StoreError) bool {
	return found.Code == "" || found.Code == strings.ReplaceAll(http.StatusText(found.Status), " ", "")
}

// acceptsKey reports whether a store has accepted key and signature, even if it
// refuses the request.
func acceptsKey(err error) bool {
	return err == nil || code("AccessDenied", "NoSuchBucket")(err)
}

// refusesAddress reports whether a store may have looked for the bucket in the wrong
// part of the URL.
func refusesAddress(err error) bool {
	found := answer(err)
	return errors.Is(err, s3.ErrPathStyle) || errors.Is(err, s3.ErrNoSuchBucket) ||
		found != nil && !errors.Is(err, s3.ErrRegion) && !errors.Is(err, os.ErrPermission) &&
			slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed}, found.Status)
}
