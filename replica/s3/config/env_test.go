package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// environment is a process's environment.
type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

func TestApplyEnvironmentCredentials(t *testing.T) {
	type keys struct{ id, secret, token string }
	full := environment{
		"LTXFS_S3_ACCESS_KEY_ID": "LTXFS", "LTXFS_S3_SECRET_ACCESS_KEY": "ltxfs", "LTXFS_S3_SESSION_TOKEN": "ltxfs-token",
		"LITESTREAM_ACCESS_KEY_ID": "LS", "LITESTREAM_SECRET_ACCESS_KEY": "ls",
	}
	for _, tt := range []struct {
		name string
		c    Config
		env  environment
		want keys
	}{
		{"none", Config{}, environment{}, keys{}},
		{"ltxfs's own win", Config{}, full, keys{"LTXFS", "ltxfs", "ltxfs-token"}},
		{"the configuration's win", Config{AccessKeyID: "YML", SecretAccessKey: "yml"}, full, keys{"YML", "yml", ""}},
		{"a secret for the configuration's key", Config{AccessKeyID: "YML"}, full, keys{"YML", "ltxfs", ""}},
		{"none for a profile", Config{Profile: "p"}, full, keys{}},
		{"none for anonymous access", Config{Anonymous: true}, full, keys{}},
		{"litestream's", Config{}, environment{"LITESTREAM_ACCESS_KEY_ID": "LS", "LITESTREAM_SECRET_ACCESS_KEY": "ls"}, keys{"LS", "ls", ""}},
		{"litestream's with a token", Config{}, environment{
			"LITESTREAM_ACCESS_KEY_ID": "LS", "LITESTREAM_SECRET_ACCESS_KEY": "ls", "AWS_SESSION_TOKEN": "t",
		}, keys{"LS", "ls", "t"}},
		{"the SDK reads its own", Config{}, environment{"AWS_ACCESS_KEY_ID": "AWS", "AWS_SECRET_ACCESS_KEY": "aws"}, keys{}},
		{"the SDK's win over litestream's", Config{}, environment{
			"AWS_ACCESS_KEY_ID": "AWS", "AWS_SECRET_ACCESS_KEY": "aws", "LITESTREAM_ACCESS_KEY_ID": "LS", "LITESTREAM_SECRET_ACCESS_KEY": "ls",
		}, keys{}},
		{"each for itself", Config{}, environment{
			"AWS_ACCESS_KEY_ID": "AWS", "LITESTREAM_ACCESS_KEY_ID": "LS", "LITESTREAM_SECRET_ACCESS_KEY": "ls",
		}, keys{"AWS", "ls", ""}},
		{"an empty one is not set", Config{}, environment{
			"AWS_ACCESS_KEY_ID": "", "LITESTREAM_ACCESS_KEY_ID": "LS", "LITESTREAM_SECRET_ACCESS_KEY": "ls", "LTXFS_S3_ACCESS_KEY_ID": "",
		}, keys{"LS", "ls", ""}},
		{"a profile of the environment beats litestream's", Config{}, environment{
			"LTXFS_S3_PROFILE": "p", "LITESTREAM_ACCESS_KEY_ID": "LS", "LITESTREAM_SECRET_ACCESS_KEY": "ls",
		}, keys{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c
			require.NoError(t, c.ApplyEnvironment(tt.env.lookup))
			require.Equal(t, tt.want, keys{c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal()})
		})
	}
}

