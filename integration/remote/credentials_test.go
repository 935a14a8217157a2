package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// keysOf is a user's key as the shared file has it.
func keysOf(u *s3test.User) string {
	return fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", u.AccessKey, u.SecretKey)
}

// processOf is a program that prints a user's key, which is long expired, and its secret
// where it doesn't belong.
func processOf(u *s3test.User) string {
	return fmt.Sprintf("#!/bin/sh\necho %s >&2\necho '%s'\n", u.SecretKey,
		fmt.Sprintf(`{"Version": 1, "AccessKeyId": %q, "SecretAccessKey": %q, "Expiration": "2020-01-01T00:00:00Z"}`, u.AccessKey, u.SecretKey))
}

func overwrite(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o700))
}

// A mount goes on within seconds, however another program changes the key, and whatever
// a mount finds there meanwhile. No part of a secret is logged.
func TestCredentialsChange(t *testing.T) {
	t.Parallel()
	s := s3test.VersityGW.Shared(t)
	mute := s3test.NewProxy(t, s.Endpoint)
	mute.Intercept(mute.Hang())
	hanging := []string{"AWS_EC2_METADATA_DISABLED=false", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + mute.Endpoint}
	written := func(text func(*s3test.User) string) func(t *testing.T, file string, u *s3test.User) {
		return func(t *testing.T, file string, u *s3test.User) { overwrite(t, file, text(u)) }
	}
	cut := func(at func(text string) int) func(*s3test.User) string {
		return func(u *s3test.User) string { return keysOf(u)[:at(keysOf(u))] }
	}
	// The file is made, then there is for a moment what is between, and then the new key.
	for name, tt := range map[string]struct {
		make, between, change func(t *testing.T, file string, u *s3test.User)
		env                   []string
		errnos                []syscall.Errno // while it is between
		within                time.Duration   // until the new key is used
	}{
		"written over": {make: written(keysOf), change: written(keysOf)},
		"behind a link that is swapped": {
			make: func(t *testing.T, file string, u *s3test.User) {
				swap(t, file, "1", keysOf(u))
				require.NoError(t, os.Symlink("..data/credentials", file))
			},
			change: func(t *testing.T, file string, u *s3test.User) { swap(t, file, "2", keysOf(u)) },
		},
		"empty in between":                   {make: written(keysOf), between: written(cut(func(string) int { return 0 })), change: written(keysOf)},
		"half the secret in between":         {make: written(keysOf), between: written(cut(func(text string) int { return len(text) - 10 })), change: written(keysOf)},
		"half a line in between":             {make: written(keysOf), between: written(cut(func(text string) int { return len(text) / 2 })), change: written(keysOf)},
		"half the profile's name in between": {make: written(keysOf), between: written(cut(func(text string) int { return 4 })), change: written(keysOf)},
		"removed in between": {make: written(keysOf), change: written(keysOf),
			between: func(t *testing.T, file string, _ *s3test.User) { require.NoError(t, os.Remove(file)) }},
		"removed in between, and the metadata service hangs": {make: written(keysOf), change: written(keysOf), env: hanging,
			between: func(t *testing.T, file string, _ *s3test.User) { require.NoError(t, os.Remove(file)) },
			errnos:  []syscall.Errno{syscall.ETIMEDOUT}},
		"a directory in between": {make: written(keysOf),
			between: func(t *testing.T, file string, _ *s3test.User) {
				require.NoError(t, os.Remove(file))
				require.NoError(t, os.Mkdir(file, 0o700))
			},
			change: func(t *testing.T, file string, u *s3test.User) {
				require.NoError(t, os.Remove(file))
				overwrite(t, file, keysOf(u))
			}},
		"printed by a program": {
			make: func(t *testing.T, file string, u *s3test.User) {
				overwrite(t, file+".sh", processOf(u))
				overwrite(t, file, "[default]\ncredential_process = "+file+".sh\n")
			},
			between: func(t *testing.T, file string, u *s3test.User) { overwrite(t, file+".sh", processOf(u)[:60]) },
			change:  func(t *testing.T, file string, u *s3test.User) { overwrite(t, file+".sh", processOf(u)) },
		},
		"half the secret printed in between": {
			make: written(keysOf),
			between: func(t *testing.T, file string, u *s3test.User) {
				half := *u
				half.SecretKey = u.SecretKey[:20]
				overwrite(t, file+".sh", strings.ReplaceAll(processOf(&half), "2020", "2999"))
				overwrite(t, file, "[default]\ncredential_process = "+file+".sh\n")
			},
			change: func(t *testing.T, file string, u *s3test.User) { overwrite(t, file+".sh", processOf(u)) },
			within: named,
		},
		"a program in between that hangs": {make: written(keysOf), change: written(keysOf),
			between: func(t *testing.T, file string, u *s3test.User) {
				overwrite(t, file+".sh", "#!/bin/sh\necho "+u.SecretKey+"\nsleep 600\n")
				overwrite(t, file, "[default]\ncredential_process = "+file+".sh\n")
			},
			errnos: []syscall.Errno{syscall.ETIMEDOUT}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bucket := s.Bucket(t)
			path, data := putOne(t, s, bucket, "db/0001")
			file := filepath.Join(t.TempDir(), "credentials")
			old := s.NewUser(t, bucket)
			tt.make(t, file, old)
			m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{
				Env:   append(append(append(s.Env(), noCredentials...), "AWS_SHARED_CREDENTIALS_FILE="+file, "LITESTREAM_S3_DEBUG=all,signing"), tt.env...),
				Flags: []string{"--freshness=0s", "--log-level=debug"},
			})
			requireOne(t, m, path, data)
			p := m.Process(t)
			fresh := s.NewUser(t, bucket)
			old.Revoke(t)
			if tt.between != nil {
				tt.between(t, file, fresh)
				began := time.Now()
				_, err := p.Stat(path)
				require.Less(t, time.Since(began), named)
				require.Contains(t, append(tt.errnos, syscall.EACCES, syscall.EIO), err)
			}
			tt.change(t, file, fresh)
			ltxfstest.Eventually(t, max(5*time.Second, tt.within), "the new key is used", func() bool {
				_, err := p.Stat(path)
				return err == nil
			})
			requireOne(t, m, path, data)
			for _, u := range []*s3test.User{old, fresh} {
				require.NotContains(t, m.Log(), u.SecretKey[:len(u.SecretKey)/2])
			}
		})
	}
}

