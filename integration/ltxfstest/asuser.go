package ltxfstest

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The environment of a test binary that runs tests as another user: the built
// ltxfs, and a directory with what it needs of the module's root, which that
// user may not be able to enter.
const (
	userEnv     = "LTXFSTEST_USER_BINARY"
	userRootEnv = "LTXFSTEST_USER_ROOT"
)

// passed finds the tests that have passed in the output of a test binary.
var passed = regexp.MustCompile(`(?m)^--- PASS: (\S+)`)

// RunAsUser runs the package's tests once more, all but those left out, in a
// process of another user, to whom everything in them belongs. Each must pass.
func RunAsUser(t testing.TB, cred *syscall.Credential, timeout time.Duration, leftOut func(test string) bool) {
	t.Helper()
	dir, err := os.MkdirTemp(workDir, "user-")
	if err != nil {
		t.Fatal(err)
	}
	root, temp, cover := filepath.Join(dir, "root"), filepath.Join(dir, "tmp"), filepath.Join(dir, "cover")
	tools := filepath.Join(root, ".tools", "bin")
	testdata := filepath.Join("integration", "testdata")
	err = errors.Join(
		os.MkdirAll(temp, 0o755), os.MkdirAll(cover, 0o755), os.MkdirAll(tools, 0o755),
		os.CopyFS(filepath.Join(root, testdata), os.DirFS(filepath.Join(rootDir, testdata))))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ltx", "litestream"} {
		data, err := os.ReadFile(Tool(t, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(tools, name), data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	Give(t, cred, dir)
	t.Cleanup(func() {
		for _, mount := range mountsBelow(dir) {
			t.Errorf("a mount was left on %s", mount)
			detach(mount)
		}
		if err := errors.Join(moveCoverage(cover), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})

	run := func(args ...string) Result {
		t.Helper()
		cmd := exec.Command(TestBinary(t, cred), args...)
		cmd.Dir = filepath.Join(root, "integration")
		cmd.Env = append(Env(), userEnv+"="+Binary(), userRootEnv+"="+root,
			"LTXFS_TOOLS="+tools, "LTXFS_COVERDIR="+cover, "TMPDIR="+temp, "HOME="+temp, "XDG_RUNTIME_DIR="+temp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		return RunCmd(t, timeout, cmd)
	}
	list := run("-test.list=.")
	tests := slices.DeleteFunc(strings.Fields(list.Stdout), func(name string) bool {
		return !strings.HasPrefix(name, "Test") || leftOut(name)
	})
	if len(tests) == 0 {
		t.Fatal("no tests: ", list)
	}
	result := run("-test.v", "-test.count=1", "-test.parallel="+flag.Lookup("test.parallel").Value.String(), "-test.timeout="+(timeout-5*time.Second).String(),
		"-test.run=^("+strings.Join(tests, "|")+")$")
	for _, match := range passed.FindAllStringSubmatch(result.Stdout, -1) {
		tests = slices.DeleteFunc(tests, func(name string) bool { return name == match[1] })
	}
	if result.Code != 0 || len(tests) > 0 {
		t.Fatalf("not passed: %v\n%v", tests, result)
	}
}

// moveCoverage adds what another user's ltxfs has written to ours.
func moveCoverage(from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(coverDir, e.Name()), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
