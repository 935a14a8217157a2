package credentials

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/stretchr/testify/require"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// impatient shortens what a test waits for.
func impatient(t *testing.T, d time.Duration) {
	t.Helper()
	was := patience
	patience = d
	t.Cleanup(func() { patience = was })
}

// always gives the same credentials, or the same error.
func always(key string, err error) Found {
	return Found{From: Source{Name: "the test"}, CredentialsProvider: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: key, SecretAccessKey: "secret"}, err
	})}
}

// files makes the SDK read these, and nothing of the machine's.
func files(t *testing.T, profiles, keys string) (keysFile string) {
	t.Helper()
	dir := t.TempDir()
	keysFile = filepath.Join(dir, "credentials")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config"), []byte(profiles), 0o600))
	require.NoError(t, os.WriteFile(keysFile, []byte(keys), 0o600))
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", keysFile)
	return keysFile
}

func load(t *testing.T, profile string) Found {
	t.Helper()
	sdk, err := config.LoadDefaultConfig(t.Context(), config.WithSharedConfigProfile(profile), config.WithRegion("us-east-1"), WithoutMetadata(),
		config.WithRetryer(func() aws.Retryer {
			return retry.AddWithMaxBackoffDelay(retry.NewStandard(), time.Millisecond)
		}))
	require.NoError(t, err)
	return Of(sdk)
}

