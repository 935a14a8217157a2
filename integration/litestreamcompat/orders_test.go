package litestreamcompat

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/benbjohnson/litestream"
	lsfile "github.com/benbjohnson/litestream/file"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// ltxFile is a file of a replica.
type ltxFile struct {
	level    int
	min, max ltx.TXID
	data     []byte
}

func (f ltxFile) name() string { return ltx.FormatFilename(f.min, f.max) }

// ordersFiles are the files of the sample replica, which Litestream wrote, by
// level and name. See testdata/README.md of the integration tests.
func ordersFiles(t testing.TB) []ltxFile {
	t.Helper()
	var files []ltxFile
	for _, row := range ordersTable(t, "files.tsv", "\t")[1:] {
		level, err := strconv.Atoi(row[0])
		require.NoError(t, err)
		f := ltxFile{level: level}
		f.min, f.max, err = ltx.ParseFilename(row[1])
		require.NoError(t, err)
		f.data, err = os.ReadFile(ordersPath("replica", "ltx", row[0], row[1]))
		require.NoError(t, err)
		files = append(files, f)
	}
	require.Len(t, files, 40)
	return files
}

// target is a state to restore, and the SHA-256 of the database that
// `litestream restore` made of it.
type target struct {
	name      string
	txid      ltx.TXID
	timestamp time.Time
	sha256    string
}

func (s target) options() litestream.RestoreOptions {
	opt := litestream.NewRestoreOptions()
	opt.TXID, opt.Timestamp = s.txid, s.timestamp
	return opt
}

// ordersTargets are the states that the sample replica can be restored to: the
// latest, each TXID, and an instant after each but the last transaction.
func ordersTargets(t testing.TB) []target {
	t.Helper()
	var targets []target
	for _, row := range ordersTable(t, "restored.sha256.txt", " ") {
		txid, err := ltx.ParseTXID(row[0])
		require.NoError(t, err)
		targets = append(targets, target{name: "txid " + row[0], txid: txid, sha256: row[2]})
	}
	latest := target{name: "latest", sha256: targets[len(targets)-1].sha256}
	for _, row := range ordersTable(t, "restored-at.sha256.txt", " ") {
		timestamp, err := time.Parse(time.RFC3339Nano, row[0])
		require.NoError(t, err)
		targets = append(targets, target{name: "timestamp " + row[0], timestamp: timestamp, sha256: row[1]})
	}
	targets = append(targets, latest)
	require.Len(t, targets, 24+23+1)
	return targets
}

func ordersPath(names ...string) string {
	return filepath.Join(append([]string{"..", "testdata", "orders"}, names...)...)
}

func ordersTable(t testing.TB, name, sep string) [][]string {
	t.Helper()
	data, err := os.ReadFile(ordersPath(name))
	require.NoError(t, err)
	var rows [][]string
	for line := range strings.Lines(string(data)) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), sep))
	}
	return rows
}

// litestreamReplica puts files into a directory as Litestream would have, and
// returns its own client of it.
func litestreamReplica(t testing.TB, files []ltxFile) *lsfile.ReplicaClient {
	t.Helper()
	c := lsfile.NewReplicaClient(t.TempDir())
	for _, f := range files {
		ltxfstest.Store(t, c.LTXFilePath(f.level, f.min, f.max), f.data, ltxfstest.HeaderTime(t, f.data))
	}
	return c
}
