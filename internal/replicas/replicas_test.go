package replicas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// key is a secret.
const key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="

// mount is what a command line of ltxfs mount makes, with a key in the environment.
func mount(t *testing.T, args ...string) *settings.Mount {
	t.Helper()
	env := map[string]string{"LTXFS_S3_ACCESS_KEY_ID": "key", "LTXFS_S3_SECRET_ACCESS_KEY": key}
	m := settings.New()
	flags := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	m.Define(flags)
	require.NoError(t, flags.Parse(append(args, "/mnt")))
	require.NoError(t, m.Parse(flags, flags.Arg(0), flags.Arg(1), func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}))
	return m
}

func requireCode(t *testing.T, want exitcode.Code, err error, texts ...string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want.String(), exitcode.Of(err).String(), err.Error())
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
}

func TestOpenOnDisk(t *testing.T) {
	root := t.TempDir()
	for _, tt := range []struct {
		flags    []string
		local    bool
		requests int
	}{
		{nil, true, 0},
		{[]string{"--max-requests=3", "--limit-write=1MiB"}, true, 3},
		{[]string{"--limit-read=1MiB"}, false, 0},
	} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		m := mount(t, append(tt.flags, root)...)
		opener := NewOpener(m)
		o, err := opener.Open(t.Context(), &m.Source, log)
		require.NoError(t, err)
		opener.LogRequests(log)
		require.Empty(t, out.String(), "nothing was asked yet")
		require.Equal(t, replica.LitestreamFile, o.Layout)
		require.Equal(t, file.Type, o.Store.Type())
		require.Equal(t, time.Second, o.Store.Properties().Freshness)
		require.Zero(t, o.Store.Properties().Settle)
		require.Equal(t, tt.requests, o.Store.Properties().Requests)
		_, err = o.Store.OpenLocal(t.Context(), replica.File{Name: replica.Name{MinTXID: 1, MaxTXID: 1}})
		require.Error(t, err, "there is no such file")
		require.Equal(t, !tt.local, errors.Is(err, errors.ErrUnsupported), "with a limit on reading, the kernel must not read past it: %v", err)
		for range o.Store.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
			t.Fatal("a file in an empty replica")
		}
		opener.LogRequests(log)
		require.Contains(t, out.String(), "requests.list.count=1")
		require.NoError(t, opener.Close())
	}
	missing := filepath.Join(root, "none")
	_, err := open(t.Context(), mount(t, missing))
	requireCode(t, exitcode.NoReplica, err, "open replica "+missing)
}

func open(ctx context.Context, m *settings.Mount) (*Opened, error) {
	return NewOpener(m).Open(ctx, &m.Source, slog.New(slog.DiscardHandler))
}

// What suits S3, and what the user says otherwise.
func TestPropertiesOfS3(t *testing.T) {
	for url, requests := range map[string]int{"s3://bucket/path": 64, "s3://bucket/path?maxConnections=200": 64, "s3://bucket/path?maxConnections=13": 13} {
		s, err := s3.New(*mount(t, url).Source.S3)
		require.NoError(t, err)
		p := s.Properties()
		require.NotNil(t, p.NewDigest)
		p.NewDigest = nil // functions don't compare
		require.Equal(t, replica.Properties{Freshness: 5 * time.Second, Settle: 2 * time.Second, Requests: requests}, p)
		require.NoError(t, s.Close())
	}
	require.Equal(t, replica.Properties{Freshness: time.Second, Local: true}, file.New("/srv/r", replica.Layout{}).Properties())
}

