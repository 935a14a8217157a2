package litestreamcompat

import (
	"bytes"
	"log/slog"
	"os"
	"regexp"
	"testing"

	"github.com/benbjohnson/litestream"
	lss3 "github.com/benbjohnson/litestream/s3"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// What a URL makes of requests is the same for Litestream's client and that of
// ltxfs: where they go, how they are signed, and with which headers.
func TestRequests(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-example")
	for _, raw := range urls {
		t.Run(raw, func(t *testing.T) { requireSameRequests(t, raw) })
	}
}

// regionalEndpoint matches URLs whose endpoint names its region. This is an
// exception: Litestream signs for us-east-1 unless the URL says otherwise, which
// the strict among such stores refuse, and ltxfs for the endpoint's region.
var regionalEndpoint = regexp.MustCompile(`[?&]endpoint=(?:https?(?:://|%3A%2F%2F))?(?:s3\.)?([a-z0-9-]+)\.(?:digitaloceanspaces|backblazeb2|scw|wasabisys)\.`)

func requireSameRequests(t *testing.T, raw string) {
	t.Helper()
	theirs, err := litestream.NewReplicaClientFromURL(raw)
	require.NoError(t, err)
	want := requestsOf(t, theirs)
	require.Len(t, want, 4)
	if m := regionalEndpoint.FindStringSubmatch(raw); m != nil && theirs.(*lss3.ReplicaClient).Region == "" {
		for i := range want {
			want[i].Region = m[1]
		}
	}
	ours, err := newClient(raw)
	require.NoError(t, err)
	got := requestsOf(t, ours)
	require.NoError(t, ours.Close())
	require.Equal(t, want, got)
}

// newClient makes a client of ltxfs as the command does, of a URL and the
// environment.
func newClient(raw string) (*s3.ReplicaClient, error) {
	cfg, err := config.ParseURL(raw)
	if err != nil {
		return nil, err
	}
	if err := cfg.ApplyEnvironment(os.LookupEnv); err != nil {
		return nil, err
	}
	cfg.Layout = replica.LitestreamS3
	cfg.Retry.Attempts = 1
	cfg.Logger = slog.New(slog.DiscardHandler)
	store, err := s3.New(cfg)
	if err != nil {
		return nil, err
	}
	return s3.NewReplicaClient(store), nil
}

// requestsOf are the requests of a listing, of the uploads of a small file and of
// one that is larger than the usual part, and of a deletion.
func requestsOf(t *testing.T, c litestream.ReplicaClient) []request {
	t.Helper()
	var requests []request
	record := func(what string, which func(took []request) request) {
		t.Helper()
		took := proxy.take()
		require.NotEmpty(t, took, what)
		requests = append(requests, which(took))
	}
	last := func(took []request) request { return took[len(took)-1] }
	ctx := testContext(t)
	require.NoError(t, c.Init(ctx))
	proxy.take()
	it, err := c.LTXFiles(ctx, 0xa-1, 0, false)
	require.NoError(t, err)
	require.False(t, it.Next())
	require.NoError(t, it.Close())
	// Where there is nothing, ours may look elsewhere as well.
	record("list", func(took []request) request { return took[0] })

	small := ordersFiles(t)[0].data
	for _, data := range [][]byte{small, append(bytes.Clone(small), make([]byte, 6<<20)...)} {
		_, err = c.WriteLTXFile(ctx, 1, 2, 3, bytes.NewReader(data))
		require.Error(t, err, "the proxy stores nothing")
		record("upload", last)
	}

	err = c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: 9, MinTXID: 1, MaxTXID: 0xff}, {Level: 9, MinTXID: 1, MaxTXID: 0x100}})
	require.Error(t, err, "the proxy deletes nothing")
	record("delete", last)
	return requests
}
