package remote

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// noCredentials takes a server's credentials out of its Env again.
var noCredentials = []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}

// configs are the forms that a replica in S3 has in Litestream's configuration.
// DB, DIR, BUCKET, ENDPOINT and QUERY, which is the endpoint in a URL, are put in.
var configs = map[string]struct {
	text string
	path string // of the replica in the bucket
	own  bool   // the credentials are in the configuration, from MY_KEY and MY_SECRET
}{
	"url": {path: "in-url", text: `
dbs:
  - path: DB
    replica:
      url: s3://BUCKET/in-url?QUERY&region=us-east-1
`},
	"keys": {path: "some/path", own: true, text: `
dbs:
  - path: DB
    replica:
      type: s3
      bucket: BUCKET
      path: some/path
      region: us-east-1
      endpoint: ENDPOINT
      force-path-style: true
      access-key-id: $MY_KEY
      secret-access-key: ${MY_SECRET}
      sign-payload: false
      require-content-md5: false
      part-size: 8MB
      concurrency: 2
`},
	"replicas": {path: "deprecated", text: `
dbs:
  - path: DB
    replicas:
      - type: s3
        bucket: BUCKET
        path: deprecated
        endpoint: ENDPOINT
`},
	"top level": {path: "top-level", own: true, text: `
access-key-id: ${MY_KEY}
secret-access-key: ${MY_SECRET}
bucket: BUCKET
endpoint: ENDPOINT
region: us-east-1
dbs:
  - path: DB
    replica:
      type: s3
      path: top-level
`},
	"directory": {path: "databases/below/source.db", text: `
dbs:
  - dir: DIR
    pattern: "*.db"
    recursive: true
    replica:
      url: s3://BUCKET/databases?QUERY
`},
	"much else": {path: "much-else", text: `
# What other programs and later versions have put here is none of our business.
addr: ":0"
logging:
  level: warn
  type: json
snapshot:
  interval: 1h
levels:
  - interval: 10s
not-known: { to: anybody }
dbs:
  - path: "DB"
    monitor-interval: 500ms
    not-known: 1
    replica: { url: "s3://BUCKET/much-else?QUERY", sync-interval: 2s, not-known: [1, 2] }
`},
}

// The file with which Litestream has replicated a database leads ltxfs to its
// replica, as it stands, and the mount restores to the database.
func TestConfigFile(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		for name, c := range configs {
			t.Run(name, func(t *testing.T) {
				db := filepath.Join(t.TempDir(), "below", "source.db")
				require.NoError(t, os.Mkdir(filepath.Dir(db), 0o755))
				ltxfstest.MustRun(t, "sqlite3", db, "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(10000))")
				env := s.Env()
				if c.own {
					env = append(append(env, noCredentials...), "MY_KEY="+s.AccessKey, "MY_SECRET="+s.SecretKey)
				}
				config := saveConfig(t, strings.NewReplacer(
					"DB", db, "DIR", filepath.Dir(filepath.Dir(db)), "BUCKET", bucket, "ENDPOINT", s.Endpoint,
					"QUERY", "endpoint="+url.QueryEscape(s.Endpoint),
				).Replace(c.text))
				litestream(t, env, "replicate", "-once", "-config", config)
				require.NotEmpty(t, s.Keys(t, bucket, c.path+"/0000/"))

				m := ltxfstest.MountWith(t, db, ltxfstest.MountOptions{Flags: []string{"--config", config}, Env: env})
				listed := listAll(t, nil, "file://"+m.Dir)
				require.Equal(t, listAll(t, s.Env(), s.URL(bucket, c.path)), listed)
				restored := restoreFrom(t, nil, "file://"+m.Dir)
				require.Equal(t, ltxfstest.DatabaseSHA256(t, db), ltxfstest.DatabaseSHA256(t, restored))
			})
		}
	})
}

