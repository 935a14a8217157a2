package secrets

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// roleEnv has the test binary play a process whose arguments hold a secret.
const roleEnv = "LTXFS_TEST_SECRETS"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) == "" {
		os.Exit(m.Run())
	}
	plain := HideArgs(os.Args, isPublic)
	os.Stdout.WriteString(strings.Join(plain[1:], " ") + "\n")
	os.Stdin.Read(make([]byte, 1)) // until the test has looked
}

func isPublic(name string) bool { return name == "region" || name == "endpoint" }

func TestRedact(t *testing.T) {
	for arg, want := range map[string]string{
		"":                                  "",
		"mount":                             "mount",
		"/srv/a@b?key=value#c":              "/srv/a@b?key=value#c",
		"a:b@c?d=e":                         "a:b@c?d=e",
		"s3://bucket/path":                  "s3://bucket/path",
		"s3://bucket/p@th":                  "s3://bucket/p@th",
		"s3://bucket.host:9000/p@th":        "s3://bucket.host:9000/p@th",
		"s3://arn:aws:s3:r:1:ap/x/p@th":     "s3://arn:aws:s3:r:1:ap/x/p@th",
		"s3://bucket?region=eu&key=abc":     "s3://bucket?region=eu&key=xxx",
		"s3://bucket?key=a%2Fb&region=eu":   "s3://bucket?key=xxxxx&region=eu",
		"s3://bucket?%72egion=eu":           "s3://bucket?%72egion=eu",
		"s3://bucket?key=ab&cd==&region=eu": "s3://bucket?key=xx&cd=x&region=eu",
		"s3://bucket?key=ab;cd&region=eu":   "s3://bucket?key=xx;xx&region=eu",
		"s3://bucket?key=":                  "s3://bucket?key=",
		"s3://id:se/cret@bucket/path":       "s3://xxxxxxxxxx@bucket/path",
		"S3://id:secret@bucket?region=eu@x": "S3://xxxxxxxxx@bucket?region=eu@x",
		"s3:/bucket?key=abc":                "s3:/bucket?key=xxx",
		"s3://bucket#abc?key=d":             "s3://bucket#xxxxxxxxx",
		"s3://bucket?":                      "s3://bucket?",
	} {
		require.Equal(t, want, Redact(arg, isPublic), arg)
	}
}

func TestScrub(t *testing.T) {
	args := []string{"ltxfs", "s3://bucket?key=0123456%3D&regoin=us&endpoint=localhost"}
	require.Equal(t, "a (secret) b (secret) us localhost",
		Scrub("a 0123456%3D b 0123456= us localhost", args, isPublic))
	require.Equal(t, "/a?key=0123456789", Scrub("/a?key=0123456789", []string{"/a?key=0123456789"}, isPublic))
}

// What the kernel tells of a process that has hidden its secrets doesn't hold
// them, and the process still has them.
func TestHideArgs(t *testing.T) {
	args := []string{"mount", "s3://bucket/path?region=eu&key=TOPSECRET&x=1", "/mnt", "s3://user:TOPSECRET@b"}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleEnv+"=1")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	watchdog := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, strings.Join(args, " ")+"\n", line)

	seen, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cmdline")
	require.NoError(t, err)
	require.Equal(t, []string{os.Args[0], "mount", "s3://bucket/path?region=eu&key=xxxxxxxxx&x=x", "/mnt", "s3://xxxxxxxxxxxxxx@b", ""},
		strings.Split(string(seen), "\x00"))
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
}
