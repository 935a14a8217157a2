package remote

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// secretPlace is a way to give ltxfs the secret access key and the key of SSE-C.
type secretPlace struct {
	name   string
	env    []string
	config string // a file, or ""
}

// Wherever a mount gets its secrets from, nobody else can see them: not in the
// lists of processes and mounts, not in what it writes anywhere, be it asked to
// log all it can.
func TestSecretsAreKept(t *testing.T) {
	t.Parallel()
	s := s3test.StartMinIOTLS(t)
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	// With characters that a URL writes in another way.
	key[0], key[1], key[2] = 0xfb, 0xef, 0xff
	sse := base64.StdEncoding.EncodeToString(key)
	secrets := []string{s.SecretKey, sse, url.QueryEscape(sse), url.PathEscape(sse)}

	base := append(append(s.Env(), noCredentials...), "LTXFS_S3_CA_FILE="+s.CAFile, "LITESTREAM_S3_DEBUG=all,signing")
	id, secret, sseEnv := "="+s.AccessKey, "="+s.SecretKey, "LTXFS_S3_SSE_CUSTOMER_KEY="+sse
	for _, place := range []secretPlace{
		{name: "AWS's variables", env: []string{"AWS_ACCESS_KEY_ID" + id, "AWS_SECRET_ACCESS_KEY" + secret, sseEnv}},
		{name: "Litestream's variables", env: []string{"LITESTREAM_ACCESS_KEY_ID" + id, "LITESTREAM_SECRET_ACCESS_KEY" + secret, sseEnv}},
		{name: "ltxfs's variables", env: []string{"LTXFS_S3_ACCESS_KEY_ID" + id, "LTXFS_S3_SECRET_ACCESS_KEY" + secret, sseEnv}},
		{name: "configuration", config: "access-key-id: " + s.AccessKey + "\nsecret-access-key: " + s.SecretKey +
			"\nsse-customer-algorithm: AES256\nsse-customer-key: " + sse + "\n"},
	} {
		for _, daemon := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/daemon=%t", place.name, daemon), func(t *testing.T) {
				bucket := s.Bucket(t)
				l := &leaks{t: t, secrets: secrets, state: t.TempDir(), staging: t.TempDir(), dir: ltxfstest.MountPoint(t)}
				l.env = append(append(base, place.env...), "LTXFS_STATE_DIR="+l.state)
				l.args = []string{"mount", "--rw", "--log-level=debug", "--staging-dir", l.staging}
				replica := s.URL(bucket, "db")
				if place.config != "" {
					l.args = append(l.args, "--config", saveConfig(t, place.config+"dbs:\n  - path: /db\n    replica:\n      url: "+replica+"\n"))
					replica = "/db"
				}
				if daemon {
					l.useDaemon(replica)
				} else {
					l.useForeground(replica)
				}
				require.NotEmpty(t, s.Keys(t, bucket, "db/"), "the mount has worked")
			})
		}
	}
}

// A URL is no place for a secret: it is refused, with where to put it, and isn't shown.
func TestSecretInURL(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	sse := base64.StdEncoding.EncodeToString(key)
	for _, daemon := range []bool{false, true} {
		l := &leaks{t: t, secrets: []string{sse, url.QueryEscape(sse)}, state: t.TempDir(), dir: ltxfstest.MountPoint(t)}
		result := runLtxfs(t, []string{"LTXFS_STATE_DIR=" + l.state}, "mount", fmt.Sprintf("--daemon=%t", daemon),
			"s3://bucket/db?sseCustomerKey="+url.QueryEscape(sse), l.dir)
		require.Equal(t, ltxfstest.ExitUsage, result.Code)
		require.Contains(t, result.Stderr, "LTXFS_S3_SSE_CUSTOMER_KEY")
		l.requireNone("the output", result.Stdout+result.Stderr)
		l.requireNoneIn(l.state)
		require.Empty(t, ltxfstest.Mounts(l.dir))
	}
}

// leaks looks for secrets in all that a mount shows to others.
type leaks struct {
	t       *testing.T
	secrets []string
	env     []string
	args    []string // of ltxfs, without the replica and the mount point

	dir, state, staging string
}

