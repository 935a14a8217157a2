// Package packages tests a release from outside: that its bytes depend on the commit alone,
// and its packages in a Debian system of their own, with systemd.
package packages

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

func TestMain(m *testing.M) {
	ltxfstest.Main(m, func() error { return os.RemoveAll(released.dir) })
}

// buildTimeout bounds the build of a release where nothing is in Go's cache.
const buildTimeout = 15 * time.Minute

// The two releases that the packages are of.
const (
	before = "1.0.0~rc.1" // v1.0.0-rc.1
	after  = "1.0.0"
)

var released struct {
	once sync.Once
	dir  string // holds the directories before, again and after; again is before, built elsewhere
	err  error
}

// releases builds the releases, once, from the sources as they are, and returns the directory
// that holds them.
func releases(t *testing.T) string {
	t.Helper()
	released.once.Do(func() {
		if released.dir, released.err = os.MkdirTemp("", "ltxfs-release-"); released.err != nil {
			return
		}
		platform := "linux-" + runtime.GOARCH
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", buildReleases, "bash", ltxfstest.Root(), released.dir, platform)
		cmd.Env = append(ltxfstest.Env(), "LTXFS_TOOLS="+filepath.Dir(ltxfstest.Tool(t, "nfpm")))
		if result := ltxfstest.RunCmd(t, buildTimeout, cmd); result.Code != 0 {
			released.err = errors.New(result.String())
		}
	})
	require.NoError(t, released.err)
	return released.dir
}

// buildReleases makes a repository of the sources, which may be no checkout, and builds its
// releases.
const buildReleases = `
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=ltxfs GIT_AUTHOR_EMAIL=ltxfs@localhost GIT_COMMITTER_NAME=ltxfs GIT_COMMITTER_EMAIL=ltxfs@localhost
export GIT_AUTHOR_DATE=2026-11-22T22:00:00Z GIT_COMMITTER_DATE=2026-11-22T22:00:00Z
mkdir "$2/sources"
cd "$2/sources"
tar -C "$1" --exclude=./.git --exclude=./.tools --exclude=./.cover --exclude=./bin --exclude=./dist -c . | tar -x
git init -q
git add -A
git commit -qm "The sources"
git tag v1.0.0-rc.1
.ci/release "$3"
mv dist "$2/before"
(
	umask 077
	export TZ=Asia/Tokyo
	git clone -q . "$2/a directory/elsewhere"
	cd "$2/a directory/elsewhere"
	.ci/release "$3"
	mv dist "$2/again"
)
git commit -q --allow-empty -m "The same"
git tag v1.0.0
.ci/release "$3"
mv dist "$2/after"
`
