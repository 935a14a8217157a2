package remote

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// What Litestream restores from the sample is restored from each server.
func TestRestoreCommandFromS3(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		putOrders(t, s, bucket, "db", replica.LitestreamS3, true)
		ltxfstest.RequireRestores(t, s.Env(), s.URL(bucket, "db"))
	})
}

// A restore asks for each byte of the files once, and one that goes on for what isn't there
// yet.
func TestRestoreCommandBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		const pageSize = 65536
		h := storetest.NewHistory(t, 1, pageSize)
		var size int64
		h.Put = func(n replica.Name, data []byte) {
			c.put(t, n.Level, n.MinTXID, n.MaxTXID, data)
			size += int64(len(data))
		}
		h.Commit(512, 0) // 32 MiB
		out := filepath.Join(t.TempDir(), "out.db")
		command := func(flags ...string) *exec.Cmd {
			cmd := exec.Command(ltxfstest.Binary(), append([]string{"restore", c.proxy.URL(c.bucket, countedPath), "-o", out}, flags...)...)
			cmd.Env = append(ltxfstest.Env(), c.env()...)
			return cmd
		}
		down := func() (n int64) {
			for _, r := range c.proxy.Requests() {
				if r.Operation == s3test.GetObject {
					n += r.Down
				}
			}
			return n
		}
		require.Zero(t, ltxfstest.RunCmd(t, ltxfstest.Timeout, command()).Code)
		require.LessOrEqual(t, down(), size+256<<10, "bytes of files")
		require.NoError(t, os.Remove(out))

		cmd := command("--limit-read=4MiB")
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool {
			st, err := os.Stat(out + ".ltxfs-part-notes")
			return err == nil && st.Size() >= 32+4*40 // of four chunks of eight
		}, time.Minute, time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		c.proxy.Reset()
		notes, err := os.ReadFile(out + ".ltxfs-part-notes")
		require.NoError(t, err)
		var done [8]bool
		for note := range slices.Chunk(notes[32:], 40) {
			if len(note) == 40 {
				done[binary.BigEndian.Uint64(note)] = true
			}
		}
		// The index and the header come again, and where a chunk is missing between others,
		// the blocks at its edges, and what is read ahead of it in vain.
		most := int64(512 << 10)
		for i := range done {
			if !done[i] {
				most += size / 8
			}
			if i > 0 && done[i] && !done[i-1] {
				most += 1<<20 + 256<<10
			}
		}
		require.Zero(t, ltxfstest.RunCmd(t, ltxfstest.Timeout, command()).Code)
		require.LessOrEqual(t, down(), most, "of %d bytes, %v being there", size, done)
		data, err := os.ReadFile(out)
		require.NoError(t, err)
		require.Equal(t, h.File(1), data)
	})
}
