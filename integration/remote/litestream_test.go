package remote

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
)

// directly is how long Litestream replicates to a server without a mount between
// them.
const directly = 15 * time.Second

// directRun is a database that Litestream replicates to a server, and a mount of
// that replica, which has been there from the beginning.
type directRun struct {
	server    *s3test.Server
	bucket    string
	url       string
	mount     *ltxfstest.Mounted
	source    *ltxfstest.Database
	replicate *ltxfstest.Litestream
}

// Litestream replicates to each server, and a mount shows what Litestream itself
// lists there, and restores to what Litestream itself restores.
func TestLitestreamToS3(t *testing.T) {
	t.Parallel()
	var runs []*directRun
	var sources []*ltxfstest.Database
	for _, kind := range append(slices.Clone(s3test.Servers), s3test.Rclone[0]) {
		r := &directRun{server: kind.Shared(t), source: ltxfstest.NewDatabase(t)}
		r.bucket = r.server.Bucket(t)
		r.url = r.server.URL(r.bucket, "db")
		r.mount = ltxfstest.MountWith(t, r.url, ltxfstest.MountOptions{Flags: []string{"--freshness=1s"}, Env: r.server.Env()})
		r.replicate = ltxfstest.StartLitestream(t, ltxfstest.LitestreamConfig(r.source.Path, r.url), r.server.Env()...)
		runs, sources = append(runs, r), append(sources, r.source)
	}
	require.Greater(t, ltxfstest.WriteFor(directly, sources...), 20, "transactions")
	// All at once: where nothing is written any more, retention goes on.
	for _, r := range runs {
		r.source.Close()
		r.replicate.Stop(t)
	}
	for _, r := range runs {
		t.Run(r.server.Name, func(t *testing.T) {
			require.Empty(t, r.replicate.Warnings(t), "warnings and errors of Litestream")
			files := listAll(t, r.server.Env(), r.url)
			levels := levelsOf(files)
			for _, level := range []int{0, 1, 2, 9} {
				require.Positive(t, levels[level], "files in level %d", level)
			}
			r.requireListed(t, files)
			exact := ltxfstest.MountWith(t, r.url, ltxfstest.MountOptions{Flags: []string{"--mtime=exact"}, Env: r.server.Env()})
			times := r.requireExact(t, exact, files)
			r.requireRestores(t, exact, files, times)
		})
	}
}

// requireListed checks that the mount shows the same files as Litestream lists,
// with their sizes, and with the times that a listing tells.
func (r *directRun) requireListed(t *testing.T, files []listedFile) {
	t.Helper()
	var got []listedFile
	// It may take the freshness interval until the mount knows of the last.
	for deadline := time.Now().Add(ltxfstest.Timeout); time.Now().Before(deadline); {
		if got = listAll(t, nil, "file://"+r.mount.Dir); len(got) == len(files) && got[0] == files[0] {
			break
		}
	}
	require.Equal(t, files, got)
}

// requireExact checks that a mount with exact times shows those in the metadata,
// which are those of the headers, to the last digit, and each file's bytes. It
// returns the times by path.
func (r *directRun) requireExact(t *testing.T, m *ltxfstest.Mounted, files []listedFile) map[string]time.Time {
	t.Helper()
	p := m.Process(t)
	times := map[string]time.Time{}
	for _, f := range files {
		head := r.server.Head(t, r.bucket, f.key("db"))
		want, err := time.Parse(time.RFC3339Nano, head.Metadata[timeKey])
		require.NoError(t, err, f.path())
		data := r.server.Get(t, r.bucket, f.key("db"))
		require.Equal(t, ltxfstest.HeaderTime(t, data), want.UTC(), f.path())

		st, err := p.Stat(f.path())
		require.NoError(t, err)
		require.Equal(t, want.UTC(), st.ModTime, "mtime of %s", f.path())
		require.Equal(t, f.Size, st.Size, "size of %s", f.path())
		got, err := p.ReadFile(f.path())
		require.NoError(t, err)
		require.Equal(t, ltxfstest.SHA256(data), ltxfstest.SHA256(got), "content of %s", f.path())
		times[f.path()] = st.ModTime
	}
	return times
}

