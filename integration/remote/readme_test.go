package remote

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// compileTimeout bounds the commands of the README that compile.
const compileTimeout = 5 * time.Minute

// The commands of the README work as they stand there, block after block, with places of
// the test's own for those that they name. make test is what runs this test.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(ltxfstest.Root(), "README.md"))
	require.NoError(t, err)
	s := s3test.MinIO.Shared(t)
	bucket, onDisk := s.Bucket(t), ltxfstest.Orders(t)
	for _, f := range ltxfstest.OrdersFiles(t) {
		s.Put(t, bucket, "orders/"+f.StorePath(), ltxfstest.OrdersData(t, f))
	}
	url, mnt, databases := s.URL(bucket, "orders"), ltxfstest.MountPoint(t), ltxfstest.MountPoint(t)
	config := saveConfig(t, "dbs:\n  - path: /var/lib/app/orders.db\n    replica:\n      url: "+url+"\n")
	places := strings.NewReplacer("s3://BUCKET/orders", "'"+url+"'", "/mnt/orders", mnt, "/mnt/databases", databases,
		"/var/backups/orders", onDisk, "/etc/litestream.yml", config, "@latest", "", "\nmake test", "\n: make test")

	bin, gobin, work := t.TempDir(), t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(ltxfstest.Binary(), filepath.Join(bin, "ltxfs")))
	require.NoError(t, os.Symlink(ltxfstest.Tool(t, "litestream"), filepath.Join(bin, "litestream")))
	env := append(s.Env(), "PATH="+bin+":"+os.Getenv("PATH"), "GOBIN="+gobin, "LTXFS_STATE_DIR="+t.TempDir())
	umountDaemonAtEnd(t, mnt, env)
	umountDaemonAtEnd(t, databases, env)

	printed := ""
	for _, block := range regexp.MustCompile("(?ms)^```sh(\n.*?)^```$").FindAllSubmatch(readme, -1) {
		script := places.Replace(string(block[1]))
		require.NotRegexp(t, `BUCKET|/mnt/|[ :]/(var|etc)/`, script)
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Dir, cmd.Env = work, append(ltxfstest.Env(), env...)
		timeout := ltxfstest.Timeout
		if strings.Contains(script, "make demo") || strings.Contains(script, "go install") {
			cmd.Dir, timeout = ltxfstest.Root(), compileTimeout // a checkout
		}
		r := ltxfstest.RunCmd(t, timeout, cmd)
		require.Zero(t, r.Code, r)
		printed += r.Stdout
	}
	require.Contains(t, printed, "\nUnmounted.\n", "the demo")
	require.FileExists(t, filepath.Join(gobin, "ltxfs"))

	byTXID, _ := ltxfstest.OrdersStates(t)
	latest := byTXID[len(byTXID)-1]
	for name, opens := range map[string]bool{"restored.db": true, "orders.db": false, "copy.db": false} {
		data, err := os.ReadFile(filepath.Join(work, name))
		require.NoError(t, err)
		if opens { // the two bytes by which SQLite opens it in a mount
			require.Equal(t, "\x01\x01", string(data[18:20]))
			data[18], data[19] = 2, 2
		}
		require.Equal(t, latest.SHA256, ltxfstest.SHA256(data), name)
	}
	rows := ltxfstest.MustRun(t, "sqlite3", filepath.Join(work, "restored.db"), "SELECT count(*) FROM orders")
	require.Contains(t, printed, "\n"+rows+rows, "the latest state, and yesterday's")
	require.Contains(t, printed, "\norders: 0 changes, 0 inserts, 0 deletes, "+strings.TrimSpace(rows)+" unchanged\n", "how they differ")
	require.Contains(t, printed, "\norders.db\n", "the databases of the configuration")
}
