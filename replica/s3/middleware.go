package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ltxfs/ltxfs/replica/s3/document"
)

// addMiddleware changes requests into what the store takes.
func (b *bucket) addMiddleware(stack *middleware.Stack) error {
	cfg := b.cfg
	if err := b.rememberAttempts(stack); err != nil {
		return err
	}
	if err := b.readAnswers(stack); err != nil {
		return err
	}
	for name, value := range b.headers(stack.ID()) {
		if err := smithyhttp.SetHeaderValue(name, value)(stack); err != nil {
			return err
		}
	}
	if !*cfg.SignAcceptEncoding {
		// Some gateways change the header, which breaks a signature over it.
		if _, err := stack.Finalize.Remove("DisableAcceptEncodingGzip"); err != nil {
			return err
		}
	}
	if !*cfg.SignPayload {
		return unsignedPayload(stack)
	}
	return nil
}

// headers are what every request of an operation has, as it is configured.
func (b *bucket) headers(operation string) map[string]string {
	cfg := b.cfg
	all := map[string]string{}
	if cfg.ConsistentReads {
		all["X-Tigris-Consistent"] = "true"
	}
	if cfg.RequesterPays && operation != "HeadBucket" {
		all["X-Amz-Request-Payer"] = "requester"
	}
	switch operation {
	case "PutObject", "CreateMultipartUpload":
		if cfg.StorageClass != "" {
			all["X-Amz-Storage-Class"] = cfg.StorageClass
		}
		if cfg.SSEKMSKeyID != "" {
			all["X-Amz-Server-Side-Encryption"] = "aws:kms"
			all["X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"] = cfg.SSEKMSKeyID
		}
	case "GetObject", "HeadObject", "UploadPart", "CompleteMultipartUpload":
	default:
		return all
	}
	if cfg.SSECustomerKey != "" {
		const customer = "X-Amz-Server-Side-Encryption-Customer-"
		all[customer+"Algorithm"] = cfg.SSECustomerAlgorithm
		all[customer+"Key"] = cfg.SSECustomerKey.Reveal()
		all[customer+"Key-Md5"] = cfg.SSECustomerKeyMD5
	}
	return all
}

// unsignedPayload leaves bodies out of the signature, of deletions as well, whose
// checksum the SDK computes.
func unsignedPayload(stack *middleware.Stack) error {
	// Either may be missing from an operation's stack, which is as well.
	_ = v4.RemoveComputePayloadSHA256Middleware(stack)
	if err := v4.AddUnsignedPayloadMiddleware(stack); err != nil {
		return err
	}
	_ = v4.RemoveContentSHA256HeaderMiddleware(stack)
	return v4.AddContentSHA256HeaderMiddleware(stack)
}

// deleteChecksum gives a request that deletes many objects the checksum that the
// protocol wants: the newer header, which the SDK adds, or for stores that refuse that,
// or want the older one, Content-MD5.
func deleteChecksum(md5 bool) func(*awss3.Options) {
	return func(o *awss3.Options) {
		if !md5 {
			return
		}
		o.APIOptions = append(o.APIOptions, smithyhttp.AddContentChecksumMiddleware, func(stack *middleware.Stack) error {
			// An operation without them needs nothing removed.
			_, _ = stack.Initialize.Remove("AWSChecksum:SetupInputContext")
			_, _ = stack.Finalize.Remove("AWSChecksum:ComputeInputPayloadChecksum")
			return nil
		})
	}
}

// attemptError is an error of a context that ended while a request was tried
// again and again, with what the last of its attempts failed with. The SDK tells
// only of the context, and nobody would learn why there was more than one attempt.
type attemptError struct {
	error
	last error
}

func (e *attemptError) Unwrap() error { return e.error }

type lastAttemptKey struct{}

