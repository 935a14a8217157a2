package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/credentials"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

var (
	// ErrNoSuchBucket means that the store has no bucket of that name. It is
	// replica.ErrUnavailable, and not os.ErrNotExist, which is said of files.
	ErrNoSuchBucket = fmt.Errorf("no such bucket: %w", replica.ErrUnavailable)

	// ErrNoCredentials means that none were found, anywhere.
	ErrNoCredentials = fmt.Errorf("no credentials found: %w", os.ErrPermission)

	// ErrNotEncrypted means that a store ignores the encryption that it is asked
	// for.
	ErrNotEncrypted = errors.New("the store doesn't encrypt what is written as it was asked to")

	// ErrConfiguration means that the SDK can't use its configuration: a file or a
	// variable is wrong.
	ErrConfiguration = errors.New("the AWS configuration can't be used")

	// ErrNoSuchProfile is ErrConfiguration because of the profile.
	ErrNoSuchProfile = fmt.Errorf("no such profile: %w", ErrConfiguration)

	// ErrRegion means that the bucket is in another region than was said.
	ErrRegion = errors.New("the bucket is in another region")

	// ErrPathStyle means that the store wants the bucket in the host.
	ErrPathStyle = errors.New("the store refuses buckets in the path")

	// errRange means that a range begins past the end of the object.
	errRange = errors.New("the range is outside of the object")
)

// StoreError is an answer of the store, or what went wrong on the way to it.
//
// It hides the errors that it was made from. Those may wrap os.ErrNotExist
// because a file with credentials is missing, which must not be taken for a
// missing LTX file; what it unwraps to, this package has chosen.
type StoreError struct {
	// Op is the request, such as GetObject.
	Op string

	// Status is the HTTP status, or 0 if there was no answer.
	Status int

	// Code is the store's own error code, such as NoSuchKey, or "".
	Code string

	text string
	is   []error

	identity bool // there were no credentials to make a request with
}

func (e *StoreError) Error() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("%s: %s", e.Op, e.text)
	case e.Code == "":
		return fmt.Sprintf("%s: %s (HTTP status %d)", e.Op, e.text, e.Status)
	}
	return fmt.Sprintf("%s: %s (%s, HTTP status %d)", e.Op, e.text, e.Code, e.Status)
}

// Unwrap returns what the error counts as.
func (e *StoreError) Unwrap() []error { return e.is }

// kinds says what an error code, or else a status, counts as.
var kinds = struct {
	code   map[string]error
	status map[int]error
}{
	code: map[string]error{
		"NoSuchKey":                   os.ErrNotExist,
		"NoSuchBucket":                ErrNoSuchBucket,
		"InvalidBucketName":           ErrNoSuchBucket,
		"NoSuchUpload":                errNoSuchUpload,
		"AccessDenied":                os.ErrPermission,
		"AllAccessDisabled":           os.ErrPermission,
		"AccountProblem":              os.ErrPermission,
		"InvalidAccessKeyId":          os.ErrPermission,
		"InvalidToken":                os.ErrPermission,
		"InvalidTokenId":              os.ErrPermission,
		"ExpiredToken":                os.ErrPermission,
		"SignatureDoesNotMatch":       os.ErrPermission,
		"XAdminUserNotFound":          os.ErrPermission, // versitygw, with a 404
		"InvalidObjectState":          nil,              // archived: a 403, but not for the credentials
		"PreconditionFailed":          errPrecondition,
		"ConditionalRequestConflict":  errPrecondition,
		"InvalidRange":                errRange,
		"BadDigest":                   errDigest,
		"XAmzContentChecksumMismatch": errDigest,

		"SecondLevelDomainForbidden": ErrPathStyle, // Alibaba Cloud OSS
		"PathStyleDomainForbidden":   ErrPathStyle, // Tencent COS
		"VirtualHostDomainRequired":  ErrPathStyle, // Huawei OBS

		"PermanentRedirect":                  ErrRegion,
		"AuthorizationHeaderMalformed":       ErrRegion,
		"IllegalLocationConstraintException": ErrRegion,
	},
	status: map[int]error{
		http.StatusMovedPermanently:             ErrRegion,
		http.StatusUnauthorized:                 os.ErrPermission,
		http.StatusForbidden:                    os.ErrPermission,
		http.StatusNotFound:                     os.ErrNotExist,
		http.StatusProxyAuthRequired:            transport.ErrProxy,
		http.StatusPreconditionFailed:           errPrecondition,
		http.StatusRequestedRangeNotSatisfiable: errRange,
	},
}

