package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
)

// timeKey is the metadata in which Litestream keeps a file's time.
const timeKey = "litestream-timestamp"

// litestream runs Litestream to its end, which must be a good one, and returns
// its standard output.
func litestream(t testing.TB, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(ltxfstest.Tool(t, "litestream"), args...)
	cmd.Env = append(ltxfstest.Env(), env...)
	result := ltxfstest.RunCmd(t, ltxfstest.Timeout, cmd)
	require.Zero(t, result.Code, result)
	return result.Stdout
}

// restoreFrom has Litestream restore a database from a replica's URL, and returns
// its path.
func restoreFrom(t testing.TB, env []string, url string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "restored.db")
	litestream(t, env, append(append([]string{"restore"}, flags...), "-o", out, url)...)
	return out
}

// restoredSum is the SHA-256 of the database that restoreFrom restores.
func restoredSum(t testing.TB, env []string, url string, flags ...string) string {
	t.Helper()
	data, err := os.ReadFile(restoreFrom(t, env, url, flags...))
	require.NoError(t, err)
	return ltxfstest.SHA256(data)
}

// listedFile is a file as `litestream ltx` lists it.
type listedFile struct {
	Level     int       `json:"level"`
	MinTXID   string    `json:"min_txid"`
	MaxTXID   string    `json:"max_txid"`
	Size      int64     `json:"size"`
	Timestamp time.Time `json:"timestamp"` // in whole seconds
}

func (f listedFile) name() string { return f.MinTXID + "-" + f.MaxTXID + ".ltx" }

// path is where a mount shows the file.
func (f listedFile) path() string { return ltxfstest.LevelPath(f.Level, f.name()) }

// key is where Litestream keeps the file in a bucket.
func (f listedFile) key(root string) string {
	return root + "/" + replica.LitestreamS3.LevelDir(f.Level) + "/" + f.name()
}

// listAll lists all files of a replica with Litestream. The argument is a URL, or
// the path of a database after a -config.
func listAll(t testing.TB, env []string, args ...string) []listedFile {
	t.Helper()
	var files []listedFile
	out := litestream(t, env, append([]string{"ltx", "-level", "all", "-json"}, args...)...)
	require.NoError(t, json.Unmarshal([]byte(out), &files), out)
	return files
}

// levelsOf counts files by level.
func levelsOf(files []listedFile) map[int]int {
	levels := map[int]int{}
	for _, f := range files {
		levels[f.Level]++
	}
	return levels
}

// putTimed writes an object as Litestream does, with a file's time in its
// metadata, or without any if the time is zero.
func putTimed(t testing.TB, client *s3.Client, bucket, key string, data []byte, at time.Time) {
	t.Helper()
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)}
	if !at.IsZero() {
		in.Metadata = map[string]string{timeKey: at.Format(time.RFC3339Nano)}
	}
	_, err := client.PutObject(context.Background(), in)
	require.NoError(t, err, "put %s", key)
}

// putOrders writes the sample replica into a bucket, below root. With timed, each
// object has its file's time in its metadata.
func putOrders(t testing.TB, s *s3test.Server, bucket, root string, layout replica.Layout, timed bool) {
	t.Helper()
	client := s.Client(t)
	for _, f := range ltxfstest.OrdersFiles(t) {
		at := f.ModTime
		if !timed {
			at = time.Time{}
		}
		key := fmt.Sprintf("%s/%s/%s", root, layout.LevelDir(f.Level), f.Name)
		putTimed(t, client, bucket, key, ltxfstest.OrdersData(t, f), at)
	}
}
