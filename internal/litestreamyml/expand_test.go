package litestreamyml

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExpandVariables(t *testing.T) {
	env := environment{"A": "aa", "LINES": "x\ny\r\nz", "EMPTY": "", "PID": "no", "DOLLAR": "$A"}
	for in, want := range map[string]string{
		"$A ${A} $Ab":     "aa aa ",
		"$NONE[$EMPTY]":   "[]",
		"$DOLLAR":         "$A",
		"$ $":             "$ $",
		"$$A":             "A",
		"${":              "",
		"${}x":            "x",
		"$PID":            strconv.Itoa(os.Getpid()),
		"# $A":            "# aa",
		"$LINES":          "x\ny\nz",
		"a\r\nb":          "a\nb",
		"${A\nB}c":        "A\nB}c", // the name ends with the line
		"pa$$word is $1x": "paword is x",
	} {
		got, _ := expandVariables(in, env.lookup, never)
		require.Equal(t, want, got, in)
	}
}

func never(int) bool { return false }

// Lines are those of the file, whatever values add to the text.
func TestExpandVariablesLines(t *testing.T) {
	text, lines := expandVariables("one\n$LINES\n${NOSUCH}three\n${LINES}four\nfive", environment{"LINES": "x\ny\nz"}.lookup, never)
	require.Equal(t, "one\nx\ny\nz\nthree\nx\ny\nzfour\nfive", text)
	require.Equal(t, lineMap{1, 2, 2, 2, 3, 4, 4, 4, 5}, lines)
	require.Equal(t, 1, lines.at(0))
	require.Equal(t, 5, lines.at(99))

	_, err := Load(write(t, "# $LINES\ndbs:\n  - path: /x\n    replica: $SECRET\n"),
		environment{"LINES": "x\n# y\n# z", "SECRET": "hunter2"}.lookup, true)
	require.ErrorContains(t, err, ":4: replica: it must have keys")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestExpandVariablesErrors(t *testing.T) {
	_, err := Load(write(t, strings.Repeat("#$LONG\n", 100)), environment{"LONG": strings.Repeat("x", 1<<16)}.lookup, true)
	require.ErrorContains(t, err, "larger than it should be")
	for _, value := range []string{"hunter2\x00", "hunter2\x01", "hunter2\xff"} {
		_, err := Load(write(t, "a: $VALUE"), environment{"VALUE": value}.lookup, true)
		require.ErrorContains(t, err, "environment variable VALUE")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// The process's own environment is the default.
func TestLoadOwnEnvironment(t *testing.T) {
	t.Setenv("LTXFS_TEST_BUCKET", "from-env")
	c, err := Load(write(t, replicaYAML("url: s3://$LTXFS_TEST_BUCKET/db")), os.LookupEnv, true)
	require.NoError(t, err)
	r, err := c.Replica("/data/db")
	require.NoError(t, err)
	require.Equal(t, "from-env", r.S3.Bucket)
}

func TestExpandPath(t *testing.T) {
	me, err := user.Current()
	require.NoError(t, err)
	wd, err := os.Getwd()
	require.NoError(t, err)
	for in, want := range map[string]string{
		"/a/b":            "/a/b",
		"/a//b/../c/":     "/a/c",
		"a/b":             filepath.Join(wd, "a/b"),
		"":                wd,
		"~":               me.HomeDir,
		"~/a":             filepath.Join(me.HomeDir, "a"),
		"~other/a":        filepath.Join(wd, "~other/a"),
		"sqlite:///a/b":   "/a/b",
		"sqlite3:///a/b":  "/a/b",
		"sqlite3://~/a":   filepath.Join(me.HomeDir, "a"),
		"sqlite4:///a/b":  filepath.Join(wd, "sqlite4:/a/b"),
		"sqlite://rel/ab": filepath.Join(wd, "rel/ab"),
	} {
		got, err := expandPath(in)
		require.NoError(t, err)
		require.Equal(t, want, got, in)
	}
}

func TestResolveLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	require.Equal(t, filepath.Join(dir, "real"), resolveLinks(filepath.Join(dir, "link")))
	require.Equal(t, filepath.Join(dir, "real/a/b"), resolveLinks(filepath.Join(dir, "link/a/b")))
	require.Equal(t, filepath.Join(dir, "loop/a"), resolveLinks(filepath.Join(dir, "loop/a")))
	require.Equal(t, "relative-and-missing", resolveLinks("relative-and-missing"))
}