func TestApplyEnvironmentErrors(t *testing.T) {
	for _, tt := range []struct {
		env  environment
		want string
	}{
		{environment{"LTXFS_S3_PART_SIZE": "1MiB"}, "LTXFS_S3_PART_SIZE: 1048576 bytes"},
		{environment{"LTXFS_S3_SSE_CUSTOMER_KEY": "hunter2"}, "LTXFS_S3_SSE_CUSTOMER_KEY: it isn't base64"},
		{environment{"LTXFS_S3_SKIP_VERIFY": "maybe"}, `LTXFS_S3_SKIP_VERIFY: "maybe" is neither`},
		{environment{"LTXFS_S3_DEBUG": "everything"}, `LTXFS_S3_DEBUG: "everything" is none of signing, request`},
		{environment{"LITESTREAM_ACCESS_KEY_ID": "hunter2"}, "set LITESTREAM_SECRET_ACCESS_KEY as well"},
		{environment{"LITESTREAM_SECRET_ACCESS_KEY": "hunter2"}, "set LITESTREAM_ACCESS_KEY_ID as well"},
		{environment{"LITESTREAM_ACCESS_KEY_ID": "hunter2\n", "LITESTREAM_SECRET_ACCESS_KEY": "x"}, "LITESTREAM_ACCESS_KEY_ID: a blank"},
		{environment{"LITESTREAM_ACCESS_KEY_ID": "x", "LITESTREAM_SECRET_ACCESS_KEY": "hunter2 "}, "LITESTREAM_SECRET_ACCESS_KEY: a blank"},
		{environment{"LITESTREAM_ACCESS_KEY_ID": "x", "LITESTREAM_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "hunter2 "}, "AWS_SESSION_TOKEN: a blank"},
		{environment{"LITESTREAM_S3_ENDPOINT": "http://k:hunter2@host"}, "LITESTREAM_S3_ENDPOINT: credentials"},
		{environment{"AWS_ENDPOINT_URL": "ftp://hunter2"}, "AWS_ENDPOINT_URL: its scheme"},
	} {
		var c Config
		err := c.ApplyEnvironment(tt.env.lookup)
		require.ErrorContains(t, err, tt.want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestApplyEnvironmentEndpoint(t *testing.T) {
	all := environment{
		"LTXFS_S3_ENDPOINT": "localhost:1", "LITESTREAM_S3_ENDPOINT": "localhost:2",
		"AWS_ENDPOINT_URL_S3": "http://localhost:3", "AWS_ENDPOINT_URL": "http://localhost:4",
	}
	for _, tt := range []struct {
		name    string
		c       Config
		except  string
		without []string
		with    environment
		want    string
	}{
		{"given", Config{Endpoint: "https://mine"}, "", nil, nil, "https://mine"},
		{"ltxfs's", Config{}, "", nil, nil, "http://localhost:1"},
		{"litestream's", Config{}, "", []string{"LTXFS_S3_ENDPOINT"}, nil, "http://localhost:2"},
		{"not litestream's beside its file", Config{}, "LITESTREAM_S3_ENDPOINT", []string{"LTXFS_S3_ENDPOINT"}, nil, "http://localhost:3"},
		{"ltxfs's beside litestream's file", Config{}, "LITESTREAM_S3_ENDPOINT", nil, nil, "http://localhost:1"},
		{"the SDK's", Config{}, "", []string{"LTXFS_S3_ENDPOINT", "LITESTREAM_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3"}, nil, "http://localhost:4"},
		{"none of the SDK's", Config{}, "", []string{"LTXFS_S3_ENDPOINT", "LITESTREAM_S3_ENDPOINT"}, environment{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := environment{}
			for name, value := range all {
				env[name] = value
			}
			for _, name := range tt.without {
				delete(env, name)
			}
			for name, value := range tt.with {
				env[name] = value
			}
			c := tt.c
			require.NoError(t, c.ApplyEnvironment(env.lookup, tt.except))
			require.Equal(t, tt.want, c.Endpoint)
		})
	}
}

func TestApplyEnvironmentDebug(t *testing.T) {
	for _, tt := range []struct{ given, ltxfs, litestream, want string }{
		{"", "", "", ""},
		{"", "", "signing, Request-With-Body,request,response-with-body,retries", "signing,request,response,retries"},
		{"", "", "all,,nonsense", "all"},
		{"", "Retries", "all", "retries"},
		{"signing", "retries", "all", "signing"},
	} {
		c := Config{Debug: tt.given}
		require.NoError(t, c.ApplyEnvironment(environment{"LTXFS_S3_DEBUG": tt.ltxfs, "LITESTREAM_S3_DEBUG": tt.litestream}.lookup))
		require.Equal(t, tt.want, c.Debug)
	}
}
