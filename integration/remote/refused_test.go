package remote

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// attempt is an ltxfs mount that must fail.
type attempt struct {
	name    string
	replica string
	env     []string
	code    int
	says    []string
	within  time.Duration

	cmd      *exec.Cmd
	out      bytes.Buffer
	dir      string
	began    time.Time
	ended    time.Time
	finished chan struct{}
}

const (
	soon     = 10 * time.Second // for what no time will mend
	named    = 15 * time.Second // for a source of credentials that hangs
	notAtAll = 45 * time.Second // for what may come yet, until ltxfs gives up
	planted  = "TOPSECRET"      // is in what must not be told
)

// What keeps a replica in S3 from being mounted is told, with what to do about
// it, by an exit code, and in time. No secret is told.
func TestRefused(t *testing.T) {
	t.Parallel()
	minio, gateway, secured := s3test.MinIO.Shared(t), s3test.VersityGW.Shared(t), s3test.StartMinIOTLS(t)
	bucket, other := minio.Bucket(t), gateway.Bucket(t)
	inUse := "?endpoint=" + minio.Endpoint
	silent := s3test.NewProxy(t, minio.Endpoint)
	silent.Intercept(silent.Hang())
	const closed = "127.0.0.1:1" // which isn't given to another test's server meanwhile

	changing, pathless := s3test.NewProxy(t, minio.Endpoint), s3test.NewProxy(t, minio.Endpoint)
	changing.Intercept(s3test.ChangeAcceptEncoding)
	pathless.Intercept(s3test.RefusePathStyle)
	virtual := s3test.URL("http://"+s3test.VirtualHosts, bucket, "db")
	dollars := gateway.Bucket(t)
	withDollar := gateway.NewUserWithSecret(t, dollars, "pa$$word$1x"+planted)
	dollar := saveConfig(t, fmt.Sprintf("dbs:\n  - path: /db\n    replica:\n      url: s3://%s/db?endpoint=%s\n      access-key-id: %s\n      secret-access-key: %s\n",
		dollars, gateway.Endpoint, withDollar.AccessKey, withDollar.SecretKey))
	program := filepath.Join(t.TempDir(), "vault")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho "+planted+"\nsleep 600\n"), 0o700))
	profiles := saveConfig(t, "[default]\ncredential_process = TOKEN="+planted+" "+program+" "+planted+"\n")
	mute := s3test.NewProxy(t, minio.Endpoint)
	mute.Intercept(mute.Hang())
	without := func(env ...string) []string { return append(append(minio.Env(), noCredentials...), env...) }
	for server, bucket := range map[*s3test.Server]string{minio: bucket, gateway: other} {
		server.Put(t, bucket, "old/generations/0123456789abcdef/wal/00000000_00000000.wal.lz4", []byte("old"))
	}

	key := func(s *s3test.Server) []string {
		return append(s.Env(), "AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY="+planted)
	}
	secret := func(s *s3test.Server) []string { return append(s.Env(), "AWS_SECRET_ACCESS_KEY="+planted) }
	attempts := []*attempt{
		{name: "unknown key", replica: minio.URL(bucket, "db"), env: key(minio), code: ltxfstest.ExitPermission,
			says: []string{"InvalidAccessKeyId", "check the access key"}},
		{name: "unknown key, versitygw", replica: gateway.URL(other, "db"), env: key(gateway), code: ltxfstest.ExitPermission,
			says: []string{"InvalidAccessKeyId", "check the access key"}},
		{name: "wrong secret", replica: minio.URL(bucket, "db"), env: secret(minio), code: ltxfstest.ExitPermission,
			says: []string{"SignatureDoesNotMatch", "check the secret access key"}},
		{name: "wrong secret, versitygw", replica: gateway.URL(other, "db"), env: secret(gateway), code: ltxfstest.ExitPermission,
			says: []string{"SignatureDoesNotMatch", "check the secret access key"}},
		{name: "wrong session token", replica: minio.URL(bucket, "db"), env: append(minio.Env(), "AWS_SESSION_TOKEN="+planted), code: ltxfstest.ExitPermission,
			says: []string{"InvalidTokenId"}},
		{name: "no such bucket", replica: minio.URL("no-such-bucket", "db"), env: minio.Env(), code: ltxfstest.ExitNoReplica,
			says: []string{"no-such-bucket", "NoSuchBucket", "check its name"}},
		{name: "no such bucket, versitygw", replica: gateway.URL("no-such-bucket", "db"), env: gateway.Env(), code: ltxfstest.ExitNoReplica,
			says: []string{"no-such-bucket", "NoSuchBucket", "check its name"}},
		{name: "Litestream 0.3", replica: minio.URL(bucket, "old"), env: minio.Env(), code: ltxfstest.ExitNoReplica,
			says: []string{"a replica of Litestream 0.3"}},
		{name: "Litestream 0.3, versitygw", replica: gateway.URL(other, "old"), env: gateway.Env(), code: ltxfstest.ExitNoReplica,
			says: []string{"a replica of Litestream 0.3"}},
		{name: "no credentials", replica: minio.URL(bucket, "db"), env: append(minio.Env(), noCredentials...), code: ltxfstest.ExitPermission,
			says: []string{"no usable credentials", "AWS_ACCESS_KEY_ID", "anonymous=true"}},
		{name: "half of a key", replica: minio.URL(bucket, "db"), env: append(append(minio.Env(), noCredentials...), "LITESTREAM_SECRET_ACCESS_KEY="+planted),
			code: ltxfstest.ExitUsage, says: []string{"LITESTREAM_ACCESS_KEY_ID"}},
		{name: "no such profile", replica: minio.URL(bucket, "db", "profile=nobody"), env: append(minio.Env(), noCredentials...), code: ltxfstest.ExitUsage,
			says: []string{"nobody", "AWS_SHARED_CREDENTIALS_FILE"}},
		{name: "wrong region", replica: gateway.URL(other, "db", "region=eu-central-1"), env: gateway.Env(), code: ltxfstest.ExitNoReplica,
			says: []string{"region", "us-east-1"}},
		{name: "unknown setting", replica: minio.URL(bucket, "db", "sseCustomrKey="+planted), env: minio.Env(), code: ltxfstest.ExitUsage,
			says: []string{"sseCustomrKey", "did you mean sseCustomerKey?"}},
		{name: "wrong key of SSE-C", replica: minio.URL(bucket, "db"), env: append(minio.Env(), "LTXFS_S3_SSE_CUSTOMER_KEY="+planted), code: ltxfstest.ExitUsage,
			says: []string{"LTXFS_S3_SSE_CUSTOMER_KEY", "base64"}},
		{name: "key of SSE-C in the URL", replica: minio.URL(bucket, "db", "sseCustomerKey="+planted), env: minio.Env(), code: ltxfstest.ExitUsage,
			says: []string{"sseCustomerKey", "LTXFS_S3_SSE_CUSTOMER_KEY"}},
		{name: "secret in the URL", replica: minio.URL(bucket, "db", "secretAccessKey="+planted), env: minio.Env(), code: ltxfstest.ExitUsage,
			says: []string{"secretAccessKey", "LTXFS_S3_SECRET_ACCESS_KEY"}},
		{name: "user in the URL", replica: "s3://user:" + planted + "@" + bucket + "/db" + inUse, env: minio.Env(), code: ltxfstest.ExitUsage,
			says: []string{"AWS_ACCESS_KEY_ID"}},
		{name: "user in the endpoint", replica: "s3://" + bucket + "/db?endpoint=http://user:" + planted + "@127.0.0.1:9000", env: minio.Env(), code: ltxfstest.ExitUsage,
			says: []string{"endpoint", "AWS_ACCESS_KEY_ID"}},
		{name: "no TLS there", replica: s3test.URL(strings.Replace(minio.Endpoint, "http:", "https:", 1), bucket, "db"), env: minio.Env(),
			code: ltxfstest.ExitNoReplica, says: []string{"begin the endpoint with http://"}},
		{name: "only TLS there", replica: s3test.URL(strings.Replace(secured.Endpoint, "https:", "http:", 1), bucket, "db"), env: secured.Env(),
			code: ltxfstest.ExitNoReplica, says: []string{"begin the endpoint with https://"}},
		{name: "a header changed on the way", replica: changing.URL(bucket, "db"), env: minio.Env(), code: ltxfstest.ExitPermission,
			says: []string{"SignatureDoesNotMatch", "set signAcceptEncoding=false"}},
		{name: "a header changed, and a wrong secret", replica: changing.URL(bucket, "db"), env: secret(minio), code: ltxfstest.ExitPermission,
			says: []string{"SignatureDoesNotMatch", "check the secret access key"}},
		{name: "$ in the secret", replica: "/db", env: append(without(), "LTXFS_CONFIG="+dollar), code: ltxfstest.ExitPermission,
			says: []string{"SignatureDoesNotMatch", "use --no-expand-env"}},
		{name: "virtual hosts only", replica: virtual, env: append(minio.Env(), "HTTP_PROXY="+pathless.Endpoint), code: ltxfstest.ExitNoReplica,
			says: []string{"SecondLevelDomainForbidden", "set forcePathStyle=false, with which it answers"}},
		{name: "virtual hosts only, unproven", replica: pathless.URL(bucket, "db"), env: minio.Env(), code: ltxfstest.ExitNoReplica,
			says: []string{"SecondLevelDomainForbidden", "set forcePathStyle=false, which"}},
		{name: "proxy refuses", replica: strings.Replace(virtual, "http%3A", "https%3A", 1), env: append(minio.Env(), "HTTPS_PROXY="+minio.Endpoint),
			code: ltxfstest.ExitNoReplica, says: []string{"the proxy " + strings.TrimPrefix(minio.Endpoint, "http://") + " answers 404 Not Found", "check the proxy"}},
		{name: "program hangs", replica: minio.URL(bucket, "db"), env: without("AWS_CONFIG_FILE=" + profiles), code: ltxfstest.ExitPermission,
			says: []string{"the credential_process vault of profile default gave none (no answer in time)"}, within: named},
		{name: "container's endpoint hangs", replica: minio.URL(bucket, "db"), env: without("AWS_CONTAINER_CREDENTIALS_FULL_URI=" + mute.Endpoint + "/" + planted),
			code: ltxfstest.ExitPermission, says: []string{"the container's endpoint " + mute.Endpoint + " gave none (no answer in time)"}, within: named},
		{name: "metadata service hangs", replica: minio.URL(bucket, "db"), code: ltxfstest.ExitPermission, within: named,
			env:  without("AWS_EC2_METADATA_DISABLED=false", "AWS_EC2_METADATA_SERVICE_ENDPOINT="+mute.Endpoint),
			says: []string{"the instance metadata service " + mute.Endpoint + " gave none", "set AWS_ACCESS_KEY_ID"}},
		{name: "nobody there", replica: s3test.URL("http://"+closed, bucket, "db"), env: minio.Env(), code: ltxfstest.ExitNoReplica,
			says: []string{closed, "connection refused", "still trying", "check the endpoint"}, within: notAtAll},
		{name: "proxy down", replica: virtual, env: append(minio.Env(), "HTTP_PROXY=http://user:"+planted+"@"+closed), code: ltxfstest.ExitNoReplica,
			says: []string{closed, "connection refused", "check the proxy", "NO_PROXY"}, within: notAtAll},
		{name: "no answer", replica: silent.URL(bucket, "db"), env: minio.Env(), code: ltxfstest.ExitTimeout,
			says: []string{"still trying", "check the endpoint and the network"}, within: notAtAll},
	}
	for _, a := range attempts {
		a.start(t)
	}
	for _, a := range attempts {
		t.Run(a.name, a.require)
	}
}

