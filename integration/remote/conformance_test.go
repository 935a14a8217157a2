package remote

import (
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// Every store must pass the suite, and this one on every server and in every
// layout. Layouts are nothing to rclone's server, whose time zones the tests of
// tools have: here it is one of each.
//
// The suite looks for leaks in the whole process, so no other test may run
// beside it.
func TestConformance(t *testing.T) {
	for _, kind := range s3test.Servers {
		for i, layout := range replica.Layouts {
			t.Run(kind.Name+"/"+layout.Name, func(t *testing.T) {
				h := conformanceHarness(t, kind.Shared(t), layout)
				if i == 0 {
					h.LargeSize = 0 // once in each server, the guide's 100 MB
				}
				storetest.Run(t, h)
			})
		}
	}
	kind, layout := s3test.Rclone[0], replica.LitestreamS3
	t.Run(kind.Name+"/"+layout.Name, func(t *testing.T) {
		h := conformanceHarness(t, kind.Shared(t), layout)
		h.Torn = true      // it looks at a file and opens it in two steps
		h.ManyFiles = 1100 // for each deletion it reads the directory
		storetest.Run(t, h)
	})
}

// On a store without ETags, versions are a size and a second.
func TestConformanceWithoutETags(t *testing.T) {
	h := conformanceHarness(t, s3test.WithoutETags.Shared(t), replica.LitestreamS3)
	h.Torn, h.Weak = true, true
	overwrite := h.Overwrite
	h.Overwrite = func(t *testing.T, s replica.Store, f replica.File, data []byte) {
		t.Helper()
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the second of the version is over", func() bool {
			return time.Now().Unix() > f.Version.Modified
		})
		overwrite(t, s, f, data)
	}
	for _, name := range []string{
		"WriteReplaces", "WriteLarge", "WriteVersion", "WriteExclusive", "ReadRanges", "ReadConcurrent",
		"ReadWhileReplaced", "ReadWhileDeleted", "ReadVersion", "ReadVersionReplaced", "ReadVersionOverwritten",
		"ListAttributes", "ListExactTimes", "ListKnownTimes", "ListVersion", "Stat", "Delete", "DeleteAndWriteAgain",
	} {
		storetest.RunOne(t, h, name)
	}
}

const (
	// conformancePath is where the replicas are in their buckets.
	conformancePath = "path/of/db"

	// conformanceStall is how long a connection may be idle. With it, the suite
	// needn't wait long to see that all are let go of.
	conformanceStall = time.Second

	// conformanceAnswer is how long a server may take to answer, which is long
	// for a thousand deletions on a busy machine.
	conformanceAnswer = 2 * time.Minute

	// severalParts is a size that takes five requests and fills no page.
	severalParts = 24<<20 - 1
)

// bucketStore is a store that has a bucket of its own.
type bucketStore struct {
	*s3.Store
	bucket string
}

func conformanceHarness(t *testing.T, server *s3test.Server, layout replica.Layout) storetest.Harness {
	t.Helper()
	for _, kv := range server.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	bucketOf := func(s replica.Store) string { return s.(bucketStore).bucket }
	dir := func(level int) string { return path.Join(conformancePath, layout.LevelDir(level)) }
	return storetest.Harness{
		LargeSize: severalParts,
		New: func(t *testing.T) replica.Store {
			bucket := server.Bucket(t)
			store, err := s3.New(config.Config{
				Bucket: bucket, Path: conformancePath, Layout: layout, Endpoint: server.Endpoint,
				Timeouts: config.Timeouts{Stall: conformanceStall, FirstByte: conformanceAnswer},
				Logger:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
			require.NoError(t, err)
			t.Cleanup(func() {
				require.NoError(t, store.Close())
				ltxfstest.Eventually(t, ltxfstest.Timeout, "all connections are closed", func() bool { return store.Connections() == 0 })
			})
			return bucketStore{store, bucket}
		},
		Client: func(s replica.Store) replica.Client { return s3.NewReplicaClient(s.(bucketStore).Store) },
		Leftovers: func(t *testing.T, s replica.Store) []string {
			t.Helper()
			return leftoverKeys(t, server, bucketOf(s), layout)
		},
		PutStranger: func(t *testing.T, s replica.Store, level int) func(*testing.T) {
			t.Helper()
			return putStrangers(t, server, bucketOf(s), dir(level), layout)
		},
		// Nobody changes an object in place, but any program can put another
		// under its key.
		Overwrite: func(t *testing.T, s replica.Store, f replica.File, data []byte) {
			t.Helper()
			server.Put(t, bucketOf(s), path.Join(dir(f.Level), f.Base()), data)
		},
	}
}

const stranger = "stranger"

// leftoverKeys are the keys that aren't those of the replica's files, nor
// strangers', and uploads that have no end.
func leftoverKeys(t *testing.T, server *s3test.Server, bucket string, layout replica.Layout) (left []string) {
	t.Helper()
	for _, key := range server.Keys(t, bucket, "") {
		dir, name := path.Split(key)
		_, _, err := ltx.ParseFilename(name)
		level, ok := strings.CutPrefix(dir, conformancePath+"/")
		isFile := err == nil && ok && slices.Contains(layout.LevelDirs(), strings.TrimSuffix(level, "/"))
		if !isFile && !strings.Contains(key, stranger) {
			left = append(left, key)
		}
	}
	for _, up := range server.Uploads(t, bucket) {
		left = append(left, "the parts of "+up.Key)
	}
	return left
}

// putStrangers puts everything into and beside a level's directory that looks a
// little like one of the replica's files.
func putStrangers(t *testing.T, server *s3test.Server, bucket, dir string, layout replica.Layout) (check func(t *testing.T)) {
	t.Helper()
	name := ltx.FormatFilename(1, 2)
	keys := []string{
		dir + "/" + stranger + ".ltx",
		dir + "/" + stranger + name,
		dir + "/" + name + "." + stranger,
		dir + "/." + name + "." + stranger + ".tmp",
		dir + "/" + stranger + "/" + name,
		dir + "/" + ltx.FormatFilename(0x3000, 0x5000) + "/" + stranger,
		dir + stranger + "/" + name,
		path.Dir(dir) + "/" + stranger,
		conformancePath + "/" + stranger,
		conformancePath + "/" + stranger + "-dir/" + layout.LevelDir(0) + "/" + name,
		conformancePath + stranger + "/" + layout.LevelDir(0) + "/" + name,
		stranger + "/" + name,
	}
	for _, key := range keys {
		server.Put(t, bucket, key, []byte(key))
	}
	return func(t *testing.T) {
		t.Helper()
		for _, key := range keys {
			assert.Equal(t, key, string(server.Get(t, bucket, key)))
		}
	}
}
