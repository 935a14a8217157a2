package remote

import (
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// What is written goes to the store as the settings want it, in a URL or in the
// environment: in parts of their size, with their headers.
func TestUploadSettings(t *testing.T) {
	// Of 12 MiB and a little, with what no compression makes smaller.
	large := storetest.LTX(t, 5, 5, storetest.Commit(3072), storetest.Noise())
	small := storetest.LTX(t, 5, 5)
	header := func(name, value string) func(*testing.T, []s3test.Request) {
		return func(t *testing.T, uploads []s3test.Request) {
			for _, r := range uploads {
				require.Equal(t, value, r.Header.Get(name), "%s of %s", name, r.Operation)
			}
		}
	}
	parts := func(n int) func(*testing.T, []s3test.Request) {
		return func(t *testing.T, uploads []s3test.Request) {
			require.Len(t, uploads, n)
			for _, r := range uploads {
				require.Equal(t, s3test.UploadPart, r.Operation)
			}
		}
	}
	one := func(t *testing.T, uploads []s3test.Request) {
		require.Len(t, uploads, 1)
		require.Equal(t, s3test.PutObject, uploads[0].Operation)
	}
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		proxy := s3test.NewProxy(t, s.Endpoint)
		for i, tt := range []struct {
			setting string // of the URL, or a variable
			data    []byte
			check   func(t *testing.T, uploads []s3test.Request)
		}{
			{"", large, parts(3)},
			{"partSize=8MiB", large, parts(2)},
			{"part-size=8MiB", large, parts(2)},
			{"LTXFS_S3_PART_SIZE=16MiB", large, one},
			{"concurrency=1", large, parts(3)},
			{"storageClass=REDUCED_REDUNDANCY", small, header("X-Amz-Storage-Class", "REDUCED_REDUNDANCY")},
			{"LTXFS_S3_STORAGE_CLASS=STANDARD", small, header("X-Amz-Storage-Class", "STANDARD")},
			{"sign-payload=no", small, header("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")},
			{"LTXFS_S3_SIGN_PAYLOAD=true", small, header("X-Amz-Content-Sha256", ltxfstest.SHA256(small))},
			{"putObjectContentMD5=true", small, func(t *testing.T, uploads []s3test.Request) {
				require.Regexp(t, `^[A-Za-z0-9+/]{22}==$`, uploads[0].Header.Get("Content-Md5"))
			}},
			{"requesterPays=yes", small, header("X-Amz-Request-Payer", "requester")},
			{"signAcceptEncoding=false", small, func(t *testing.T, uploads []s3test.Request) {
				require.NotContains(t, uploads[0].Header.Get("Authorization"), "accept-encoding")
			}},
			{"signAcceptEncoding=true", small, func(t *testing.T, uploads []s3test.Request) {
				require.Contains(t, uploads[0].Header.Get("Authorization"), "accept-encoding")
			}},
		} {
			t.Run(tt.setting, func(t *testing.T) {
				env, query := s.Env(), []string{}
				switch {
				case strings.HasPrefix(tt.setting, "LTXFS_"):
					env = append(env, tt.setting)
				case tt.setting != "":
					query = append(query, tt.setting)
				}
				root := fmt.Sprintf("replica-%d", i)
				m := ltxfstest.MountWith(t, proxy.URL(bucket, root, query...), ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: env})
				proxy.Reset()
				name := ltx.FormatFilename(5, 5)
				require.NoError(t, m.Process(t).WriteFile(ltxfstest.LevelPath(2, name), tt.data))
				var uploads []s3test.Request
				for _, r := range proxy.Requests() {
					if r.Method == http.MethodPut {
						uploads = append(uploads, r)
					}
				}
				require.NotEmpty(t, uploads)
				tt.check(t, uploads)
				require.Equal(t, ltxfstest.SHA256(tt.data), ltxfstest.SHA256(s.Get(t, bucket, root+"/0002/"+name)))
				require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			})
		}
	})
}