// start starts the attempt, beside the others: some take all the time that they
// have.
func (a *attempt) start(t *testing.T) {
	t.Helper()
	a.dir, a.finished = t.TempDir(), make(chan struct{})
	a.cmd = exec.Command(ltxfstest.Binary(), "mount", "--log-level=debug", a.replica, a.dir)
	a.cmd.Env = append(append(ltxfstest.Env(), a.env...), "LITESTREAM_S3_DEBUG=all,signing")
	a.cmd.Stdout, a.cmd.Stderr = &a.out, &a.out
	a.began = time.Now()
	require.NoError(t, a.cmd.Start())
	go func() {
		defer close(a.finished)
		_ = a.cmd.Wait()
		a.ended = time.Now()
	}()
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		<-a.finished
	})
}

func (a *attempt) require(t *testing.T) {
	within := max(soon, a.within)
	select {
	case <-a.finished:
	case <-time.After(time.Until(a.began.Add(within))):
		t.Fatalf("no end after %v", within)
	}
	out := a.out.String()
	require.Less(t, a.ended.Sub(a.began), within, out)
	require.Equal(t, a.code, a.cmd.ProcessState.ExitCode(), out)
	require.Regexp(t, `(?m)^ltxfs: `, out)
	for _, text := range a.says {
		require.Contains(t, out, text)
	}
	require.NotContains(t, out, planted)
	require.NotContains(t, out, "goroutine ")
	require.Empty(t, ltxfstest.Mounts(a.dir))
}
