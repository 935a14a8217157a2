package remote

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// requireOne checks that a mount shows a file that putOne has put.
func requireOne(t testing.TB, m *ltxfstest.Mounted, path string, data []byte) {
	t.Helper()
	p := m.Process(t)
	names, err := p.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Base(path)}, names)
	got, err := p.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, data, got)
}

// Credentials, endpoint and region come from wherever Litestream and the AWS
// command line have them. In their values, KEY, SECRET, ENDPOINT, HOST and FILE,
// which is one with credentials in its profile backup, are put in.
func TestCredentials(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		path, data := putOne(t, s, bucket, "db/0001")
		file := filepath.Join(t.TempDir(), "credentials")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil,
			"[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n\n[backup]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
			s.AccessKey, s.SecretKey), 0o600))
		put := strings.NewReplacer("KEY", s.AccessKey, "SECRET", s.SecretKey, "ENDPOINT", s.Endpoint,
			"HOST", strings.TrimPrefix(s.Endpoint, "http://"), "FILE", file)

		for name, tt := range map[string]struct {
			query string // after s3://bucket/db
			env   []string
		}{
			"AWS":                  {"?endpoint=ENDPOINT", []string{"AWS_ACCESS_KEY_ID=KEY", "AWS_SECRET_ACCESS_KEY=SECRET"}},
			"Litestream":           {"?endpoint=ENDPOINT", []string{"LITESTREAM_ACCESS_KEY_ID=KEY", "LITESTREAM_SECRET_ACCESS_KEY=SECRET"}},
			"ltxfs":                {"?endpoint=ENDPOINT", []string{"LTXFS_S3_ACCESS_KEY_ID=KEY", "LTXFS_S3_SECRET_ACCESS_KEY=SECRET"}},
			"ltxfs before AWS":     {"?endpoint=ENDPOINT", []string{"LTXFS_S3_ACCESS_KEY_ID=KEY", "LTXFS_S3_SECRET_ACCESS_KEY=SECRET", "AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=nothing"}},
			"AWS beats Litestream": {"?endpoint=ENDPOINT", []string{"AWS_ACCESS_KEY_ID=KEY", "AWS_SECRET_ACCESS_KEY=SECRET", "LITESTREAM_ACCESS_KEY_ID=nobody", "LITESTREAM_SECRET_ACCESS_KEY=nothing"}},
			"profile in the URL":   {"?endpoint=ENDPOINT&profile=backup", []string{"AWS_SHARED_CREDENTIALS_FILE=FILE"}},
			"profile of ltxfs":     {"?endpoint=ENDPOINT", []string{"AWS_SHARED_CREDENTIALS_FILE=FILE", "LTXFS_S3_PROFILE=backup"}},
			"profile of AWS":       {"?endpoint=ENDPOINT", []string{"AWS_SHARED_CREDENTIALS_FILE=FILE", "AWS_PROFILE=backup"}},
			"profile before a key": {"?endpoint=ENDPOINT&profile=backup", []string{"AWS_SHARED_CREDENTIALS_FILE=FILE", "AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=nothing"}},
			"endpoint of ltxfs":    {"", []string{"LTXFS_S3_ENDPOINT=ENDPOINT", "LTXFS_S3_REGION=us-east-1", "AWS_ACCESS_KEY_ID=KEY", "AWS_SECRET_ACCESS_KEY=SECRET"}},
			"Litestream's":         {"", []string{"LITESTREAM_S3_ENDPOINT=ENDPOINT", "AWS_ACCESS_KEY_ID=KEY", "AWS_SECRET_ACCESS_KEY=SECRET"}},
			"AWS's":                {"", []string{"AWS_ENDPOINT_URL_S3=ENDPOINT", "AWS_ACCESS_KEY_ID=KEY", "AWS_SECRET_ACCESS_KEY=SECRET"}},
			"without a scheme":     {"?endpoint=HOST", []string{"AWS_ACCESS_KEY_ID=KEY", "AWS_SECRET_ACCESS_KEY=SECRET"}},
		} {
			t.Run(name, func(t *testing.T) {
				env := append(s.Env(), noCredentials...)
				for _, kv := range tt.env {
					variable, value, _ := strings.Cut(kv, "=")
					env = append(env, variable+"="+put.Replace(value))
				}
				m := ltxfstest.MountWith(t, "s3://"+bucket+"/db"+put.Replace(tt.query), ltxfstest.MountOptions{Env: env})
				requireOne(t, m, path, data)
			})
		}
		t.Run("bucket in the host", func(t *testing.T) {
			m := ltxfstest.MountWith(t, "s3://"+bucket+put.Replace(".HOST/db"), ltxfstest.MountOptions{Env: s.Env()})
			requireOne(t, m, path, data)
		})
	})
}

