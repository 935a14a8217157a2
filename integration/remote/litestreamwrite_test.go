package remote

import (
	"bytes"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// throughMount is how long Litestream replicates through a mount.
const throughMount = 60 * time.Second

// mountRun is a database that Litestream replicates into a mount of a replica in
// S3.
type mountRun struct {
	name      string
	server    *s3test.Server
	bucket    string
	staging   string
	mount     *ltxfstest.Mounted
	source    *ltxfstest.Database
	replicate *ltxfstest.Litestream
	killed    bool // and mounted again, half way
}

func startMountRun(t *testing.T, kind *s3test.Kind, killed bool) *mountRun {
	t.Helper()
	r := &mountRun{name: kind.Name, server: kind.Shared(t), staging: t.TempDir(), source: ltxfstest.NewDatabase(t), killed: killed}
	if killed {
		r.name += "/killed"
	}
	r.bucket = r.server.Bucket(t)
	r.mountOn(t, "")
	r.replicate = ltxfstest.StartLitestream(t, ltxfstest.LitestreamConfig(r.source.Path, "file://"+r.mount.Dir))
	return r
}

func (r *mountRun) mountOn(t *testing.T, dir string) {
	t.Helper()
	r.mount = ltxfstest.MountWith(t, r.url(), ltxfstest.MountOptions{
		Dir: dir, Flags: []string{"--rw", "--staging-dir", r.staging}, Env: r.server.Env(),
	})
}

func (r *mountRun) url() string { return r.server.URL(r.bucket, "path/to/db") }

// Litestream replicates a minute of steady writing through mounts to each server,
// with all that it does to the files, and doesn't notice. Then it restores from
// the bucket, without a mount. Of each server there is a second mount, which is
// killed half way, and mounted again: Litestream tries again what had failed,
// and nothing is lost.
func TestLitestreamThroughMount(t *testing.T) {
	t.Parallel()
	var runs []*mountRun
	var sources []*ltxfstest.Database
	for _, kind := range s3test.Servers {
		for _, killed := range []bool{false, true} {
			r := startMountRun(t, kind, killed)
			runs, sources = append(runs, r), append(sources, r.source)
		}
	}
	before := ltxfstest.WriteFor(throughMount/2, sources...)
	for _, r := range runs {
		if r.killed {
			r.mount.Kill(t)
		}
	}
	during := ltxfstest.WriteFor(2*time.Second, sources...)
	for _, r := range runs {
		if r.killed {
			r.mountAgain(t)
		}
	}
	after := ltxfstest.WriteFor(throughMount/2, sources...)
	require.Greater(t, before, 50, "transactions in the first half")
	require.Positive(t, during, "transactions while two mounts were dead")
	require.Greater(t, after, 50, "transactions in the second half")
	for _, r := range runs {
		r.source.Close()
		r.replicate.Stop(t)
	}
	for _, r := range runs {
		t.Run(r.name, r.finish)
	}
}

// mountAgain takes the place of the dead mount, once Litestream has noticed it.
func (r *mountRun) mountAgain(t *testing.T) {
	t.Helper()
	ltxfstest.Eventually(t, ltxfstest.Timeout, "Litestream notices that the mount is dead", func() bool {
		return len(r.replicate.Warnings(t)) > 0
	})
	// Between the end of the dead mount and the new one the mount point is a
	// plain directory, into which Litestream must not write.
	r.replicate.Signal(t, syscall.SIGSTOP)
	r.mountOn(t, r.mount.Dir)
	r.replicate.Signal(t, syscall.SIGCONT)
}

// finish ends the mount and checks all that the run has left.
func (r *mountRun) finish(t *testing.T) {
	if !r.killed {
		require.Empty(t, r.replicate.Warnings(t), "warnings and errors of Litestream")
	}
	require.Greater(t, r.replicate.Deleted(t), 30, "files that retention deleted")
	require.Equal(t, ltxfstest.ExitOK, r.mount.Terminate(t), r.mount.Log())
	if !r.killed {
		require.Contains(t, r.mount.Log(), "layout=litestream-s3")
		require.NotRegexp(t, "level=(WARN|ERROR)", r.mount.Log(), "warnings and errors of the mount")
	}
	r.requireBucket(t)
	restored := restoreFrom(t, r.server.Env(), r.url())
	require.Equal(t, ltxfstest.DatabaseSHA256(t, r.source.Path), ltxfstest.DatabaseSHA256(t, restored), "the restored database is the source")
}

// requireBucket checks that the bucket holds nothing but valid LTX files under
// Litestream's own names and with its metadata, and that retention has deleted the
// first of level 0 and of the snapshots.
func (r *mountRun) requireBucket(t *testing.T) {
	t.Helper()
	pattern := regexp.MustCompile(`^path/to/db/000[0129]/[0-9a-f]{16}-[0-9a-f]{16}\.ltx$`)
	levels := map[string]int{}
	for _, key := range r.server.Keys(t, r.bucket, "") {
		require.Regexp(t, pattern, key)
		part := strings.Split(key, "/")
		level, name := part[3], part[4]
		levels[level]++
		minTXID, maxTXID, err := ltx.ParseFilename(name)
		require.NoError(t, err, key)
		if level == "0000" || level == "0009" {
			require.Greater(t, maxTXID, ltx.TXID(1), "retention should have deleted %s", key)
		}
		data := r.server.Get(t, r.bucket, key)
		h, err := ltxfile.Verify(t.Context(), bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err, key)
		require.NoError(t, ltxfile.CheckName(h, minTXID, maxTXID), key)
		at, err := time.Parse(time.RFC3339Nano, r.server.Head(t, r.bucket, key).Metadata[timeKey])
		require.NoError(t, err, key)
		require.Equal(t, ltxfstest.HeaderTime(t, data), at.UTC(), "the time in the metadata of %s", key)
	}
	for _, level := range []string{"0000", "0001", "0002", "0009"} {
		require.Positive(t, levels[level], "files in level %s", level)
	}
	require.Empty(t, r.server.Uploads(t, r.bucket), "unfinished uploads")
}