// requireRestores checks that restoring through mounts gives the source, and each
// earlier state as Litestream restores it from the bucket itself.
func (r *directRun) requireRestores(t *testing.T, exact *ltxfstest.Mounted, files []listedFile, times map[string]time.Time) {
	t.Helper()
	fastURL, exactURL := "file://"+r.mount.Dir, "file://"+exact.Dir
	want := ltxfstest.DatabaseSHA256(t, r.source.Path)
	for _, url := range []string{r.url, fastURL, exactURL} {
		require.Equal(t, want, ltxfstest.DatabaseSHA256(t, restoreFrom(t, r.server.Env(), url)), url)
	}
	states := map[string]bool{}
	for _, f := range r.restorable(t, files, times) {
		flags := []string{"-txid", f.MaxTXID}
		state := restoredSum(t, r.server.Env(), r.url, flags...)
		states[state] = true
		require.Equal(t, state, restoredSum(t, nil, fastURL, flags...), "TXID %s, fast", f.MaxTXID)
		require.Equal(t, state, restoredSum(t, nil, exactURL, flags...), "TXID %s, exact", f.MaxTXID)

		// What was created before this.
		flags = []string{"-timestamp", times[f.path()].Add(time.Millisecond).Format(time.RFC3339Nano)}
		require.Equal(t, state, restoredSum(t, r.server.Env(), r.url, flags...), "the state at the time of TXID %s, from the bucket", f.MaxTXID)
		require.Equal(t, state, restoredSum(t, nil, exactURL, flags...), "the state at the time of TXID %s, exact", f.MaxTXID)
	}
	require.Greater(t, len(states), 2, "states that differ")
}

// restorable are the files of level 1 after the first snapshot that is left, whose
// last TXIDs can be restored, by their times as well: not at one before that snapshot's,
// which may be later than that of a file after it, nor at one after the latest that the
// bucket lists, which is of an upload, in whole seconds, or after the latest exact one:
// of such, Litestream knows no state.
func (r *directRun) restorable(t *testing.T, files []listedFile, times map[string]time.Time) []listedFile {
	t.Helper()
	first, earliest, listed, exact := "", time.Time{}, time.Time{}, time.Time{}
	for _, f := range files {
		at := times[f.path()]
		if f.Level == 9 && (first == "" || f.MaxTXID < first) {
			first, earliest = f.MaxTXID, at
		}
		if f.Timestamp.After(listed) {
			listed = f.Timestamp
		}
		if at.After(exact) {
			exact = at
		}
	}
	var after []listedFile
	for _, f := range files {
		at := times[f.path()]
		until := at.Add(time.Millisecond)
		if f.Level == 1 && f.MaxTXID > first && !at.Before(earliest) && until.Before(listed) && until.Before(exact) {
			after = append(after, f)
		}
	}
	require.Greater(t, len(after), 3, "files of level 1 after the first snapshot")
	return []listedFile{after[0], after[len(after)/2], after[len(after)-1]}
}

// The sample replica restores from each server to all states that it is known to
// have. By time it does so with exact times, be they in the objects' metadata or
// only in the files' headers. The store's own times, which are shown otherwise,
// are those of the upload: there is no state of an earlier time, and Litestream
// says so.
func TestRestoreFromS3(t *testing.T) {
	t.Parallel()
	byTXID, byTime := ltxfstest.OrdersStates(t)
	latest := byTXID[len(byTXID)-1].SHA256
	for i, kind := range s3test.AllServers {
		for _, timed := range []bool{true, false} {
			if i >= len(s3test.Servers) && timed == (i%2 == 0) {
				continue // rclone's servers take turns
			}
			t.Run(fmt.Sprintf("%s/metadata=%t", kind.Name, timed), func(t *testing.T) {
				t.Parallel()
				s := kind.Shared(t)
				bucket := s.Bucket(t)
				putOrders(t, s, bucket, "orders", replica.LitestreamS3, timed)
				mount := func(mtime string) string {
					m := ltxfstest.MountWith(t, s.URL(bucket, "orders"), ltxfstest.MountOptions{
						Flags: []string{"--mtime=" + mtime}, Env: s.Env(),
					})
					return "file://" + m.Dir
				}
				fast, exact := mount("fast"), mount("exact")

				for _, state := range byTXID {
					require.Equal(t, state.SHA256, restoredSum(t, nil, exact, "-txid", state.TXID), state.TXID)
				}
				for _, state := range byTime {
					require.Equal(t, state.SHA256, restoredSum(t, nil, exact, "-timestamp", state.Time), state.Time)
				}
				require.Equal(t, latest, restoredSum(t, nil, exact))

				require.Equal(t, latest, restoredSum(t, nil, fast))
				require.Equal(t, byTXID[7].SHA256, restoredSum(t, nil, fast, "-txid", byTXID[7].TXID))
				early := ltxfstest.Run(t, ltxfstest.Timeout, ltxfstest.Tool(t, "litestream"), "restore",
					"-timestamp", byTime[7].Time, "-o", t.TempDir()+"/restored.db", fast)
				require.NotZero(t, early.Code, early)
				require.Contains(t, early.String(), "timestamp does not exist")
			})
		}
	}
}
