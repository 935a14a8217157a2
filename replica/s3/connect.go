package s3

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// connect makes the SDK's client of a store, for a bucket in a region.
func (b *bucket) connect(ctx context.Context, region string) (*awss3.Client, error) {
	cfg := b.cfg
	httpClient, err := newHTTPClient(cfg, b.conns)
	if err != nil {
		return nil, err
	}
	load := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(httpClient),
		awsconfig.WithRetryer(b.newRetryer),
		awsconfig.WithLogger(sdkLogger{b}),
		awsconfig.WithClientLogMode(debugMode(cfg.Debug)),
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
		load = append(load, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(
			cfg.AccessKeyID, cfg.SecretAccessKey.Reveal(), cfg.SessionToken.Reveal())))
	}
	sdk, err := awsconfig.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", storeError(ctx, "configure", err))
	}
	if sdk.Region == "" {
		sdk.Region = config.DefaultRegion
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
		o.UsePathStyle = *cfg.ForcePathStyle
		o.UseARNRegion = true
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
		// What is checked, is checked by this package, by headers that every
		// store takes: the SDK would send bodies in chunks with a trailer.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.APIOptions = append(o.APIOptions, awsmiddleware.AddUserAgentKey("ltxfs"), b.addMiddleware)
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