// rememberAttempts has requests return attemptErrors, and counts attempts that follow others.
func (b *bucket) rememberAttempts(stack *middleware.Stack) error {
	err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("LastAttempt",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			var last error // attempts follow each other
			out, metadata, err := next.HandleInitialize(context.WithValue(ctx, lastAttemptKey{}, &last), in)
			if err != nil && last != nil && ctx.Err() != nil {
				err = &attemptError{err, last}
			}
			return out, metadata, err
		}), middleware.Before)
	if err != nil {
		return err
	}
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RememberAttempt",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			last, ok := ctx.Value(lastAttemptKey{}).(*error)
			if ok && *last != nil {
				b.conns.Tally.Retried.WithLabelValues(middleware.GetOperationName(ctx)).Inc()
			}
			out, metadata, err := next.HandleFinalize(ctx, in)
			if err != nil {
				b.conns.Tally.Failed(ctx, err)
			}
			if ok && err != nil && ctx.Err() == nil {
				*last = err
			}
			return out, metadata, err
		}), "Retry", middleware.After)
}

// errNoStore means that something else than a store has answered, such as a proxy with a
// page to sign in.
var errNoStore = errors.New("the answer is no S3 answer: check the endpoint")

// readSuccess looks what an answer of success says. An error in it makes it one of
// failure, which the SDK knows only of some requests.
func readSuccess(operation string, answer *smithyhttp.Response) error {
	body, err := io.ReadAll(answer.Body)
	if err != nil || len(body) == 0 {
		return err
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), answer.Body}
	puts := operation == "PutObject" || operation == "UploadPart"
	switch root := document.Root(body); {
	case root == "error":
		answer.StatusCode = http.StatusInternalServerError // as the SDK has it; Status still tells
	case root == "html", puts && len(bytes.TrimSpace(body)) > 0 && answer.Header.Get("ETag") == "":
		return errNoStore
	}
	return nil
}

// maxAnswer is the most of an answer that isn't an object, in bytes. A page of a
// listing has some hundred thousand.
const maxAnswer = 16 << 20

// readAnswers bounds what is read into memory: documents, and errors. Without it, an
// answer without an end would fill the memory. It also changes what the SDK can't parse.
func (b *bucket) readAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("ReadAnswers",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			operation := middleware.GetOperationName(ctx)
			out, metadata, err := next.HandleDeserialize(ctx, in)
			answer, ok := out.RawResponse.(*smithyhttp.Response)
			if !ok || answer.Response == nil || answer.Body == nil {
				return out, metadata, err
			}
			mendDate(answer.Header)
			b.sawDate(answer.Header.Get("Date"))
			if operation != "GetObject" || answer.StatusCode >= 300 {
				answer.Body = &capped{ReadCloser: answer.Body, left: maxAnswer + 1}
			}
			if err == nil && answer.StatusCode < 300 && operation != "GetObject" && !strings.HasPrefix(operation, "ListObjects") {
				err = readSuccess(operation, answer)
			}
			if page, ok := ctx.Value(listingKey{}).(**document.Listing); ok && err == nil && answer.StatusCode < 300 {
				*page, err = readListing(answer)
			}
			return out, metadata, err
		}), middleware.After)
}

// capped is a body that may not be longer than left.
type capped struct {
	io.ReadCloser
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// listingKey is where in its context a request for a page has the address of it.
type listingKey struct{}

// readListing parses a page in the SDK's place, which then finds nothing to parse.
func readListing(answer *smithyhttp.Response) (*document.Listing, error) {
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	answer.Body = http.NoBody
	return document.ParseListing(answer.Header, body)
}

// mendDate puts the time of modification in an answer into the form that HTTP has, or
// leaves it out: the SDK would fail the request for it.
func mendDate(header http.Header) {
	if t, err := time.Parse(http.TimeFormat, header.Get("Last-Modified")); err == nil && t.Unix() > 0 {
		return
	}
	t, ok := document.Time(header.Get("Last-Modified"))
	header.Del("Last-Modified")
	if ok {
		header.Set("Last-Modified", t.Format(http.TimeFormat))
	}
}