func (l *leaks) useForeground(replica string) {
	m := ltxfstest.MountWith(l.t, replica, ltxfstest.MountOptions{Dir: l.dir, Env: l.env, Flags: l.args[1:]})
	l.work()
	l.requireNone("the processes", allProcesses(l.t))
	require.Equal(l.t, ltxfstest.ExitUnpublished, m.Terminate(l.t), m.Log())
	require.Contains(l.t, m.Log(), "aws sdk", "the SDK's log")
	require.Contains(l.t, m.Log(), "PUT /", "the requests")
	l.requireNone("the log", m.Log())
}

func (l *leaks) useDaemon(replica string) {
	umountDaemonAtEnd(l.t, l.dir, l.env)
	result := runLtxfs(l.t, l.env, append(l.args, "--daemon", replica, l.dir)...)
	require.Equal(l.t, ltxfstest.ExitOK, result.Code, result)
	l.requireNone("the output", result.Stdout+result.Stderr)
	match := regexp.MustCompile(`process (\d+), log file (\S+)\n$`).FindStringSubmatch(result.Stdout)
	require.NotNil(l.t, match, result)
	l.work()
	l.requireNone("the processes", allProcesses(l.t))
	cmdline, err := os.ReadFile("/proc/" + match[1] + "/cmdline")
	require.NoError(l.t, err)
	require.Contains(l.t, string(cmdline), l.dir, "the daemon's command line")

	result = runLtxfs(l.t, l.env, "umount", l.dir)
	require.Equal(l.t, ltxfstest.ExitUnpublished, result.Code, result)
	l.requireNone("the output of umount", result.Stdout+result.Stderr)
	log, err := os.ReadFile(match[2])
	require.NoError(l.t, err)
	require.Contains(l.t, string(log), "aws sdk", "the SDK's log")
	l.requireNone("the log", string(log))
	l.requireNoneIn(l.state)
	l.requireNoneIn(l.staging)
}

// work writes, reads, fails, and leaves something unpublished.
func (l *leaks) work() {
	l.t.Helper()
	p := ltxfstest.NewProcess(l.t, l.dir, nil)
	path, data := ltxfstest.LevelPath(1, ltx.FormatFilename(5, 5)), storetest.LTX(l.t, 5, 5)
	require.NoError(l.t, p.WriteFile(path, data))
	require.NoError(l.t, p.WriteFile(ltxfstest.LevelPath(2, ltx.FormatFilename(6, 6)), storetest.LTX(l.t, 6, 6)))
	require.NoError(l.t, p.Unlink(path))
	require.Equal(l.t, syscall.EBADMSG, p.WriteFile(path, []byte("no LTX")))
	_, err := p.ReadDir("ltx/0002")
	require.NoError(l.t, err)
	p.Close()

	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(l.t, err)
	require.Contains(l.t, string(mounts), l.dir)
	l.requireNone("the table of mounts", string(mounts))
	l.requireNone("df", ltxfstest.MustRun(l.t, "df", l.dir))
	l.requireNoneIn(l.state)
	l.requireNoneIn(l.staging)

	bundle := filepath.Join(l.t.TempDir(), "bundle")
	result := runLtxfs(l.t, l.env, "bundle", "--output", bundle, l.dir)
	require.Equal(l.t, ltxfstest.ExitOK, result.Code, result)
	for name, data := range ltxfstest.Unpack(l.t, bundle) {
		l.requireNone("the bundle's "+name, data)
	}
}

// requireNone checks a text. It doesn't show it: the secrets would be in the
// test's log.
func (l *leaks) requireNone(what, text string) {
	l.t.Helper()
	for i, secret := range l.secrets {
		if at := strings.Index(text, secret); at >= 0 {
			l.t.Fatalf("%s: secret %d is there, behind: %s", what, i, text[max(0, at-200):at])
		}
	}
}

func (l *leaks) requireNoneIn(dir string) {
	l.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		l.requireNone(path, path+string(data))
		return err
	})
	require.NoError(l.t, err)
}

// allProcesses is what the kernel tells everybody of the command lines of all
// processes.
func allProcesses(t testing.TB) string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	var all strings.Builder
	found := false
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		found = found || strings.Contains(string(data), ltxfstest.Binary())
		all.WriteString(strings.ReplaceAll(string(data), "\x00", " ") + "\n")
	}
	require.True(t, found, "the mount's process is among them")
	return all.String() + ltxfstest.MustRun(t, "ps", "-e", "-ww", "-o", "args")
}
