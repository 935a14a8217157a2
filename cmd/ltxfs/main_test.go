package main

import (
	"bytes"
	"io"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
)

// ltxfs runs a command line in this process.
func ltxfs(args ...string) (code exitcode.Code, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"/usr/bin/ltxfs"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"nonsense", `unknown command "nonsense"`},
		{"umonut", "did you mean umount"},
		{"/etc", "ltxfs mount /etc MOUNTPOINT"},
		{"--nonsense", "--nonsense"},
		{"mount", "needs REPLICA and MOUNTPOINT, but got 0 of 2"},
		{"mount a", "got 1 of 2"},
		{"mount a b c", "got 3 of 2"},
		{"mount --nonsense a b", "--nonsense"},
		{"mount --secret-access-key x a b", "secretAccessKey does not belong on the command line, which others can read: set LTXFS_S3_SECRET_ACCESS_KEY in the environment"},
		{"mount --cache-size lots a b", "lots"},
		{"umount", "MOUNTPOINT"},
		{"version now", "takes no arguments"},
		{"demo now", "takes no arguments"},
		{"a b -o nonsense", `unknown mount option "nonsense"`},
		{"restor a -o b", "did you mean restore"},
		{"inf --json a", "did you mean info"},
	} {
		code, stdout, stderr := ltxfs(strings.Fields(tt.args)...)
		require.Equal(t, exitcode.Usage, code, tt.args)
		require.Empty(t, stdout, tt.args)
		require.True(t, strings.HasPrefix(stderr, "ltxfs: "), stderr)
		require.Contains(t, stderr, tt.says)
		require.NotContains(t, stderr, "Usage:")
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

// What a URL holds is told by no error, whichever command it was meant for.
func TestErrorsTellNoSecret(t *testing.T) {
	const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="
	url := "s3://id:" + secret + "@bucket/path?sseCustomerKey=" + secret + "&region=eu-west-1#" + secret
	for _, args := range [][]string{
		{url}, {"mount", url}, {"mount", url, "/none"}, {"mount", url, "/none", "/x"}, {"mount", "--config", url, "x", "y"},
		{"mount", "--log-file", url, url, "/none"}, {"mount", "/none", url}, {"mount", "-o", url, "/none", "/x"},
		{"umount", url}, {"version", url}, {"demo", url}, {"--x=" + url}, {url, "/none", "-o", "rw"},
		{"mount", "--secret-access-key=" + secret, "a", "b"}, {"mount", "--sse_customer_key", secret, "a", "b"},
		{"mount", "-o", "session-token=" + secret, "a", "b"}, {"mount", "-secret-access-key=" + secret, "a", "b"},
		{"mount", "--secretAccessKey=" + secret, "a", "b"}, {"a", "b", "-o", "rw", "--secret-access-key=" + secret},
	} {
		code, stdout, stderr := ltxfs(args...)
		require.NotEqual(t, exitcode.OK, code, args)
		require.NotContains(t, stdout+stderr, secret, args)
	}
	code, _, stderr := ltxfs("s3://bucket/path?sseCustomerKey=" + secret)
	require.Equal(t, exitcode.Usage, code)
	require.Contains(t, stderr, "to mount, write ltxfs mount s3://bucket/path?sseCustomerKey=(secret)")
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "--help", "help mount", "mount --help", "umount --help", "unmount --help", "demo --help", "completion bash"} {
		code, stdout, stderr := ltxfs(strings.Fields(args)...)
		require.Equal(t, exitcode.OK, code, args)
		require.NotEmpty(t, stdout, args)
		require.Empty(t, stderr, args)
	}
	_, stdout, _ := ltxfs("mount", "--help")
	require.NotContains(t, stdout, "sloppy")
	require.NotContains(t, stdout, "default 0000")
}

func TestVersionCommand(t *testing.T) {
	code, stdout, _ := ltxfs("version")
	require.Equal(t, exitcode.OK, code)
	require.True(t, strings.HasPrefix(stdout, "ltxfs "), stdout)
	require.Contains(t, stdout, "go-fuse ")
}

