package s3

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// defaultRegion is for stores that have none, and for asking AWS for a bucket's.
const defaultRegion = "us-east-1"

// connect makes the SDK's client of a store, for a bucket in a region.
func (c *ReplicaClient) connect(ctx context.Context, region string) (*awss3.Client, error) {
	cfg := c.cfg
	httpClient, err := newHTTPClient(cfg, c.conns)
	if err != nil {
		return nil, err
	}
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(httpClient),
		config.WithRetryer(c.newRetryer),
		config.WithLogger(sdkLogger{c}),
		config.WithClientLogMode(debugMode(cfg.Debug)),
	}
	if region != "" {
		load = append(load, config.WithRegion(region))
	}
	if cfg.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(cfg.Profile))
	}
	switch {
	case cfg.Anonymous:
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	case cfg.AccessKeyID != "":
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(
			cfg.AccessKeyID, cfg.SecretAccessKey.Reveal(), cfg.SessionToken.Reveal())))
	}
	sdk, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", storeError(ctx, "configure", err))
	}
	if sdk.Region == "" {
		sdk.Region = defaultRegion
	}
	if cfg.RoleARN != "" {
		sdk.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(sdk), cfg.RoleARN,
			func(o *stscreds.AssumeRoleOptions) {
				o.RoleSessionName = "ltxfs"
				if cfg.ExternalID != "" {
					o.ExternalID = &cfg.ExternalID
				}
			}))
	}
	client := awss3.NewFromConfig(sdk, func(o *awss3.Options) {
		o.UsePathStyle = isTrue(cfg.ForcePathStyle)
		o.UseARNRegion = true
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
		// What is checked, is checked by this package, by headers that every
		// store takes: the SDK would send bodies in chunks with a trailer.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.APIOptions = append(o.APIOptions, awsmiddleware.AddUserAgentKey("ltxfs"), c.addMiddleware)
	})
	if endpoint := client.Options().BaseEndpoint; cfg.Endpoint == "" && endpoint != nil && !endpointInEnvironment() {
		// It changes what the replica is, and what the store needs.
		return nil, fmt.Errorf("the shared AWS configuration names the endpoint %s: give it with endpoint= as well", *endpoint)
	}
	return client, nil
}

// endpointInEnvironment reports whether the SDK has an endpoint from where
// ApplyEnvironment takes it as well.
func endpointInEnvironment() bool {
	return os.Getenv("AWS_ENDPOINT_URL_S3") != "" || os.Getenv("AWS_ENDPOINT_URL") != ""
}

// patiently makes a request over a connection of its own, on which the store may
// be silent for long.
func (c *ReplicaClient) patiently(o *awss3.Options) {
	if client, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
		o.HTTPClient = client.WithTransportOptions(func(tr *http.Transport) {
			tr.DialContext = c.patient.dial
			tr.DisableKeepAlives = true
		})
	}
}

// addMiddleware changes requests into what the store takes.
func (c *ReplicaClient) addMiddleware(stack *middleware.Stack) error {
	cfg := c.cfg
	if err := rememberAttempts(stack); err != nil {
		return err
	}
	if err := capAnswers(stack); err != nil {
		return err
	}
	if cfg.ConsistentReads {
		if err := smithyhttp.AddHeaderValue("X-Tigris-Consistent", "true")(stack); err != nil {
			return err
		}
	}
	if !isTrue(cfg.SignAcceptEncoding) {
		// Some gateways change the header, which breaks a signature over it.
		err := stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("UnsignedAcceptEncoding",
			func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				if req, ok := in.Request.(*smithyhttp.Request); ok {
					req.Header.Del("Accept-Encoding")
				}
				return next.HandleFinalize(ctx, in)
			}), "Signing", middleware.Before)
		if err != nil {
			return err
		}
	}
	if !isTrue(cfg.SignPayload) {
		if err := unsignedPayload(stack); err != nil {
			return err
		}
	}
	return nil
}

// unsignedPayload leaves bodies out of the signature.
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
// protocol wants: Content-MD5, and the newer header, which some stores refuse.
func (c *ReplicaClient) deleteChecksum(o *awss3.Options) {
	if isTrue(c.cfg.RequireContentMD5) || c.refusesChecksums.Load() || c.wantsMD5.Load() {
		o.APIOptions = append(o.APIOptions, smithyhttp.AddContentChecksumMiddleware)
	}
	if c.refusesChecksums.Load() {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			// An operation without them needs nothing removed.
			_, _ = stack.Initialize.Remove("AWSChecksum:SetupInputContext")
			_, _ = stack.Finalize.Remove("AWSChecksum:ComputeInputPayloadChecksum")
			return nil
		})
	}
}

// debugModes are the parts of LITESTREAM_S3_DEBUG. None of them logs a body.
var debugModes = map[string]aws.ClientLogMode{
	"signing":  aws.LogSigning,
	"request":  aws.LogRequest,
	"response": aws.LogResponse,
	"retries":  aws.LogRetries,
	"all":      aws.LogRequest | aws.LogResponse | aws.LogRetries,
}

func debugMode(debug string) aws.ClientLogMode {
	var mode aws.ClientLogMode
	for part := range strings.SplitSeq(debug, ",") {
		mode |= debugModes[strings.TrimSpace(part)]
	}
	return mode
}

// secretHeaders are what the SDK's log would show.
var secretHeaders = []string{
	"authorization:", "x-amz-security-token:", "x-amz-server-side-encryption-customer-key:",
	"x-amz-copy-source-server-side-encryption-customer-key:",
	"x-aws-ec2-metadata-token:", "x-amz-sso_bearer_token:",
}

// sdkLogger passes on what the SDK logs, without secrets.
type sdkLogger struct{ client *ReplicaClient }

// Logf implements logging.Logger.
func (l sdkLogger) Logf(class logging.Classification, format string, args ...any) {
	level := slog.LevelDebug
	if class == logging.Warn {
		level = slog.LevelWarn
	}
	l.client.log().Log(context.Background(), level, "aws sdk", "text", redact(fmt.Sprintf(format, args...)))
}

// redact takes the values of secret headers out of a dump of a request.
func redact(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lower := strings.ToLower(line)
		for _, header := range secretHeaders {
			if strings.HasPrefix(lower, header) {
				lines[i] = line[:len(header)] + " (secret)"
			}
		}
	}
	return strings.Join(lines, "\n")
}

func isTrue(b *bool) bool { return b != nil && *b }