func TestExplain(t *testing.T) {
	// What is asked for proof, nobody answers.
	source := &mount(t, "s3://bucket/path?endpoint=http://127.0.0.1:1").Source
	for _, tt := range []struct {
		err  error
		code exitcode.Code
		says string
	}{
		{s3.ErrNoSuchBucket, exitcode.NoReplica, "no such bucket"},
		{s3.ErrNoCredentials, exitcode.Permission, "no credentials"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 403, Code: "InvalidAccessKeyId"}, exitcode.Permission, "check the access key's ID"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 403, Code: "SignatureDoesNotMatch"}, exitcode.Permission, "check the secret"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 400, Code: "ExpiredToken"}, exitcode.Permission, "new credentials"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 403, Code: "RequestTimeTooSkewed"}, exitcode.Permission, "clock"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 301, Code: "PermanentRedirect"}, exitcode.NoReplica, ""},
		{fmt.Errorf("x: %w", os.ErrPermission), exitcode.Permission, "s3:ListBucket"},
		{fmt.Errorf("x: %w", replica.ErrMixedLayouts), exitcode.NoReplica, "two layouts"},
		{transport.ErrNoSuchHost, exitcode.NoReplica, "check the endpoint, the bucket's name"},
		{fmt.Errorf("%w, after: %w", context.DeadlineExceeded, transport.ErrUnreachable), exitcode.NoReplica, "that the store runs"},
		{transport.ErrUntrusted, exitcode.NoReplica, "AWS_CA_BUNDLE"},
		{fmt.Errorf("x: %w", replica.ErrLitestream03), exitcode.NoReplica, "Litestream 0.3"},
		{fmt.Errorf("x509: certificate is valid for a, not b: %w", transport.ErrTLS), exitcode.NoReplica, "the host in the endpoint"},
		{transport.ErrNoTLS, exitcode.NoReplica, "http://"},
		{fmt.Errorf("%w, after: %w", context.DeadlineExceeded, transport.ErrProxy), exitcode.NoReplica, "NO_PROXY"},
		{s3.ErrPathStyle, exitcode.NoReplica, "forcePathStyle=false"},
		{s3.ErrNoSuchProfile, exitcode.Usage, "the profile's name"},
		{s3.ErrConfiguration, exitcode.Usage, "variables"},
		{context.DeadlineExceeded, exitcode.Timeout, "the network"},
		// Words alone are no cause.
		{errors.New("lookup nohost: no such host"), exitcode.NoReplica, "check the URL"},
		{errors.New("teapot"), exitcode.NoReplica, "check the URL"},
		{fmt.Errorf("replica %s: teapot", source.Name()), exitcode.NoReplica, "check the URL"},
	} {
		err := explain(t.Context(), source, tt.err)
		requireCode(t, tt.code, err, tt.says, "open replica "+source.Name()+": ")
		require.Equal(t, 1, strings.Count(err.Error(), source.Name()))
		require.ErrorIs(t, err, tt.err)
	}
	for _, tt := range []struct {
		err  error
		code exitcode.Code
		says string
	}{
		{os.ErrPermission, exitcode.Permission, "run ltxfs as a user who may read it"},
		{context.DeadlineExceeded, exitcode.Timeout, "check the file system"},
		{replica.ErrMixedLayouts, exitcode.NoReplica, "two layouts"},
		{errors.New("replica /srv/r: teapot"), exitcode.NoReplica, "--layout"},
	} {
		err := explain(t.Context(), &settings.Source{Path: "/srv/r"}, tt.err)
		requireCode(t, tt.code, err, tt.says, "open replica /srv/r: ")
		require.Equal(t, 1, strings.Count(err.Error(), "/srv/r"))
	}
	ctx, interrupt := context.WithCancelCause(context.Background())
	interrupt(errors.New("interrupted by a signal"))
	err := explain(ctx, source, context.Canceled)
	requireCode(t, exitcode.Failure, err, "open replica "+source.Name()+": interrupted by a signal")
}

// A store that nobody runs is an error that says so, within the deadline.
func TestOpenUnreachable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := open(ctx, mount(t, "s3://bucket/path?endpoint=http://127.0.0.1:1"))
	requireCode(t, exitcode.NoReplica, err, "connection refused", "that the store runs")
	require.NotContains(t, err.Error(), key)
}

// What New of the store finds wrong is the command line's.
func TestOpenWrong(t *testing.T) {
	_, err := open(t.Context(), mount(t, "s3://bucket/path?caFile=/no/such/file"))
	requireCode(t, exitcode.Usage, err, "open replica s3://bucket/path: ", "/no/such/file")
}
