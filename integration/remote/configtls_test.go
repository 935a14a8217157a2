package remote

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A certificate that the system doesn't trust is refused, unless it is named or
// all are to be taken.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := s3test.StartMinIOTLS(t)
	bucket := s.Bucket(t)
	path, data := putOne(t, s, bucket, "db/0001")
	config := saveConfig(t, "dbs:\n  - path: /db\n    replica:\n      type: s3\n      bucket: "+bucket+
		"\n      path: db\n      endpoint: "+s.Endpoint+"\n      skip-verify: true\n")
	for name, tt := range map[string]struct {
		query []string
		env   string
		flags []string
	}{
		"caFile":               {query: []string{"caFile=" + s.CAFile}},
		"LTXFS_S3_CA_FILE":     {env: "LTXFS_S3_CA_FILE=" + s.CAFile},
		"AWS_CA_BUNDLE":        {env: "AWS_CA_BUNDLE=" + s.CAFile},
		"skipVerify":           {query: []string{"skipVerify=true"}},
		"LTXFS_S3_SKIP_VERIFY": {env: "LTXFS_S3_SKIP_VERIFY=true"},
		"configuration":        {flags: []string{"--config", config}},
	} {
		t.Run(name, func(t *testing.T) {
			replica := s.URL(bucket, "db", tt.query...)
			if tt.flags != nil {
				replica = "/db"
			}
			m := ltxfstest.MountWith(t, replica, ltxfstest.MountOptions{Env: append(s.Env(), tt.env), Flags: tt.flags})
			requireOne(t, m, path, data)
		})
	}
	t.Run("not trusted", func(t *testing.T) {
		dir := t.TempDir()
		result := runLtxfs(t, s.Env(), "mount", s.URL(bucket, "db"), dir)
		require.Equal(t, ltxfstest.ExitNoReplica, result.Code, result)
		for _, text := range []string{"certificate", "LTXFS_S3_CA_FILE", "AWS_CA_BUNDLE"} {
			require.Contains(t, result.Stderr, text)
		}
		require.Empty(t, ltxfstest.Mounts(dir))
	})
}

// With SSE-C, what a mount writes is encrypted in the store: nobody reads it
// without the key, Litestream reads it with the key, and a mount reads what
// Litestream has written so.
func TestSSEC(t *testing.T) {
	t.Parallel()
	s := s3test.StartMinIOTLS(t)
	bucket := s.Bucket(t)
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	secret := base64.StdEncoding.EncodeToString(key)
	env := append(s.Env(), "LTXFS_S3_SKIP_VERIFY=true", "LTXFS_S3_SSE_CUSTOMER_KEY="+secret)
	m := ltxfstest.MountWith(t, s.URL(bucket, "orders"), ltxfstest.MountOptions{
		Env: env, Flags: []string{"--rw", "--mtime=exact"},
	})
	ltxfstest.Shell(t, `for l in 0 1 2 9; do cp "$1/ltx/$l"/* "$2/ltx/000$l/"; done`, ltxfstest.Orders(t), m.Dir)
	name, large := ltx.FormatFilename(0x99, 0x99), storetest.LTX(t, 0x99, 0x99, storetest.Commit(3000), storetest.Noise())
	require.NoError(t, m.Process(t).WriteFile(ltxfstest.LevelPath(8, name), large))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.NotContains(t, m.Log(), secret)

	m = ltxfstest.MountWith(t, s.URL(bucket, "orders"), ltxfstest.MountOptions{Env: env, Flags: []string{"--rw", "--mtime=exact"}})
	p := m.Process(t)
	got, err := p.ReadFile(ltxfstest.LevelPath(8, name))
	require.NoError(t, err)
	require.Equal(t, ltxfstest.SHA256(large), ltxfstest.SHA256(got))
	require.NoError(t, p.Unlink(ltxfstest.LevelPath(8, name)))
	ltxfstest.RequireOrders(t, m)

	for _, o := range s.Objects(t, bucket, "orders/") {
		_, err := s.Client(t).GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &o.Key})
		require.Error(t, err, "%s is readable without the key", o.Key)
	}
	without := ltxfstest.MountWith(t, s.URL(bucket, "orders", "skipVerify=true"), ltxfstest.MountOptions{Env: s.Env()})
	_, err = without.Process(t).ReadFile(ltxfstest.OrdersFiles(t)[0].Path())
	require.Equal(t, syscall.EIO, err)

	// The key in a file, and Litestream as the reader and as the writer.
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, []byte(secret+"\n"), 0o600))
	replica := func(path string) string {
		return "\n    replica:\n      type: s3\n      bucket: " + bucket + "\n      path: " + path + "\n      endpoint: " + s.Endpoint +
			"\n      skip-verify: true\n      sse-customer-algorithm: AES256\n      sse-customer-key-path: " + keyFile + "\n"
	}
	db := filepath.Join(t.TempDir(), "source.db")
	ltxfstest.MustRun(t, "sqlite3", db, "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(10000))")
	toWrite := saveConfig(t, "dbs:\n  - path: "+db+replica("written"))
	litestream(t, s.Env(), "replicate", "-once", "-config", toWrite)
	m = ltxfstest.MountWith(t, db, ltxfstest.MountOptions{Env: s.Env(), Flags: []string{"--config", toWrite}})
	require.Equal(t, ltxfstest.DatabaseSHA256(t, db), ltxfstest.DatabaseSHA256(t, restoreFrom(t, nil, "file://"+m.Dir)))

	byTXID, _ := ltxfstest.OrdersStates(t)
	out := filepath.Join(t.TempDir(), "restored.db")
	toRead := saveConfig(t, "dbs:\n  - path: /orders.db"+replica("orders"))
	litestream(t, s.Env(), "restore", "-config", toRead, "-o", out, "/orders.db")
	restored, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, byTXID[len(byTXID)-1].SHA256, ltxfstest.SHA256(restored))
}
