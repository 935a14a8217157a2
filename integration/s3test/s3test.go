// Package s3test starts real S3 servers for tests, MinIO, the Versity S3 Gateway and
// rclone's, on loopback ports and with fresh directories, and stands between
// them and their clients: Proxy counts requests, answers some in the server's
// place (Intercept), and changes others (Alter) or their answers (Rewrite);
// ToxicProxy makes connections slow or breaks them.
//
// A test that stops or pauses a server starts its own with Start. All others
// take the one of Shared, and a bucket of their own:
//
//	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
//		s := kind.Shared(t)
//		bucket := s.Bucket(t)
//		url, env := s.URL(bucket, "db"), s.Env()
//		…
//
// The TestMain of a package with shared servers calls StopAll after the tests, or
// is Main, if it needs no built ltxfs.
package s3test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// Kind is a kind of server.
type Kind struct {
	Name string // such as "minio"
	Zone string // its time zone, or "" for that of the tests

	tool    string   // the name of its program
	args    []string // for its command line, if it takes some
	command func(s *Server, program string) (*exec.Cmd, error)
	inUse   string // what it says when somebody else has its port

	mu     sync.Mutex
	shared *Server
}

// The kinds of servers.
var (
	MinIO = &Kind{
		Name:    "minio",
		tool:    "minio",
		command: minioCommand,
		inUse:   "port is already in use",
	}
	VersityGW = &Kind{
		Name:    "versitygw",
		tool:    "versitygw",
		command: versitygwCommand,
		inUse:   "address already in use",
	}
)

// FixedETag is versitygw, where files that come by other means have all one ETag.
var FixedETag = &Kind{
	Name:    "versitygw with one ETag",
	tool:    "versitygw",
	args:    []string{"--default-etag", "fixed-1"},
	command: versitygwCommand,
	inUse:   "address already in use",
}

// Rclone is rclone's server, in time zones behind, at and before UTC.
var Rclone = []*Kind{
	rclone("rclone in St_Johns", "America/St_Johns"),
	rclone("rclone in UTC", "UTC"),
	rclone("rclone in Kiritimati", "Pacific/Kiritimati"),
}

// WithoutETags is rclone's server as it is for a remote that has no hashes: every
// ETag is empty, and matches.
var WithoutETags = rclone("rclone without ETags", "UTC", "--etag-hash=")

func rclone(name, zone string, args ...string) *Kind {
	return &Kind{
		Name:    name,
		Zone:    zone,
		tool:    "rclone",
		args:    args,
		command: rcloneCommand,
		inUse:   "address already in use",
	}
}

var (
	// Servers are the kinds that can do all of S3 that ltxfs has a use for.
	Servers = []*Kind{MinIO, VersityGW}

	// AllServers are all kinds, but FixedETag and WithoutETags.
	AllServers = slices.Concat(Servers, Rclone)
)

// ForEach runs a test on each of Servers, beside other tests.
func ForEach(t *testing.T, test func(t *testing.T, kind *Kind)) {
	t.Helper()
	ForKinds(t, Servers, test)
}

// ForAll is ForEach on AllServers.
func ForAll(t *testing.T, test func(t *testing.T, kind *Kind)) {
	t.Helper()
	ForKinds(t, AllServers, test)
}

// ForKinds is ForEach on some kinds.
func ForKinds(t *testing.T, kinds []*Kind, test func(t *testing.T, kind *Kind)) {
	t.Helper()
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

// StartMinIO starts a MinIO of the test's own, which ends with it.
func StartMinIO(t testing.TB) *Server { t.Helper(); return MinIO.Start(t) }

// StartVersityGW starts a Versity S3 Gateway of the test's own, which ends with
// it.
func StartVersityGW(t testing.TB) *Server { t.Helper(); return VersityGW.Start(t) }

// Start starts a server of the test's own, which ends with it, and returns once
// it answers. If the test fails, its log has the server's last output.
func (k *Kind) Start(t testing.TB) *Server {
	t.Helper()
	s, err := k.launch(ltxfstest.Tool(t, k.tool), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Error(err)
		}
		s.logIfFailed(t)
	})
	return s
}

// Shared returns the server that all tests of this process share, and starts it
// for the first of them. It can't be stopped or paused.
func (k *Kind) Shared(t testing.TB) *Server {
	t.Helper()
	program := ltxfstest.Tool(t, k.tool)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shared == nil {
		dir, err := os.MkdirTemp("", "s3test-")
		if err != nil {
			t.Fatal(err)
		}
		s, err := k.launch(program, dir)
		if err != nil {
			_ = os.RemoveAll(dir)
			t.Fatal(err)
		}
		s.shared = true
		k.shared = s
	}
	if k.shared.process.ended() {
		t.Fatalf("%s, which the tests share, has ended:\n%s", k.Name, k.shared.process.output())
	}
	t.Cleanup(func() { k.shared.logIfFailed(t) })
	return k.shared
}

// StopAll ends the shared servers and removes their data. It is for TestMain,
// after the tests. Without it, as when the tests are killed, the servers end
// with the test's process, and only their directories stay.
func StopAll() error {
	for _, k := range append(slices.Clone(AllServers), WithoutETags) {
		if err := k.stopShared(); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kind) stopShared() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.shared
	if s == nil {
		return nil
	}
	k.shared = nil
	if err := s.end(); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// Main is the TestMain of a package that needs servers, but no built ltxfs, as
// ltxfstest.Main gives. It finds the programs that make tools installs, also for
// the tests of another module, and doesn't return.
func Main(m *testing.M) {
	const toolsEnv = "LTXFS_TOOLS"
	if os.Getenv(toolsEnv) == "" {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ltxfs/ltxfs").Output()
		if err == nil {
			err = os.Setenv(toolsEnv, filepath.Join(strings.TrimSpace(string(out)), ".tools", "bin"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "s3test: the directory of the test programs:", err)
			os.Exit(1)
		}
	}
	code := m.Run()
	if err := StopAll(); err != nil {
		fmt.Fprintln(os.Stderr, "s3test:", err)
		code = 1
	}
	os.Exit(code)
}
