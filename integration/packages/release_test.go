package packages

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// A release has the same bytes wherever and whenever it is built: in another directory, at
// another time, with another umask and time zone. make reproducible does the same with
// nothing in Go's cache.
func TestReproducible(t *testing.T) {
	t.Parallel()
	dir := releases(t)
	first := ltxfstest.Tree(t, filepath.Join(dir, "before"))
	require.Equal(t, first, ltxfstest.Tree(t, filepath.Join(dir, "again")))
	require.NotEqual(t, first, ltxfstest.Tree(t, filepath.Join(dir, "after")), "which is of another commit")
}

// A release has what it is to have, and the version of its tag.
func TestRelease(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(releases(t), "before")
	rpmArch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	binary := "ltxfs-linux-" + runtime.GOARCH
	files := []string{
		binary, binary + ".cdx.json",
		"ltxfs-" + before + "-1." + rpmArch + ".rpm", "ltxfs_" + before + "_" + runtime.GOARCH + ".deb",
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.ElementsMatch(t, append(files, "SHA256SUMS"), names)
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	require.NoError(t, err)
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Contains(t, string(sums), ltxfstest.SHA256(data)+"  "+name+"\n")
	}
	version := ltxfstest.MustRun(t, filepath.Join(dir, binary), "version")
	require.True(t, strings.HasPrefix(version, "ltxfs v1.0.0-rc.1\nrevision "), version)
	bill, err := os.ReadFile(filepath.Join(dir, binary+".cdx.json"))
	require.NoError(t, err)
	require.Contains(t, string(bill), `"purl": "pkg:golang/github.com/hanwen/go-fuse/v2@v2.`)
	require.NotContains(t, string(bill), "md2man", "it is for the manual pages alone")
}