// A source is named by what a user can find, and by no secret.
func TestSourceNames(t *testing.T) {
	files(t, `
[profile process]
credential_process = TOKEN=hunter2 "/opt/vault" get hunter2
[profile unnamed]
credential_process = TOKEN=$(echo hunter2) vault
[profile process-role]
source_profile = process
role_arn = arn:aws:iam::123456789012:role/r
[profile web]
web_identity_token_file = /run/token
role_arn = arn:aws:iam::123456789012:role/r
[profile sso]
sso_session = corporate
sso_account_id = 123456789012
sso_role_name = admin
[sso-session corporate]
sso_region = us-east-1
sso_start_url = https://sso.example/start
[profile instance]
credential_source = Ec2InstanceMetadata
role_arn = arn:aws:iam::123456789012:role/r
`, "[keys]\naws_access_key_id = id\naws_secret_access_key = hunter2\n")
	const role = " for role arn:aws:iam::123456789012:role/r"
	for _, tt := range []struct {
		profile string
		env     map[string]string
		want    Source
	}{
		{"process", nil, Source{Name: "the credential_process vault of profile process"}},
		{"unnamed", nil, Source{Name: "the credential_process of profile unnamed"}},
		{"process-role", nil, Source{Name: "the credential_process vault of profile process" + role}},
		{"web", nil, Source{Name: "the web identity token /run/token" + role}},
		{"sso", nil, Source{Name: "the SSO session of profile sso"}},
		{"instance", nil, Source{Name: "the instance metadata service http://169.254.169.254" + role}},
		{"keys", nil, Source{Name: "the access key of profile keys"}},
		{"", nil, Source{Name: "the instance metadata service http://169.254.169.254", Default: true}},
		{"", map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:81/hunter2"}, Source{Name: "the instance metadata service http://127.0.0.1:81", Default: true}},
		{"", map[string]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/hunter2"}, Source{Name: "the container's endpoint http://169.254.170.2"}},
		{"", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://user:hunter2@127.0.0.1:80/hunter2"}, Source{Name: "the container's endpoint http://127.0.0.1:80"}},
		{"", map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hunter2"}, Source{Name: "the access key"}},
		{"", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r"}, Source{Name: "the web identity token /run/token" + role}},
	} {
		t.Run(tt.want.Name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			require.Equal(t, tt.want, load(t, tt.profile).From)
		})
	}
}

// A command's program is shown, and nothing else of it, however it is quoted.
func TestProgram(t *testing.T) {
	for command, want := range map[string]string{
		"/opt/vault get hunter2":            "vault",
		"  vault":                           "vault",
		`"/opt/My Vault/get it" hunter2`:    "get it",
		`'/opt/My Vault/get it' hunter2`:    "get it",
		`A=1 TOKEN=hunter2 /opt/vault`:      "vault",
		`TOKEN="a hunter2" /opt/vault`:      "vault",
		`TOKEN='a hunter2'b"c d" 'vault' x`: "vault",
		`TOKEN=hunter2`:                     "",
		`TOKEN=`:                            "",
		`TOKEN="a\" hunter2" vault`:         "",
		`TOKEN=a\ hunter2 vault`:            "",
		`TOKEN="$(echo "a hunter2")" vault`: "",
		`TOKEN=$(echo hunter2 ) vault`:      "",
		"TOKEN=`echo hunter2 ` vault":       "",
		`$HOME/vault hunter2`:               "",
		`(TOKEN=hunter2; vault)`:            "",
		`vault;hunter2`:                     "",
		``:                                  "",
	} {
		require.Equal(t, want, program(command), command)
	}
}

// A file that can't be read may be the one with the key.
func TestSourceUnread(t *testing.T) {
	file := files(t, "", "")
	require.Empty(t, load(t, "").From.Unread)
	require.NoError(t, os.Remove(file))
	require.Empty(t, load(t, "").From.Unread)
	require.NoError(t, os.Symlink(file, file))
	require.Contains(t, load(t, "").From.Unread, file+": too many levels of symbolic links")
}

// The end of the caller's context is no fault of the source's.
func TestRetrieveEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := New(always("", ctx.Err()), nil, discard)
	_, err := p.Retrieve(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, blamed := errors.AsType[*Error](err)
	require.False(t, blamed)
	require.False(t, p.failed.Load())
}

// After a failure, the source is looked for anew: its configuration may be mended.
func TestRetrieveAfterFailure(t *testing.T) {
	p := New(always("", errors.New("exit status 1")), func(context.Context) (Found, error) { return always("mended", nil), nil }, discard)
	_, err := p.Retrieve(t.Context())
	require.ErrorContains(t, err, "no credentials from the test")
	got, err := p.Retrieve(t.Context())
	require.NoError(t, err)
	require.Equal(t, "mended", got.AccessKeyID)
}

func renews(p *Provider, ctx context.Context, used aws.Credentials) bool {
	renewed, _ := p.renew(ctx, used)
	return renewed
}

// Refused credentials are replaced by others, and by nothing else. The source isn't
// asked for each refusal.
func TestRenew(t *testing.T) {
	var finds atomic.Int32
	next, nextErr := always("old", nil), error(nil)
	p := New(always("old", nil), func(context.Context) (Found, error) {
		finds.Add(1)
		return next, nextErr
	}, discard)
	used, err := p.Retrieve(t.Context())
	require.NoError(t, err)
	for range 100 {
		require.False(t, renews(p, t.Context(), used), "the same")
	}
	require.Equal(t, int32(1), finds.Load())

	require.WithinDuration(t, time.Now(), p.next, 2*pause)
	for _, then := range []struct {
		found Found
		err   error
		want  bool
	}{
		{always("new", nil), errors.New("half a file"), false},
		{always("", errors.New("exit status 1")), nil, false},
		{always("new", nil), nil, true},
	} {
		p.next = time.Time{}
		next, nextErr = then.found, then.err
		require.Equal(t, then.want, renews(p, t.Context(), used))
	}
	require.WithinDuration(t, time.Now(), p.next, 2*pause)
	got, err := p.Retrieve(t.Context())
	require.NoError(t, err)
	require.Equal(t, "new", got.AccessKeyID)
	before := finds.Load()
	require.True(t, renews(p, t.Context(), used), "another request has renewed them")
	require.Equal(t, before, finds.Load())

	// Temporary ones are others each time, and a policy may refuse them all.
	p.next = time.Time{}
	next = Found{CredentialsProvider: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: rand.Text(), SecretAccessKey: "secret", CanExpire: true, Expires: time.Now().Add(time.Hour)}, nil
	})}
	require.True(t, renews(p, t.Context(), got))
	require.WithinDuration(t, time.Now().Add(pauseTemporary), p.askNext, pause)

	// Nobody waits for another's renewal past the end of the context.
	p.renewing <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, renews(p, ctx, got))
}