// A replica in any layout is recognized, and written in the same; an empty place
// takes that which is asked for. Where there are two, that is said, and one can
// be chosen.
func TestLayouts(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		for _, layout := range replica.Layouts {
			t.Run(layout.Name, func(t *testing.T) {
				putOrders(t, s, bucket, layout.Name, layout, true)
				m := ltxfstest.MountWith(t, s.URL(bucket, layout.Name), ltxfstest.MountOptions{
					Flags: []string{"--rw", "--mtime=exact"}, Env: s.Env(),
				})
				ltxfstest.Eventually(t, ltxfstest.Timeout, "the log names the layout", func() bool {
					return strings.Contains(m.Log(), "layout="+layout.Name)
				})
				ltxfstest.RequireOrders(t, m)
				name, data := ltx.FormatFilename(1, 77), storetest.LTX(t, 1, 77)
				require.NoError(t, m.Process(t).WriteFile(ltxfstest.LevelPath(9, name), data))
				require.Equal(t, data, s.Get(t, bucket, path.Join(layout.Name, layout.LevelDir(9), name)))

				empty := layout.Name + "-new"
				m = ltxfstest.MountWith(t, s.URL(bucket, empty), ltxfstest.MountOptions{
					Flags: []string{"--rw", "--layout=" + layout.Name}, Env: s.Env(),
				})
				require.NoError(t, m.Process(t).WriteFile(ltxfstest.LevelPath(9, name), data))
				require.Equal(t, []string{path.Join(empty, layout.LevelDir(9), name)}, s.Keys(t, bucket, empty+"/"))
			})
		}
		t.Run("mixed", func(t *testing.T) {
			chosen, data := putOne(t, s, bucket, "mixed/0001")
			s.Put(t, bucket, "mixed/ltx/0/"+ltx.FormatFilename(1, 1), storetest.LTX(t, 1, 1))
			dir := t.TempDir()
			result := runLtxfs(t, s.Env(), "mount", s.URL(bucket, "mixed"), dir)
			require.Equal(t, ltxfstest.ExitNoReplica, result.Code, result)
			for _, text := range []string{"litestream-s3", "litestream-file", "--layout"} {
				require.Contains(t, result.Stderr, text)
			}
			m := ltxfstest.MountWith(t, s.URL(bucket, "mixed"), ltxfstest.MountOptions{Flags: []string{"--layout=litestream-s3"}, Env: s.Env()})
			requireOne(t, m, chosen, data)
		})
		t.Run("inside", func(t *testing.T) {
			result := runLtxfs(t, s.Env(), "mount", s.URL(bucket, "litestream-s3/0001"), t.TempDir())
			require.Equal(t, ltxfstest.ExitNoReplica, result.Code, result)
			require.Contains(t, result.Stderr, "did you mean s3://"+bucket+"/litestream-s3")
		})
	})
}

// A replica may be the root of its bucket. There Litestream's keys begin with a
// slash or a dot, which these servers drop, so that Litestream itself doesn't find
// what it has written, and MinIO refuses the dot. A mount finds it, and writes.
func TestBucketRoot(t *testing.T) {
	t.Parallel()
	for _, kind := range s3test.Servers {
		for name, slash := range map[string]string{"bucket": "?", "bucket and slash": "/?"} {
			t.Run(kind.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := kind.Shared(t)
				bucket := s.Bucket(t)
				url := strings.Replace(s.URL(bucket, ""), "?", slash, 1)
				if kind == s3test.VersityGW || slash == "/?" {
					db := filepath.Join(t.TempDir(), "source.db")
					ltxfstest.MustRun(t, "sqlite3", db, "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(10000))")
					litestream(t, s.Env(), "replicate", "-once", db, url)
					require.Equal(t, []string{"0000/" + ltx.FormatFilename(1, 1)}, s.Keys(t, bucket, ""))
					m := ltxfstest.MountWith(t, url, ltxfstest.MountOptions{Env: s.Env()})
					restored := restoreFrom(t, nil, "file://"+m.Dir)
					require.Equal(t, ltxfstest.DatabaseSHA256(t, db), ltxfstest.DatabaseSHA256(t, restored))
					s.Delete(t, bucket, s.Keys(t, bucket, "")...)
				}

				name, data := ltx.FormatFilename(5, 5), storetest.LTX(t, 5, 5)
				first := ltxfstest.MountWith(t, url, ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: s.Env()})
				require.NoError(t, first.Process(t).WriteFile(ltxfstest.LevelPath(1, name), data))
				require.Equal(t, []string{"0001/" + name}, s.Keys(t, bucket, ""))
				second := ltxfstest.MountWith(t, url, ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: s.Env()})
				for _, m := range []*ltxfstest.Mounted{first, second} {
					requireOne(t, m, ltxfstest.LevelPath(1, name), data)
				}
				require.NoError(t, first.Process(t).Unlink(ltxfstest.LevelPath(1, name)))
				require.Empty(t, s.Keys(t, bucket, ""))
				require.Equal(t, ltxfstest.ExitOK, first.Terminate(t), first.Log())
			})
		}
	}
}
