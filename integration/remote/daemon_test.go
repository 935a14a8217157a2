package remote

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// daemonRun is a mount by --daemon, with state and staging directories of its own.
type daemonRun struct {
	dir, staging string
	env          []string
}

func newDaemonRun(t *testing.T, s *s3test.Server) *daemonRun {
	t.Helper()
	d := &daemonRun{dir: ltxfstest.MountPoint(t), staging: t.TempDir()}
	d.env = append(s.Env(), "LTXFS_STATE_DIR="+t.TempDir())
	umountDaemonAtEnd(t, d.dir, d.env)
	return d
}

// mount mounts and returns what it printed.
func (d *daemonRun) mount(t *testing.T, replica string, flags ...string) ltxfstest.Result {
	t.Helper()
	args := append([]string{"mount", "--daemon", "--rw", "--staging-dir", d.staging}, flags...)
	result := runLtxfs(t, d.env, append(args, replica, d.dir)...)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	require.Len(t, ltxfstest.Mounts(d.dir), 1, "the mount is there when --daemon returns")
	return result
}

func (d *daemonRun) umount(t *testing.T) ltxfstest.Result {
	t.Helper()
	result := runLtxfs(t, d.env, "umount", d.dir)
	require.Empty(t, ltxfstest.Mounts(d.dir), result)
	return result
}

// --daemon returns once a replica in S3 is mounted, says where, and leaves a
// process that serves it until ltxfs umount.
func TestDaemonOnS3(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		d := newDaemonRun(t, s)
		result := d.mount(t, s.URL(bucket, "db"))
		require.Regexp(t, `^mounted s3://`+bucket+`/db on `+regexp.QuoteMeta(d.dir)+`: process \d+, log file \S+\n$`, result.Stdout)
		require.Empty(t, result.Stderr)
		name, data := ltx.FormatFilename(5, 5), storetest.LTX(t, 5, 5)
		p := ltxfstest.NewProcess(t, d.dir, nil)
		require.NoError(t, p.WriteFile(ltxfstest.LevelPath(1, name), data))
		p.Close()
		require.Equal(t, data, s.Get(t, bucket, "db/0001/"+name))

		result = d.umount(t)
		require.Equal(t, ltxfstest.ExitOK, result.Code, result)
		log := regexp.MustCompile(`log file (\S+)`).FindStringSubmatch(d.mount(t, s.URL(bucket, "db")).Stdout)[1]
		require.FileExists(t, log)
		require.Equal(t, ltxfstest.ExitOK, d.umount(t).Code)

		// What can't be mounted is told by the command, and leaves nothing.
		result = runLtxfs(t, d.env, "mount", "--daemon", s.URL("no-such-bucket", "db"), d.dir)
		require.Equal(t, ltxfstest.ExitNoReplica, result.Code, result)
		require.Contains(t, result.Stderr, "no-such-bucket")
		require.Empty(t, ltxfstest.Mounts(d.dir))
		result = runLtxfs(t, d.env, "umount", d.dir)
		require.Equal(t, ltxfstest.ExitNotMounted, result.Code, result)
	})
}

// What can't be published because the server is away stays: in the mount, and at
// the end of the mount in the staging directory, of which umount and the next
// mount tell. The command that this one prints publishes it.
func TestDaemonWhileServerIsAway(t *testing.T) {
	t.Parallel()
	s := s3test.StartMinIO(t)
	bucket := s.Bucket(t)
	d := newDaemonRun(t, s)
	d.mount(t, s.URL(bucket, "db"))
	name, data := ltx.FormatFilename(5, 5), storetest.LTX(t, 5, 5, storetest.Commit(100))
	path := filepath.Join(d.dir, ltxfstest.LevelPath(1, name))
	var stderr bytes.Buffer
	cat := exec.Command("bash", "-c", `cat > "$1"`, "bash", path)
	cat.Env, cat.Stderr = ltxfstest.Env(), &stderr
	stdin, err := cat.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cat.Start())
	t.Cleanup(func() { _ = cat.Process.Kill() })
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the file is open", func() bool {
		return strings.Contains(fmt.Sprint(slices.Collect(maps.Keys(ltxfstest.Tree(t, d.staging)))), name)
	})

	s.Stop(t)
	_, err = stdin.Write(data)
	require.NoError(t, err)
	require.NoError(t, stdin.Close())
	// The store may come back, so this is tried for a while.
	ended := make(chan error, 1)
	go func() { ended <- cat.Wait() }()
	select {
	case err := <-ended:
		require.Error(t, err, "cat > FILE")
		require.Contains(t, stderr.String(), "Input/output error")
	case <-time.After(2 * time.Minute):
		t.Fatal("close hangs")
	}
	p := ltxfstest.NewProcess(t, d.dir, nil)
	got, err := p.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, data, got, "what is staged can be read")
	p.Close()

	result := d.umount(t)
	require.Equal(t, ltxfstest.ExitUnpublished, result.Code, result)
	staged := regexp.MustCompile(`kept in (\S+)`).FindStringSubmatch(result.Stderr)
	require.NotNil(t, staged, result)
	require.Contains(t, result.Stderr, name)
	require.Contains(t, result.Stderr, "connection refused", "the reason")
	kept, err := os.ReadFile(staged[1])
	require.NoError(t, err)
	require.Equal(t, data, kept)

	s.Start(t)
	require.Empty(t, s.Keys(t, bucket, ""))
	readOnly := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Env: s.Env(), Flags: []string{"--staging-dir", d.staging}})
	require.Contains(t, readOnly.Log(), "left unpublished by an earlier mount")
	result = d.mount(t, s.URL(bucket, "db"))
	require.Contains(t, result.Stderr, "earlier mounts left 1 file unpublished")
	command := regexp.MustCompile(`(?m)^ *to publish it: (.*)$`).FindStringSubmatch(result.Stderr)
	require.NotNil(t, command, result)
	ltxfstest.Shell(t, command[1])
	require.Equal(t, data, s.Get(t, bucket, "db/0001/"+name))
	require.NoFileExists(t, staged[1])
	require.Equal(t, ltxfstest.ExitOK, d.umount(t).Code)
	result = d.mount(t, s.URL(bucket, "db"))
	require.Empty(t, result.Stderr)
	require.Equal(t, ltxfstest.ExitOK, d.umount(t).Code)
}