// storeError makes a StoreError of what the SDK returned. An error of the
// context comes first: what else went wrong did so because of it.
func storeError(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	e := &StoreError{Op: op}
	if cause := ctx.Err(); cause != nil {
		e.text, e.is = cause.Error(), []error{cause}
		if last := lastAttempt(err); last != nil {
			e.text += ", after: " + rootText(last)
			e.is = append(e.is, transport.Kind(last)...)
		}
		return e
	}
	if content, ok := errors.AsType[*contentError](err); ok {
		return content.err // the store has no part in it
	}
	if missing, ok := errors.AsType[*credentials.Error](err); ok {
		e.lacksCredentials(missing)
		return e
	}
	if _, ok := errors.AsType[*configError](err); ok {
		e.text, e.is = clip(err.Error()), []error{ErrConfiguration}
		if _, ok := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); ok {
			e.is = []error{ErrNoSuchProfile}
		}
		return e
	}
	if answer := answerOf(err); answer != nil {
		e.Status = statusOf(answer)
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if ok {
		e.Code, e.text = clip(api.ErrorCode()), clip(api.ErrorMessage())
	}
	e.classify(err)
	if e.text == "" && e.Status >= http.StatusMultipleChoices {
		e.text = http.StatusText(e.Status)
	}
	if e.text == "" || e.Status == 0 && !ok {
		e.text = rootText(err)
	}
	e.advise()
	return e
}

// classify sets what the error counts as.
func (e *StoreError) classify(err error) {
	kind, known := kinds.code[e.Code]
	if !known {
		kind = kinds.status[e.Status]
	}
	if kind == os.ErrNotExist && !asksForObject[e.Op] {
		kind = replica.ErrUnavailable // a server that knows no such path
	}
	if kind != nil {
		e.is = append(e.is, kind)
	}
	if e.Status == 0 {
		e.is = append(e.is, transport.Kind(err)...)
	}
}

// asksForObject are the requests whose 404 means that what they are about is
// missing: an object, an upload, or with HeadBucket and ListObjectsV2 the bucket.
var asksForObject = map[string]bool{
	"GetObject": true, "HeadObject": true, "DeleteObject": true, "HeadBucket": true, "ListObjectsV2": true,
	"AbortMultipartUpload": true,
}

// advise puts into words what a user can do about an error whose own words don't
// say it.
func (e *StoreError) advise() {
	switch {
	case e.Status == http.StatusForbidden && e.Code == "" || e.Code == "Forbidden":
		e.text = "access denied: check the credentials and the bucket's policy"
	case errors.Is(e, ErrNoSuchBucket):
		e.text = "the bucket does not exist: check its name, the endpoint and the region"
	case errors.Is(e, ErrRegion):
		e.text = "the bucket is in another region: give it with region=: " + e.text
	}
}

// maxText is the longest text of a store that an error repeats, in bytes. Some
// answer with a page of HTML.
const maxText = 300

// clip makes a text of the store fit for one line of a log.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// rootText is the text of the error at the end of the chain, without the SDK's
// prefixes. It names an address or a file, never a credential.
func rootText(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return clip(op.Error())
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return clip(file.Error())
	}
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return clip(err.Error())
}

// lastAttempt is what the last attempt failed with, if that was more than the
// end of the context.
func lastAttempt(err error) error {
	if attempts, ok := errors.AsType[*attemptError](err); ok {
		return attempts.last
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// strange is an answer that no good store gives.
func strange(op string, status int, format string, args ...any) error {
	return &StoreError{Op: op, Status: status, text: fmt.Sprintf(format, args...)}
}

// answered is the answer of the store that an error is, or else an empty one.
func answered(err error) *StoreError {
	if e, ok := errors.AsType[*StoreError](err); ok {
		return e
	}
	return &StoreError{}
}

// answerOf returns the store's answer that an error is about, or nil.
func answerOf(err error) *http.Response {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.Response != nil {
		return response.Response.Response
	}
	return nil
}

// statusOf is the status of an answer as the store gave it: the SDK makes a 500 of a 200
// that holds an error.
func statusOf(answer *http.Response) int {
	if strings.HasPrefix(answer.Status, "2") {
		return http.StatusOK
	}
	return answer.StatusCode
}

// isNotFound reports whether the store says that there is no such object.
func isNotFound(err error) bool { return errors.Is(err, os.ErrNotExist) }

// refusesHeaders reports whether a store may have refused a request because of headers
// that it doesn't know. Some say no more than that the request is invalid.
func refusesHeaders(err error) bool {
	return answered(err).Status == http.StatusNotImplemented || refusesForm(err)
}

// refusesCondition reports whether a store refused a GET because of a condition, which
// may hold, or which the store may not know.
func refusesCondition(err error) bool {
	switch answered(err).Status {
	case http.StatusNotModified, http.StatusMethodNotAllowed, http.StatusConflict:
		return true
	}
	return errors.Is(err, errPrecondition) || refusesHeaders(err)
}

// refusesForm reports whether a store refused a request as such: for its key or
// prefix, or for what it lacks.
func refusesForm(err error) bool {
	e := answered(err)
	return e.Status == http.StatusBadRequest && len(e.is) == 0 && !retryable.code[e.Code]
}
