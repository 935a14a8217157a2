package s3test_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// Servers, proxies and clients leave no goroutine behind the test that used them.
// It runs while no other test does.
func TestLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("use", func(t *testing.T) {
		for _, kind := range s3test.AllServers {
			s := kind.Start(t)
			bucket := s.Bucket(t)
			p := s3test.NewProxy(t, s.Endpoint)
			toxic := s3test.Toxi(t, p.Endpoint)
			b := &behindProxy{Proxy: p, s: s, bucket: bucket, client: s.ClientAt(t, toxic.Endpoint)}
			require.NoError(t, b.put(t.Context(), "key", []byte("value")))
			got, _, err := b.get(t.Context(), "")
			require.NoError(t, err)
			require.Equal(t, "value", string(got))
		}
	})
	goleak.VerifyNone(t, before)
}

// childEnv makes TestEndsWithProcess start servers and wait.
const childEnv = "S3TEST_CHILD"

// Servers end with the process that started them, even if it is killed.
func TestEndsWithProcess(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		for _, s := range []*s3test.Server{s3test.MinIO.Shared(t), s3test.VersityGW.Start(t)} {
			fmt.Println("pid", s.PID())
		}
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), childEnv+"=1", "TMPDIR="+t.TempDir())
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pids []int
	for lines := bufio.NewScanner(stdout); len(pids) < 2 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			pid, err := strconv.Atoi(text)
			require.NoError(t, err)
			require.True(t, runs(pid))
			pids = append(pids, pid)
		}
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Len(t, pids, 2)
	for _, pid := range pids {
		ltxfstest.Eventually(t, ltxfstest.Timeout, fmt.Sprintf("the server %d has ended", pid), func() bool { return !runs(pid) })
	}
}

// runs reports whether a process is there that hasn't ended. That it isn't reaped
// is another's business.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
