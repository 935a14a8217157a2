package remote

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A file is read twice from the staging disk: while it is written, to verify it and for the
// store's checksums, and when it is sent. What the daemon reads beside that is what the
// kernel gives it: the file's bytes, in requests, and the store's answers.
func TestWriteReadsTwice(t *testing.T) {
	server := s3test.MinIO.Shared(t)
	m := ltxfstest.MountWith(t, server.URL(server.Bucket(t), "db"), ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: server.Env()})
	data := storetest.LTX(t, 1, 10, storetest.Commit(5070), storetest.Noise())
	src := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(src, data, 0o600))
	for _, script := range []string{
		"cp $1 $2/" + largeName,
		"dd if=$1 of=$2/" + largeName + " bs=1M conv=fsync status=none",
		"dd if=$1 of=$2/x.tmp bs=64k status=none; mv $2/x.tmp $2/" + largeName,
	} {
		before := m.Read(t)
		ltxfstest.Shell(t, script, src, m.Path("ltx", "0000"))
		require.InDelta(t, 3*len(data), m.Read(t)-before, 256<<10, script)
	}
}