// A source that fails is named, with what to do, and one that hangs in time, even if the
// SDK would ask it for more than credentials. Nothing of what a program prints is told.
func TestCredentialsFail(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	mute := s3test.NewProxy(t, s.Endpoint)
	mute.Intercept(mute.Hang())
	attempts := []*attempt{{name: "metadata service hangs", replica: s.URL(bucket, "db"), code: ltxfstest.ExitPermission, within: named,
		env: append(append(s.Env(), noCredentials...), "AWS_DEFAULTS_MODE=auto", "AWS_EC2_METADATA_DISABLED=false",
			"AWS_EC2_METADATA_SERVICE_ENDPOINT="+mute.Endpoint),
		says: []string{"the instance metadata service " + mute.Endpoint + " gave none"}}}
	for name, script := range map[string]string{
		"fails":            "exit 3",
		"prints half":      `echo '{"Version": 1, "AccessKeyId": "id", "SecretAccessKey": "` + planted + `", "Expi'`,
		"prints a line":    "echo " + planted,
		"prints no end":    "yes " + planted,
		"expires nonsense": `echo '{"Version": 1, "AccessKeyId": "id", "SecretAccessKey": "x", "Expiration": "` + planted + `"}'`,
	} {
		program := filepath.Join(t.TempDir(), "vault")
		overwrite(t, program, "#!/bin/sh\necho "+planted+" >&2\n"+script+"\n")
		profiles := saveConfig(t, "[profile p]\ncredential_process = "+program+"\n[profile role]\nsource_profile = p\nrole_arn = arn:aws:iam::123456789012:role/r\n")
		for _, profile := range []string{"p", "role"} {
			attempts = append(attempts, &attempt{name: name + ", " + profile, replica: s.URL(bucket, "db", "profile="+profile), code: ltxfstest.ExitPermission,
				env:  append(append(s.Env(), noCredentials...), "AWS_CONFIG_FILE="+profiles),
				says: []string{"the credential_process vault of profile p", "run it by hand"}})
		}
	}
	for _, a := range attempts {
		a.start(t)
	}
	for _, a := range attempts {
		t.Run(a.name, a.require)
	}
}

// swap replaces a file as Kubernetes does those of a secret: ..data is a link to the
// directory that they are in by now.
func swap(t *testing.T, file, version, text string) {
	t.Helper()
	dir := filepath.Dir(file)
	require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
	overwrite(t, filepath.Join(dir, version, "credentials"), text)
	require.NoError(t, os.Symlink(version, filepath.Join(dir, "..new")))
	require.NoError(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
}
