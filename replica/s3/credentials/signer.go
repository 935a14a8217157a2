package credentials

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/logging"
)

// Signer signs requests to S3 as the SDK's own does. That one knows a secret by the ID of
// its access key: if the secret alone is replaced, it signs with the old one until midnight.
type Signer struct{ options v4.SignerOptions }

// NewSigner returns a Signer that logs what it signs if the mode says so.
func NewSigner(logger logging.Logger, mode aws.ClientLogMode) *Signer {
	return &Signer{v4.SignerOptions{Logger: logger, LogSigning: mode.IsSigning(), DisableURIPathEscaping: true}}
}

// SignHTTP is as that of v4.Signer.
func (s *Signer) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	return v4.NewSigner(func(o *v4.SignerOptions) { *o = s.options }).SignHTTP(ctx, c, r, payloadHash, service, region, at, opts...)
}
