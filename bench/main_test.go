// Package bench compares ltxfs with the directory behind it, as `make bench` runs
// it: reading, listing and the tools, through a mount of the built binary.
//
// The two are measured in turns in one run, so that what else the machine does
// meets both, and what counts is the median of their ratios:
//
//	go test ./bench -run '^$' -bench . -benchtime 7x -timeout 30m
package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

func TestMain(m *testing.M) {
	if os.Getenv(readerEnv) != "" {
		serveReader(os.Args[1:])
		return
	}
	ltxfstest.Main(m)
}

// plainBinary puts in the place of the binary that counts its coverage one that
// doesn't. The counters cost time.
var plainBinary = sync.OnceValue(func() error {
	build := exec.Command("go", "build", "-o", ltxfstest.Binary(), "./cmd/ltxfs")
	build.Dir = ltxfstest.Root()
	build.Stderr = os.Stderr
	return build.Run()
})

// mounting is a way to mount, and to read what is mounted.
type mounting struct {
	name string
	cred *syscall.Credential // whom the daemon and its readers run as
}

// mountings are root's, with passthrough, and another user's, through the
// cache. Who isn't root can only measure the latter.
func mountings(b *testing.B) []mounting {
	b.Helper()
	cached := mounting{name: "cache", cred: ltxfstest.User(b)}
	if os.Geteuid() != 0 {
		return []mounting{cached}
	}
	return []mounting{{name: "passthrough"}, cached}
}

func (m mounting) mount(b *testing.B, replica string, flags ...string) *ltxfstest.Mounted {
	b.Helper()
	if err := plainBinary(); err != nil {
		b.Fatal(err)
	}
	return ltxfstest.MountWith(b, replica, ltxfstest.MountOptions{Flags: flags, Credential: m.cred})
}

// timed is how many seconds a program takes, which must succeed.
func (m mounting) timed(b *testing.B, name string, args ...string) float64 {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.cred}
	began := time.Now()
	result := ltxfstest.RunCmd(b, 5*time.Minute, cmd)
	took := time.Since(began)
	if result.Code != 0 {
		b.Fatal(result)
	}
	return took.Seconds()
}

// dir is an empty directory that the mounting's user can write to.
func (m mounting) dir(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	ltxfstest.Give(b, m.cred, dir)
	return dir
}

// benchName is a title as the name of a benchmark.
func benchName(title string) string {
	return strings.NewReplacer(", ", "/", " ", "-").Replace(title)
}

// replicaDir is an empty replica with a level, which every user can read.
func replicaDir(b *testing.B, level string) (root, dir string) {
	b.Helper()
	root = b.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		b.Fatal(err)
	}
	dir = filepath.Join(root, "ltx", level)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	return root, dir
}
