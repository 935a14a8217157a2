package credentials

import (
	"cmp"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Source is where credentials come from.
type Source struct {
	// Name is what a user knows it by. It holds no secret: of a command it is the
	// program, of a URL the host.
	Name string

	// Default means that the SDK has found none configured: it is the end of its chain.
	Default bool

	// Unread says why a file wasn't read that may have some; "" is none. The SDK passes
	// over such files.
	Unread string
}

// The addresses that the SDK has for what the environment doesn't give.
const (
	instanceAddress  = "http://169.254.169.254"
	containerAddress = "http://169.254.170.2"
)

// WithoutMetadata keeps the SDK from asking the metadata service, which may hang, while it
// reads its configuration. With AWS_DEFAULTS_MODE=auto it would, for what ltxfs sets itself.
func WithoutMetadata() config.LoadOptionsFunc { return config.WithDefaultsMode(aws.DefaultsModeLegacy) }

// Of is what the SDK has chosen.
func Of(sdk aws.Config) Found {
	var env config.EnvConfig
	var profile config.SharedConfig
	for _, c := range sdk.ConfigSources {
		switch c := c.(type) {
		case config.EnvConfig:
			env = c
		case config.SharedConfig:
			profile = c
		}
	}
	configured, role := profile, profile.RoleARN
	for profile.Source != nil {
		profile = *profile.Source
	}
	var chosen []aws.CredentialSource
	if p, ok := sdk.Credentials.(aws.CredentialProviderSource); ok {
		chosen = p.ProviderSources()
	}
	has := func(sources ...aws.CredentialSource) bool {
		return slices.ContainsFunc(sources, func(s aws.CredentialSource) bool { return slices.Contains(chosen, s) })
	}
	found, s := Found{CredentialsProvider: sdk.Credentials}, Source{}
	of := " of profile " + profile.Profile
	switch {
	case has(aws.CredentialSourceProcess):
		s.Name = strings.TrimSuffix("the credential_process "+program(profile.CredentialProcess), " ") + of
		found.CredentialsProvider = assume(sdk, &configured, aws.NewCredentialsCache(newProcess(profile.CredentialProcess)))
	case has(aws.CredentialSourceHTTP):
		s.Name = "the container's endpoint " + address(env.ContainerCredentialsEndpoint, containerAddress)
	case has(aws.CredentialSourceIMDS):
		s.Name = "the instance metadata service " + address(env.EC2IMDSEndpoint, instanceAddress)
		s.Default = profile.CredentialSource == ""
		s.Unread = unread(env)
	case has(aws.CredentialSourceSSO, aws.CredentialSourceSSOLegacy):
		s.Name = "the SSO session" + of
	case has(aws.CredentialSourceLogin):
		s.Name = "the login session" + of
	case has(aws.CredentialSourceEnvVarsSTSWebIDToken):
		s.Name, role = "the web identity token "+env.WebIdentityTokenFilePath, env.RoleARN
	case has(aws.CredentialSourceProfileSTSWebIDToken):
		s.Name = "the web identity token " + profile.WebIdentityTokenFile
	case has(aws.CredentialSourceProfile, aws.CredentialSourceProfileSourceProfile):
		s.Name = "the access key" + of
	default:
		s.Name = "the access key"
	}
	found.From = s.Assuming(role)
	return found
}

// assume has first assume the roles of a profile and its sources, as the SDK does.
func assume(sdk aws.Config, profile *config.SharedConfig, first aws.CredentialsProvider) aws.CredentialsProvider {
	sdk.Credentials = first
	if profile.Source != nil {
		sdk.Credentials = assume(sdk, profile.Source, first)
	}
	if profile.RoleARN == "" {
		return sdk.Credentials
	}
	return aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(sdk), profile.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = profile.RoleSessionName
		if profile.ExternalID != "" {
			o.ExternalID = &profile.ExternalID
		}
		if profile.RoleDurationSeconds != nil {
			o.Duration = *profile.RoleDurationSeconds
		}
	}))
}

// Assuming is s with a role that is assumed by its credentials; "" is none.
func (s Source) Assuming(role string) Source {
	if role != "" {
		s.Name += " for role " + role
	}
	return s
}

// unread tries the files that the SDK reads.
func unread(env config.EnvConfig) string {
	for _, name := range []string{
		cmp.Or(env.SharedCredentialsFile, config.DefaultSharedCredentialsFilename()), cmp.Or(env.SharedConfigFile, config.DefaultSharedConfigFilename()),
	} {
		f, err := os.Open(name)
		if err == nil {
			_ = f.Close() // nothing was read
		} else if !errors.Is(err, os.ErrNotExist) {
			return err.Error()
		}
	}
	return ""
}

// programRegex finds the program of a shell's command, behind what it sets in its
// environment. It finds none where the shell replaces or joins something.
var programRegex = regexp.MustCompile(
	`^\s*(?:\w+=(?:"[^"\\$\x60]*"|'[^']*'|[^\s"'\\$\x60()]*)*\s+)*(?:"([^"=\\$\x60]+)"|'([^'=]+)'|([\w./@:+-]+))(?:\s|$)`)

// program is the program of a command, without its directory, assignments to its
// environment and arguments, all of which may be nobody else's business. It is "" for a
// command that isn't so simple.
func program(command string) string {
	found := programRegex.FindStringSubmatch(command)
	if found == nil {
		return ""
	}
	return filepath.Base(strings.Join(found[1:], ""))
}

// address is the host of a URL, and how it is spoken to.
func address(raw, def string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return def
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}
