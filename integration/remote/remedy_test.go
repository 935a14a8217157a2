package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// What a message advises cures what it is about.
func TestRemedies(t *testing.T) {
	t.Parallel()
	minio, gateway := s3test.MinIO.Shared(t), s3test.VersityGW.Shared(t)
	bucket, other := minio.Bucket(t), gateway.Bucket(t)
	path, data := putOne(t, minio, bucket, "db/0001")
	putOne(t, gateway, other, "db/0001")
	t.Run("signAcceptEncoding", func(t *testing.T) {
		p := s3test.NewProxy(t, minio.Endpoint)
		p.Intercept(s3test.ChangeAcceptEncoding)
		requireOne(t, ltxfstest.MountWith(t, p.URL(bucket, "db", "signAcceptEncoding=false"), ltxfstest.MountOptions{Env: minio.Env()}), path, data)
	})
	t.Run("forcePathStyle", func(t *testing.T) {
		p := s3test.NewProxy(t, minio.Endpoint)
		p.Intercept(s3test.RefusePathStyle)
		m := ltxfstest.MountWith(t, s3test.URL("http://"+s3test.VirtualHosts, bucket, "db", "forcePathStyle=false"),
			ltxfstest.MountOptions{Env: append(minio.Env(), "HTTP_PROXY="+p.Endpoint)})
		requireOne(t, m, path, data)
	})
	t.Run("no-expand-env", func(t *testing.T) {
		u := gateway.NewUserWithSecret(t, other, "pa$$word$1x")
		file := saveConfig(t, fmt.Sprintf("dbs:\n  - path: /db\n    replica:\n      url: s3://%s/db?endpoint=%s\n      access-key-id: %s\n      secret-access-key: %s\n",
			other, gateway.Endpoint, u.AccessKey, u.SecretKey))
		m := ltxfstest.MountWith(t, "/db", ltxfstest.MountOptions{Env: append(gateway.Env(), noCredentials...), Flags: []string{"--config", file, "--no-expand-env"}})
		requireOne(t, m, path, data)
	})
}

// A mount goes on when another program has replaced the key in the shared file, be it
// before or after the server forgets the old one.
func TestCredentialsRenewed(t *testing.T) {
	t.Parallel()
	s := s3test.VersityGW.Shared(t)
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprintf("early=%t", early), func(t *testing.T) {
			t.Parallel()
			bucket := s.Bucket(t)
			path, data := putOne(t, s, bucket, "db/0001")
			file := filepath.Join(t.TempDir(), "credentials")
			save := func(u *s3test.User) {
				text := fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", u.AccessKey, u.SecretKey)
				require.NoError(t, os.WriteFile(file+".new", text, 0o600))
				require.NoError(t, os.Rename(file+".new", file))
			}
			old := s.NewUser(t, bucket)
			save(old)
			m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{
				Env: append(append(s.Env(), noCredentials...), "AWS_SHARED_CREDENTIALS_FILE="+file), Flags: []string{"--rw", "--freshness=0s"},
			})
			requireOne(t, m, path, data)
			p := m.Process(t)
			fresh := s.NewUser(t, bucket) // the bucket is no more the old one's
			if early {
				save(fresh)
			}
			old.Revoke(t)
			if !early {
				_, err := p.Stat(path)
				require.Equal(t, syscall.EACCES, err)
				save(fresh)
				ltxfstest.Eventually(t, ltxfstest.Timeout, "the new key is used", func() bool {
					_, err := p.Stat(path)
					return err == nil
				})
			}
			requireOne(t, m, path, data)
			require.NoError(t, p.Unlink(path))
			require.Empty(t, s.Keys(t, bucket, ""))
			require.Contains(t, m.Log(), "there are new credentials")
			for _, u := range []*s3test.User{old, fresh} {
				require.NotContains(t, m.Log(), u.SecretKey)
			}
		})
	}
}

// A store that refuses checksums without a word of them gets the file without, and it is
// read back.
func TestChecksumsRefusedInOtherWords(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		proxy := s3test.NewProxy(t, s.Endpoint)
		proxy.Intercept(s3test.RefuseChecksums)
		m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Env: s.Env(), Flags: []string{"--rw"}})
		p := m.Process(t)
		files := ltxfstest.OrdersFiles(t)[:2]
		for _, f := range files {
			require.NoError(t, p.WriteFile(ltxfstest.LevelPath(1, f.Name), ltxfstest.OrdersData(t, f)))
		}
		require.Len(t, s.Keys(t, bucket, ""), len(files))
		for _, f := range files {
			require.Equal(t, ltxfstest.OrdersData(t, f), s.Get(t, bucket, "db/0001/"+f.Name))
		}
		require.Equal(t, 4, proxy.Counts()[s3test.PutObject], "two of them for nothing")
		require.Equal(t, 1, strings.Count(m.Log(), "the store doesn't know checksums with uploads"), m.Log())
	})
}