func TestVersionText(t *testing.T) {
	require.Contains(t, versionText(nil), "go-fuse unknown")
	text := versionText(&debug.BuildInfo{
		Deps: []*debug.Module{{Path: "a"}, {Path: fuseModule, Version: "v2.12.1"}},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-11-22T22:06:02Z"}, {Key: "vcs.modified", Value: "true"},
		},
	})
	require.Contains(t, text, "revision abc of 2026-11-22T22:06:02Z, with changes\n")
	require.Contains(t, text, "go-fuse v2.12.1\n")
	text = versionText(&debug.BuildInfo{Deps: []*debug.Module{{Path: fuseModule, Replace: &debug.Module{Path: "fork", Version: "v9"}}}})
	require.Contains(t, text, "go-fuse fork v9\n")
}

func TestTranslateHelperCall(t *testing.T) {
	for _, tt := range []struct{ program, args, want string }{
		{"ltxfs", "mount a b", "mount a b"},
		{"ltxfs", "", ""},
		{"ltxfs", "a b", "a b"},
		{"ltxfs", "umount a -o x", "umount a -o x"},
		{"ltxfs", "completion bash -o x", "completion bash -o x"},
		{"ltxfs", "--flag a -o x", "--flag a -o x"},
		{"ltxfs", "/srv/r /mnt -o rw,dev,suid", "mount --daemon -o rw,dev,suid --quiet -- /srv/r /mnt"},
		{"mount.ltxfs", "/srv/r /mnt -v -o ro -t ltxfs", "mount --daemon -o ro -- /srv/r /mnt"},
		{"mount.ltxfs", "/srv/r /mnt", "mount --daemon --quiet -- /srv/r /mnt"},
		{"mount.fuse.ltxfs", "/srv/r /mnt -sn -f", "mount --daemon --sloppy --fake --quiet -- /srv/r /mnt"},
		{"ltxfs", "s3://b/p?endpoint=http://h:1 /mnt -o ro,dev", "mount --daemon -o ro,dev --quiet -- s3://b/p?endpoint=http://h:1 /mnt"},
		{"ltxfs", "/var/db /mnt -o rw,config=/etc/l.yml", "mount --daemon -o rw,config=/etc/l.yml --quiet -- /var/db /mnt"},
		{"mount.ltxfs", "/srv/r -", "mount --daemon --quiet -- /srv/r -"},
	} {
		got, err := translateHelperCall(tt.program, strings.Fields(tt.args), isCommand)
		require.NoError(t, err, tt.args)
		require.Equal(t, tt.want, strings.Join(got, " "), tt.args)
	}
	for args, says := range map[string]string{
		"/srv/r /mnt -o":   "-o needs a value",
		"/srv/r /mnt -N x": "nsenter",
		"/srv/r /mnt -x":   `"-x"`,
	} {
		_, err := translateHelperCall("mount.ltxfs", strings.Fields(args), isCommand)
		require.Equal(t, exitcode.Usage, exitcode.Of(err), args)
		require.ErrorContains(t, err, says)
	}
}

// unread is a writer that nobody reads from until it is closed.
type unread chan struct{}

func (u unread) Write(p []byte) (int, error) {
	<-u
	return len(p), nil
}

// A terminal that is stopped delays the end of the process by two seconds, and
// no more.
func TestErrorThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stderr := make(unread)
		begin := time.Now()
		require.Equal(t, exitcode.Usage, run([]string{"ltxfs", "nonsense"}, nil, io.Discard, stderr))
		require.Equal(t, logging.Patience, time.Since(begin))
		close(stderr)
	})
}

// Nothing that was told at the end is lost.
func TestEndIsReported(t *testing.T) {
	t.Setenv("LTXFS_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	none := filepath.Join(t.TempDir(), "none")
	code, _, stderr := ltxfs("mount", "--log-level=debug", none, t.TempDir())
	require.Equal(t, exitcode.NoReplica, code)
	require.Contains(t, stderr, "ltxfs: open replica "+none+": no such directory")
}

// The exit code of ltxfs umount is the error's.
func TestUmountCommand(t *testing.T) {
	t.Setenv("LTXFS_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	dir := t.TempDir()
	code, _, stderr := ltxfs("umount", dir)
	require.Equal(t, exitcode.NotMounted, code)
	require.Contains(t, stderr, "ltxfs: unmount "+dir+": nothing is mounted there")
}
