package credentials

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// noTerminal gives the test a standard input at which nobody is.
func noTerminal(t *testing.T) {
	t.Helper()
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	before, err := syscall.Dup(0)
	require.NoError(t, err)
	require.NoError(t, unix.Dup2(int(null.Fd()), 0))
	t.Cleanup(func() {
		require.NoError(t, unix.Dup2(before, 0))
		require.NoError(t, syscall.Close(before))
	})
}

// writeProgram writes a shell script, and the profile p that runs it. The profile role assumes
// a role with what it prints.
func writeProgram(t *testing.T, script string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700))
	files(t, "[profile p]\ncredential_process = "+path+" hunter2\n"+
		"[profile role]\nsource_profile = p\nrole_arn = arn:aws:iam::123456789012:role/r\n", "")
}

// A program that hangs ends in time, with all that it has started, and is to blame.
func TestProcessHangs(t *testing.T) {
	for profile, name := range map[string]string{"p": "", "role": " for role arn:aws:iam::123456789012:role/r"} {
		t.Run(profile, func(t *testing.T) {
			impatient(t, 500*time.Millisecond)
			pid := filepath.Join(t.TempDir(), "pid")
			writeProgram(t, "echo hunter2\necho >>"+pid+".runs\nsleep 600 &\necho $! >"+pid+"\nwait\n")
			noTerminal(t)

			p := New(load(t, profile), nil, discard)
			began := time.Now()
			_, err := p.Retrieve(t.Context())
			require.Less(t, time.Since(began), 5*time.Second)
			requireSilent(t, err, "the credential_process vault of profile p"+name)
			missing, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			require.False(t, missing.RetryableError())

			text, err := os.ReadFile(pid)
			require.NoError(t, err)
			child, err := strconv.Atoi(strings.TrimSpace(string(text)))
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				stat, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
				return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(child, 0) == syscall.ESRCH
			}, 5*time.Second, 10*time.Millisecond)
			require.Never(t, func() bool {
				runs, err := os.ReadFile(pid + ".runs")
				return err != nil || len(runs) > 1
			}, patience, 10*time.Millisecond, "it runs again, and nobody has asked")
		})
	}
}

// requireSilent requires that an error blames a source for its silence.
func requireSilent(t *testing.T, err error, name string) {
	t.Helper()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	timeout, ok := errors.AsType[net.Error](err)
	require.True(t, ok)
	require.True(t, timeout.Timeout())
	missing, ok := errors.AsType[*Error](err)
	require.True(t, ok)
	require.Equal(t, name, missing.From.Name)
	require.NotContains(t, chain(err), "hunter2")
}

// chain is the text of an error with those of all that it wraps.
func chain(err error) (text string) {
	for ; err != nil; err = errors.Unwrap(err) {
		text += err.Error() + "\n"
	}
	return text
}

// What a program prints, or writes to stderr, is in no error and no log, be it half of
// what it should be or with its parts in the wrong places. A program that prints without
// end is ended.
func TestProcessFails(t *testing.T) {
	for _, tt := range []struct{ script, says string }{
		{"echo hunter2 >&2; exit 3", "exit status 3: run it by hand"},
		{"echo hunter2; kill -9 $$", "exit status 137: run it by hand"},
		{"echo hunter2", "it prints no credentials: run it by hand"},
		{`echo '{"Version": 1, "SecretAccessKey": "hunter2", '`, "it prints no credentials"},
		{`echo '{"Version": "hunter2"}'`, "it prints no credentials"},
		{`echo '{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "hunter2"}'`, "it prints no credentials"},
		{`echo '{"Version": 1, "SecretAccessKey": "hunter2"}'`, "missing AccessKeyId in process output: run it by hand"},
		{`echo '{"SecretAccessKey": "hunter2"}'`, "wrong version in process output (not 1)"},
		{"yes hunter2", "exit status 141"}, // of SIGPIPE
		{"trap '' PIPE; yes hunter2; exit 0", "it prints more than 65536 bytes"},
	} {
		writeProgram(t, tt.script)
		for _, profile := range []string{"p", "role"} {
			var err error
			shown := stderr(t, func() { _, err = New(load(t, profile), nil, discard).Retrieve(t.Context()) })
			require.ErrorContains(t, err, "the credential_process vault of profile p")
			require.Contains(t, chain(err), tt.says)
			require.NotContains(t, chain(err)+shown, "hunter2", tt.script)
		}
	}
}

// stderr is what comes out at the process's standard error meanwhile.
func stderr(t *testing.T, meanwhile func()) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer f.Close()
	// By its descriptor: a program that an earlier test has left may read the variable.
	was, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	require.NoError(t, err)
	defer unix.Close(was)
	require.NoError(t, unix.Dup2(int(f.Fd()), 2))
	defer func() { require.NoError(t, unix.Dup2(was, 2)) }()
	meanwhile()
	text, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return string(text)
}