func saveConfig(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "litestream.yml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// What is wrong in a configuration is told with its file, its line and its key,
// before anything is mounted or asked of the network. Secrets are not told.
func TestConfigWrong(t *testing.T) {
	t.Parallel()
	const replica = "dbs:\n  - path: /db\n    replica:\n"
	for name, tt := range map[string]struct {
		text string
		says []string // FILE is the file's path
		code int
	}{
		"no YAML":          {"dbs: [", []string{"FILE:1: "}, ltxfstest.ExitUsage},
		"tab":              {"dbs:\n\t- path: /db\n", []string{"FILE:2: "}, ltxfstest.ExitUsage},
		"part size":        {replica + "      url: s3://b/p\n      part-size: 5 boxes\n", []string{"FILE:5: part-size: ", "5 boxes"}, ltxfstest.ExitUsage},
		"part too small":   {replica + "      url: s3://b/p\n      part-size: 1MB\n", []string{"FILE:5: part-size: ", "5MiB"}, ltxfstest.ExitUsage},
		"boolean":          {replica + "      url: s3://b/p\n      force-path-style: maybe\n", []string{"FILE:5: force-path-style: "}, ltxfstest.ExitUsage},
		"concurrency":      {replica + "      url: s3://b/p\n      concurrency: many\n", []string{"FILE:5: concurrency: "}, ltxfstest.ExitUsage},
		"endpoint":         {replica + "      type: s3\n      bucket: b\n      path: p\n      endpoint: ftp://host\n", []string{"FILE:7: endpoint: ", "http"}, ltxfstest.ExitUsage},
		"URL and path":     {replica + "      url: s3://b/p\n      path: p\n", []string{"FILE:4: url: ", "path"}, ltxfstest.ExitUsage},
		"URL and bucket":   {"bucket: b\n" + replica + "      url: s3://b/p\n", []string{"FILE:5: url: ", "bucket"}, ltxfstest.ExitUsage},
		"no bucket":        {replica + "      type: s3\n      path: p\n", []string{"FILE:4: bucket: "}, ltxfstest.ExitUsage},
		"setting in URL":   {replica + "      url: s3://b/p?regoin=x\n", []string{"FILE:4: url: ", "regoin", "region"}, ltxfstest.ExitUsage},
		"SSE-C key":        {replica + "      url: s3://b/p\n      sse-customer-key: TOPSECRET\n", []string{"FILE:5: sse-customer-key: ", "base64"}, ltxfstest.ExitUsage},
		"SSE-C key file":   {replica + "      url: s3://b/p\n      sse-customer-key-path: /no/such/file\n", []string{"FILE:5: sse-customer-key-path: ", "/no/such/file"}, ltxfstest.ExitUsage},
		"secret's form":    {replica + "      url: s3://b/p\n      secret-access-key: \"TOPSECRET b\"\n", []string{"FILE:5: secret-access-key: "}, ltxfstest.ExitUsage},
		"of several":       {"dbs:\n  - path: /db\n    replicas:\n      - url: s3://b/p\n      - url: s3://b/q\n", []string{"FILE:5: replicas: "}, ltxfstest.ExitUsage},
		"another database": {"dbs:\n  - path: /other\n    replica:\n      url: s3://b/p\n", []string{"FILE: /db isn't in it", "/other"}, ltxfstest.ExitUsage},
		"another store":    {replica + "      url: gs://b/p\n", []string{"FILE:4: url: ", "gs"}, ltxfstest.ExitNoReplica},
	} {
		t.Run(name, func(t *testing.T) {
			config, dir := saveConfig(t, tt.text), t.TempDir()
			result := ltxfstest.Ltxfs(t, "mount", "--config", config, "/db", dir)
			require.Equal(t, tt.code, result.Code, result)
			for _, text := range tt.says {
				require.Contains(t, result.Stderr, strings.ReplaceAll(text, "FILE", config))
			}
			require.NotContains(t, result.String(), "TOPSECRET")
			require.Empty(t, ltxfstest.Mounts(dir))
		})
	}
	missing := filepath.Join(t.TempDir(), "litestream.yml")
	result := ltxfstest.Ltxfs(t, "mount", "--config", missing, "/db", t.TempDir())
	require.Equal(t, ltxfstest.ExitUsage, result.Code, result)
	require.Contains(t, result.Stderr, missing+": no such file")
}

// A line of fstab mounts, by way of mount.fuse3, which calls ltxfs with the
// options behind its arguments.
func TestFstab(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	path, data := putOne(t, s, bucket, "db/0001")
	config := saveConfig(t, "dbs:\n  - path: /var/lib/app.db\n    replica:\n      url: "+s.URL(bucket, "db")+"\n")
	for name, tt := range map[string]struct{ source, options, below string }{
		"url":    {s.URL(bucket, "db"), "rw,dev,suid,_netdev,noatime,freshness=1s,cache_size=16MiB", ""},
		"config": {"/var/lib/app.db", "ro,dev,suid,config=" + config, ""},
		"all":    {config, "ro,dev,suid,all", "app.db"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, state := ltxfstest.MountPoint(t), t.TempDir()
			env := append(s.Env(), "LTXFS_STATE_DIR="+state, "LTXFS_STAGING_DIR="+t.TempDir())
			umountDaemonAtEnd(t, dir, env)
			result := runLtxfs(t, env, tt.source, dir, "-o", tt.options)
			require.Equal(t, ltxfstest.ExitOK, result.Code, result)
			require.Empty(t, result.Stdout, "mount(8) prints what it is told")
			require.Len(t, ltxfstest.Mounts(dir), 1)
			options := strings.Split(ltxfstest.Mounts(dir)[0].Options, ",")
			require.Contains(t, options, strings.Split(tt.options, ",")[0])
			got, err := ltxfstest.NewProcess(t, dir, nil).ReadFile(filepath.Join(tt.below, path))
			require.NoError(t, err)
			require.Equal(t, data, got)
			result = runLtxfs(t, env, "umount", dir)
			require.Equal(t, ltxfstest.ExitOK, result.Code, result)
		})
	}
}

// runLtxfs runs the built binary to its end with an addition to its environment.
func runLtxfs(t testing.TB, env []string, args ...string) ltxfstest.Result {
	t.Helper()
	cmd := exec.Command(ltxfstest.Binary(), args...)
	cmd.Env = append(ltxfstest.Env(), env...)
	return ltxfstest.RunCmd(t, 2*ltxfstest.Timeout, cmd)
}

// umountDaemonAtEnd makes sure that a daemon that a test started is gone after it.
func umountDaemonAtEnd(t testing.TB, dir string, env []string) {
	t.Cleanup(func() {
		if len(ltxfstest.Mounts(dir)) > 0 {
			runLtxfs(t, env, "umount", "--lazy", dir)
		}
	})
}

// putOne writes an LTX file into a bucket, below the directory of level 1, and
// returns where a mount shows it, and its content.
func putOne(t testing.TB, s *s3test.Server, bucket, dir string) (path string, data []byte) {
	t.Helper()
	f := ltxfstest.OrdersFiles(t)[0]
	data = ltxfstest.OrdersData(t, f)
	s.Put(t, bucket, dir+"/"+f.Name, data)
	return ltxfstest.LevelPath(1, f.Name), data
}
