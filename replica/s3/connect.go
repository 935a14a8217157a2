package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/credentials"
	"github.com/ltxfs/ltxfs/replica/s3/document"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// connect makes the SDK's client of a store, for a bucket in a region.
func (b *bucket) connect(ctx context.Context, region string) (*awss3.Client, error) {
	cfg := b.cfg
	httpClient, err := b.conns.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	sdk, found, err := b.loadSDK(ctx, httpClient, region)
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", storeError(ctx, "configure", &configError{err}))
	}
	var renew []func(*middleware.Stack) error
	if !cfg.Anonymous {
		p := credentials.New(found, func(ctx context.Context) (credentials.Found, error) {
			_, found, err := b.loadSDK(ctx, httpClient, region)
			return found, err
		}, b.log)
		sdk.Credentials = p
		renew = append(renew, p.Renew(refusesCredentials))
	}
	client := awss3.NewFromConfig(sdk, func(o *awss3.Options) {
		o.HTTPClient = b.conns.Share(sdk.HTTPClient.(*awshttp.BuildableClient)) // the SDK may have made another of it
		o.UsePathStyle = *cfg.ForcePathStyle
		o.UseARNRegion = true
		o.HTTPSignerV4 = credentials.NewSigner(o.Logger, o.ClientLogMode)
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
		// What is checked, is checked by this package, by headers that every
		// store takes: the SDK would send bodies in chunks with a trailer.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.APIOptions = append(append(o.APIOptions, awsmiddleware.AddUserAgentKey("ltxfs"), b.addMiddleware), renew...)
	})
	if endpoint := client.Options().BaseEndpoint; cfg.Endpoint == "" && endpoint != nil && !endpointInEnvironment() {
		// It changes what the replica is, and what the store needs.
		return nil, fmt.Errorf("the shared AWS configuration names the endpoint %s: give it with endpoint= as well", *endpoint)
	}
	return client, nil
}

// loadSDK reads what the SDK is configured with: environment, files, and what b is. It
// also returns the credentials with where they come from.
func (b *bucket) loadSDK(ctx context.Context, httpClient *awshttp.BuildableClient, region string) (aws.Config, credentials.Found, error) {
	cfg := b.cfg
	load := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(httpClient),
		awsconfig.WithRetryer(b.newRetryer),
		awsconfig.WithLogger(sdkLogger{b}),
		awsconfig.WithClientLogMode(debugMode(cfg.Debug)),
		credentials.WithoutMetadata(),
	}
	if region != "" {
		load = append(load, awsconfig.WithRegion(region))
	}
	if cfg.Profile != "" {
		load = append(load, awsconfig.WithSharedConfigProfile(cfg.Profile))
	}
	switch {
	case cfg.Anonymous:
		load = append(load, awsconfig.WithCredentialsProvider(aws.AnonymousCredentials{}))
	case cfg.AccessKeyID != "":
		load = append(load, awsconfig.WithCredentialsProvider(awscredentials.NewStaticCredentialsProvider(
			cfg.AccessKeyID, cfg.SecretAccessKey.Reveal(), cfg.SessionToken.Reveal())))
	}
	sdk, err := awsconfig.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return sdk, credentials.Found{}, err
	}
	if sdk.Region == "" {
		sdk.Region = config.DefaultRegion
	}
	found := credentials.Of(sdk)
	if cfg.RoleARN != "" {
		sdk.Credentials = found
		role := aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(sdk), cfg.RoleARN,
			func(o *stscreds.AssumeRoleOptions) {
				o.RoleSessionName = "ltxfs"
				if cfg.ExternalID != "" {
					o.ExternalID = &cfg.ExternalID
				}
			}))
		found = credentials.Found{CredentialsProvider: role, From: found.From.Assuming(cfg.RoleARN)}
	}
	return sdk, found, nil
}

// configError is what the SDK finds wrong with its configuration.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

// lacksCredentials is for a request that wasn't made. An answer in the chain is not the
// store's. A source that is away for a moment is no refusal of credentials.
func (e *StoreError) lacksCredentials(missing *credentials.Error) {
	e.identity = true
	if e.is = transport.Kind(missing.Cause); e.is == nil {
		e.is = []error{ErrNoCredentials}
	}
	const advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or anonymous=true for a public bucket"
	e.text = fmt.Sprintf("no usable credentials: %s gave none (%s): mend that, or %s", missing.From.Name, rootText(missing.Cause), advice)
	if missing.From.Default {
		e.text = fmt.Sprintf("no usable credentials: %s: none are set, and %s gave none (%s)", advice, missing.From.Name, rootText(missing.Cause))
	}
	if missing.From.Unread != "" {
		e.text += "; a file with some may be there: " + clip(missing.From.Unread)
	}
}

// refusesCredentials reports whether a store may have refused a request for its
// credentials. The answer to HEAD doesn't tell; AWS gives it 400 for a token that has
// expired.
func refusesCredentials(err error) bool {
	err = storeError(context.Background(), "", err)
	e := answered(err)
	return errors.Is(err, os.ErrPermission) || e.Status == http.StatusBadRequest && e.Code == "BadRequest"
}

// Probe asks for one file of the bucket, with few repetitions. It tells whether settings
// are right, in less time than Init.
func (s *Store) Probe(ctx context.Context) error {
	region, err := s.region(ctx)
	if err != nil {
		return err
	}
	client, err := s.connect(ctx, region)
	if err != nil {
		return err
	}
	var page *document.Listing
	_, err = client.ListObjectsV2(context.WithValue(ctx, listingKey{}, &page), &awss3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, MaxKeys: aws.Int32(1)},
		func(o *awss3.Options) { o.RetryMaxAttempts = 2 })
	if err != nil {
		return storeError(ctx, "ListObjectsV2", err)
	}
	if name := aws.ToString(page.Name); name != s.cfg.Bucket {
		// A server that goes by the path alone answers something else.
		return strange("ListObjectsV2", http.StatusOK, "the answer is about the bucket %q", clip(name))
	}
	return nil
}

// endpointInEnvironment reports whether the SDK has an endpoint from where
// ApplyEnvironment takes it as well.
func endpointInEnvironment() bool {
	return os.Getenv("AWS_ENDPOINT_URL_S3") != "" || os.Getenv("AWS_ENDPOINT_URL") != ""
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
type sdkLogger struct{ bucket *bucket }

// Logf implements logging.Logger.
func (l sdkLogger) Logf(class logging.Classification, format string, args ...any) {
	level := slog.LevelDebug
	if class == logging.Warn {
		level = slog.LevelWarn
	}
	l.bucket.log().Log(context.Background(), level, "aws sdk", "text", redact(fmt.Sprintf(format, args...)))
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