// A public bucket is read without credentials, if that is asked for. What the
// policy doesn't allow is refused then.
func TestAnonymous(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		path, data := putOne(t, s, bucket, "db/0001")
		env := append(s.Env(), noCredentials...)
		private := runLtxfs(t, env, "mount", s.URL(bucket, "db", "anonymous=true"), t.TempDir())
		require.Equal(t, ltxfstest.ExitPermission, private.Code, private)
		require.Contains(t, private.Stderr, "s3:ListBucket")

		policy, err := json.Marshal(map[string]any{
			"Version": "2012-10-17",
			"Statement": []any{map[string]any{
				"Effect": "Allow", "Principal": map[string]any{"AWS": []string{"*"}},
				"Action":   []string{"s3:ListBucket", "s3:GetObject"},
				"Resource": []string{"arn:aws:s3:::" + bucket, "arn:aws:s3:::" + bucket + "/*"},
			}},
		})
		require.NoError(t, err)
		text := string(policy)
		_, err = s.Client(t).PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &text})
		require.NoError(t, err)
		requireOne(t, ltxfstest.MountWith(t, s.URL(bucket, "db", "anonymous=true"), ltxfstest.MountOptions{Env: env}), path, data)
		m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{
			Env: append(env, "LTXFS_S3_ANONYMOUS=true"), Flags: []string{"--rw"},
		})
		requireOne(t, m, path, data)
		require.Equal(t, syscall.EACCES, m.Process(t).Unlink(path))
		require.Len(t, s.Keys(t, bucket, ""), 1)
	})
}

// Each flag has a variable, and each setting of S3 another. A wrong value is told
// with the variable's name.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	s := s3test.VersityGW.Shared(t)
	bucket := s.Bucket(t)
	path, data := putOne(t, s, bucket, "db/0001")
	staging, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	env := append(s.Env(), "LTXFS_RW=true", "LTXFS_STAGING_DIR="+staging, "LTXFS_LAYOUT=litestream-s3", "LTXFS_FRESHNESS=1h",
		"LTXFS_MTIME=exact", "LTXFS_VERIFY_WRITES=full", "LTXFS_CACHE_SIZE=32MiB", "LTXFS_LIMIT_READ=1GiB", "LTXFS_MAX_REQUESTS=8",
		"LTXFS_FILE_MODE=0640", "LTXFS_UID=12", "LTXFS_LOG_LEVEL=debug", "LTXFS_LOG_FORMAT=json", "LTXFS_LOG_FILE="+log,
		"LTXFS_S3_ENDPOINT="+s.Endpoint, "LTXFS_S3_PART_SIZE=8MiB", "LTXFS_S3_CONCURRENCY=3", "LTXFS_S3_SIGN_PAYLOAD=false",
		"LTXFS_FRESHNES=1s")
	m := ltxfstest.MountWith(t, "s3://"+bucket+"/db", ltxfstest.MountOptions{Env: env})
	requireOne(t, m, path, data)
	st, err := m.Process(t).Stat(path)
	require.NoError(t, err)
	require.Equal(t, ltxfstest.HeaderTime(t, data), st.ModTime)
	require.Equal(t, uint32(0o640), st.Perm())
	require.Equal(t, uint32(12), st.UID)
	require.NoError(t, m.Process(t).Unlink(path))
	require.Empty(t, s.Keys(t, bucket, ""))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(text), `"level":"DEBUG"`)
	require.Contains(t, m.Log(), `"did_you_mean":"LTXFS_FRESHNESS"`, "what comes before the log file goes to standard error")

	for _, tt := range []struct {
		kv   string
		says string
	}{
		{"LTXFS_CACHE_SIZE=much", "LTXFS_CACHE_SIZE=much"},
		{"LTXFS_RW=perhaps", "LTXFS_RW=perhaps"},
		{"LTXFS_FRESHNESS=5", "LTXFS_FRESHNESS=5"},
		{"LTXFS_MTIME=never", "never"},
		{"LTXFS_VERIFY_WRITES=no", "no"},
		{"LTXFS_S3_PART_SIZE=1KiB", "LTXFS_S3_PART_SIZE"},
		{"LTXFS_S3_SKIP_VERIFY=perhaps", "LTXFS_S3_SKIP_VERIFY"},
		{"LTXFS_S3_ENDPOINT=ftp://host", "LTXFS_S3_ENDPOINT"},
		{"LTXFS_S3_DEBUG=everything", "LTXFS_S3_DEBUG"},
		{"LTXFS_S3_CA_FILE=/no/such/file", "/no/such/file"},
	} {
		t.Run(tt.kv, func(t *testing.T) {
			dir := t.TempDir()
			result := runLtxfs(t, append(s.Env(), tt.kv), "mount", "s3://"+bucket+"/db", dir)
			require.Equal(t, ltxfstest.ExitUsage, result.Code, result)
			require.Contains(t, result.Stderr, tt.says)
			require.Empty(t, ltxfstest.Mounts(dir))
		})
	}
}
