// Package ltxfstest drives the built ltxfs binary from outside: it builds it,
// mounts replicas with it, and runs tools and single system calls against the
// mounts, each with a deadline. A mount that hangs fails its test, with the
// daemon's log and goroutines, and never hangs the test's own process.
package ltxfstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Timeout bounds what has no reason to take long.
const Timeout = 30 * time.Second

// Main is the TestMain of a package that uses this one. It builds ltxfs, with
// coverage of all packages, runs the tests and then each of after, and doesn't
// return. After are what ends the things that tests share, such as servers.
//
// The coverage of every run of the binary lands in .cover/integration below
// the module's root, or in $LTXFS_COVERDIR.
func Main(m *testing.M, after ...func() error) {
	if os.Getenv(processEnv) != "" {
		serveProcess(os.Stdin, os.Stdout)
		os.Exit(0)
	}
	if config := os.Getenv(triggerEnv); config != "" {
		fmt.Fprintln(os.Stderr, "ltxfstest: automounter:", serveTrigger(config))
		os.Exit(1)
	}
	os.Exit(run(m, after))
}

func run(m *testing.M, after []func() error) int {
	dir, err := setUp()
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ltxfstest:", err)
		return 1
	}
	code := m.Run()
	for _, end := range after {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, "ltxfstest:", err)
			code = 1
		}
	}
	if left := mountsBelow(dir); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "ltxfstest: mounts left behind: %s\n", strings.Join(left, " "))
		return 1
	}
	return code
}

// Set once by setUp, before any test runs.
var (
	rootDir  string // the module's
	workDir  string // holds the binary and the mount points; anyone may enter it
	coverDir string
)

func setUp() (dir string, err error) {
	if rootDir, err = moduleRoot(); err != nil {
		return "", err
	}
	if coverDir = os.Getenv("LTXFS_COVERDIR"); coverDir == "" {
		coverDir = filepath.Join(rootDir, ".cover", "integration")
	}
	if err := os.MkdirAll(coverDir, 0o777); err != nil {
		return "", err
	}
	if workDir, err = os.MkdirTemp("", "ltxfstest-"); err != nil {
		return "", err
	}
	if err := os.Chmod(workDir, 0o755); err != nil {
		return workDir, err
	}
	if binary := os.Getenv(userEnv); binary != "" {
		return workDir, os.Symlink(binary, Binary())
	}
	// Counting how often a statement ran would take a fifth of the time of a listing.
	build := exec.Command("go", "build", "-cover", "-covermode=set", "-coverpkg=./...", "-o", binary(), "./cmd/ltxfs")
	build.Dir = rootDir
	if out, err := build.CombinedOutput(); err != nil {
		return workDir, fmt.Errorf("build ltxfs: %w\n%s", err, out)
	}
	return workDir, nil
}

func moduleRoot() (string, error) {
	if dir := os.Getenv(userRootEnv); dir != "" {
		return dir, nil
	}
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(string(bytes.TrimSpace(out))), nil
}

// Root is the directory of the module.
func Root() string { return rootDir }

// Binary is the ltxfs that Main built.
func Binary() string {
	lookAtSources()
	return binary()
}

// BuildWith builds an ltxfs that differs by one thing in one of its sources, such as a
// constant that no test has the time for.
func BuildWith(t testing.TB, source, from, to string) (binary string) {
	t.Helper()
	source, dir := filepath.Join(rootDir, source), t.TempDir()
	binary, changed, overlay := filepath.Join(dir, "ltxfs"), filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	old, err := os.ReadFile(source)
	if err == nil && bytes.Count(old, []byte(from)) != 1 {
		err = fmt.Errorf("%q isn't once in %s", from, source)
	}
	replace, jerr := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	err = errors.Join(err, jerr, os.WriteFile(changed, bytes.Replace(old, []byte(from), []byte(to), 1), 0o600), os.WriteFile(overlay, replace, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "./cmd/ltxfs")
	build.Dir = rootDir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build ltxfs: %v\n%s", err, out)
	}
	return binary
}

func binary() string { return filepath.Join(workDir, "ltxfs") }

// lookAtSources reads the module's directories. From what a test opens, go test
// knows what its result depends on, and doesn't take it for an earlier run's
// after a change to the sources that Main had built.
var lookAtSources = sync.OnceFunc(func() {
	_ = filepath.WalkDir(rootDir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // it has gone meanwhile
		case d.IsDir() && path != rootDir && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		}
		return nil
	})
})

// Tool is the path of a program that `make tools` installs into .tools/bin
// below the module's root, or that stands in $LTXFS_TOOLS.
func Tool(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("LTXFS_TOOLS")
	if dir == "" {
		dir = filepath.Join(rootDir, ".tools", "bin")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test program %s is missing (%v): run make tools", name, err)
	}
	return path
}

// Env is the environment of all children: ours, in a fixed locale and time
// zone, and without AWS_CA_BUNDLE, with which Litestream v0.5.18 doesn't start.
func Env() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_CA_BUNDLE=") {
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C", "TZ=UTC", "GOTRACEBACK=all", "GOCOVERDIR="+coverDir)
}

// Eventually polls until cond holds, and fails the test if it doesn't before
// the timeout.
func Eventually(t testing.TB, timeout time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s%s", timeout, what, dumpMounts(t))
		}
	}
}
