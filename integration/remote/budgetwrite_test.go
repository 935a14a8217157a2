package remote

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// What the steps of a write cost.
var (
	// onePut is a write below the size of a part, and its verification by the
	// store's checksum.
	onePut = costs{s3test.PutObject: 1, s3test.HeadObject: 1}

	// lookUp is to find that a name is free, or what file it is. The answer holds
	// for the freshness interval, and a listing has the answers for its level.
	lookUp = costs{s3test.HeadObject: 1}

	// makeSure is to ask the store itself whether a name is free, for O_EXCL and
	// RENAME_NOREPLACE, whatever is known.
	makeSure = costs{s3test.HeadObject: 1}

	// fourParts is a write of as many parts, and its verification.
	fourParts = costs{
		s3test.CreateMultipartUpload: 1, s3test.UploadPart: 4, s3test.CompleteMultipartUpload: 1, s3test.HeadObject: 1,
	}

	// remove is a deletion, and its verification.
	remove = costs{s3test.DeleteObject: 1, s3test.HeadObject: 1}

	// listing is one of a level of less than 1,000 files.
	listing = costs{s3test.ListObjects: 1}
)

// sum adds costs.
func sum(all ...costs) costs {
	total := costs{}
	for _, c := range all {
		for op, n := range c {
			total[op] += n
		}
	}
	return total
}

// writable is a counted replica mounted to be written to, and files to write.
type writable struct {
	*counted
	m     *ltxfstest.Mounted
	src   string // a directory with the next two
	small []byte // 3 MiB: less than a part
	large []byte // 20 MiB: four parts
}

const (
	smallName = "0000000000000001-0000000000000009.ltx"
	largeName = "0000000000000001-000000000000000a.ltx"
)

func newWritable(t *testing.T, c *counted, flags ...string) *writable {
	t.Helper()
	w := &writable{
		counted: c, m: c.mount(t, append(flags, "--rw")...), src: t.TempDir(),
		small: storetest.LTX(t, 1, 9, storetest.Commit(765), storetest.Noise()),
		large: storetest.LTX(t, 1, 10, storetest.Commit(5070), storetest.Noise()),
	}
	require.InDelta(t, 3<<20, len(w.small), 64<<10)
	require.InDelta(t, 20<<20, len(w.large), 64<<10)
	require.LessOrEqual(t, len(w.large), 20<<20, "more than four parts")
	require.NoError(t, os.WriteFile(filepath.Join(w.src, "small"), w.small, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(w.src, "large"), w.large, 0o644))
	return w
}

// requireScriptCosts runs a script with the mount, the sources and a level's
// directory as $1 to $3.
func (w *writable) requireScriptCosts(t *testing.T, script string, want costs) []s3test.Request {
	t.Helper()
	return w.requireCosts(t, script, want, func() {
		ltxfstest.Shell(t, script, w.m.Dir, w.src, w.m.Path("ltx", "0000"))
	})
}

// What tools write and remove costs the request that does it and the one that
// makes sure of it, beside what it takes to look up names.
func TestWriteBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		w := newWritable(t, c)
		for _, step := range []struct {
			script string
			want   costs
		}{
			// cp looks whether there is such a file, and then makes one with
			// O_EXCL.
			{"cp $2/small $3/" + smallName, sum(lookUp, makeSure, onePut)},
			// What this mount wrote it knows, so that to replace and to remove it
			// costs no look.
			{"cp $2/small $3/" + smallName, onePut},
			{"cat $2/small > $3/" + smallName, onePut},
			{"rm $3/" + smallName, remove},
			{"! test -e $3/" + smallName, costs{}},
			{"cat $2/small > $3/" + smallName, onePut},
			{"rm $3/" + smallName, remove},

			{"cp $2/large $3/" + largeName, sum(lookUp, makeSure, fourParts)},
			{"rm $3/" + largeName, remove},

			// A name that is no LTX file's costs nothing. mv wants the name that
			// it gives to be free, unless it knows that it isn't.
			{"cp -p $2/small $3/upload.tmp", costs{}},
			{"mv $3/upload.tmp $3/" + smallName, sum(makeSure, onePut)},
			{"rm $3/" + smallName, remove},

			// After a listing, the level's names are known.
			{"ls -l $3", listing},
			{"dd if=$2/small of=$3/" + smallName + " bs=1M conv=fsync status=none", onePut},
			{"ls -l $3", costs{}},
			{"cp $2/large $3/" + largeName, sum(makeSure, fourParts)},
			{"ls -l $3", costs{}},
			{"df $1; stat -f $3; ls -ld $3", costs{}},
			{"rm $3/" + smallName + " $3/" + largeName, sum(remove, remove)},
			{"ls -l $3", costs{}},
		} {
			w.requireScriptCosts(t, step.script, step.want)
			w.requireStored(t, step.want)
		}
		require.Empty(t, c.server.Keys(t, c.bucket, ""))
		require.Empty(t, c.server.Uploads(t, c.bucket))
		w.requireEndForFree(t, w.m)
	})
}

// requireStored fails the test unless the store has the file that a step with
// these costs has written.
func (w *writable) requireStored(t *testing.T, cost costs) {
	t.Helper()
	if cost[s3test.PutObject] > 0 {
		require.True(t, bytes.Equal(w.small, w.server.Get(t, w.bucket, w.key(0, 1, 9))), "the store has another file")
	}
	if cost[s3test.UploadPart] > 0 {
		require.True(t, bytes.Equal(w.large, w.server.Get(t, w.bucket, w.key(0, 1, 10))), "the store has another file")
	}
}

// Small files that are made with O_EXCL, written, synced and closed cost four requests
// each: the kernel asks for the name before it has the file made.
func TestSmallWritesBudget(t *testing.T) {
	const files = 10
	forEachCounted(t, func(t *testing.T, c *counted) {
		w := newWritable(t, c)
		p := w.m.Process(t)
		for i := range ltx.TXID(files) {
			data := storetest.LTX(t, i+1, i+1, storetest.Noise(), storetest.Commit(1))
			name := ltxfstest.LevelPath(0, ltx.FormatFilename(i+1, i+1))
			var f *ltxfstest.File
			w.requireCosts(t, "to make it", sum(lookUp, makeSure), func() {
				var err error
				f, err = p.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
				require.NoError(t, err)
				require.NoError(t, f.Write(data))
			})
			requests := w.requireCosts(t, "fsync", onePut, func() { require.NoError(t, f.Fsync()) })
			require.Equal(t, int64(len(data)), requests[0].Up)
			w.requireCosts(t, "close", costs{}, func() { require.NoError(t, f.Close()) })
			require.Equal(t, data, c.server.Get(t, c.bucket, c.key(0, i+1, i+1)))
		}
		w.requireEndForFree(t, w.m)
	})
}

// What others wrote is looked up before it is removed or replaced.
func TestWriteBudgetOfForeignFiles(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		w := newWritable(t, c)
		c.put(t, 0, 1, 9, w.large)
		w.requireScriptCosts(t, "cat $2/small > $3/"+smallName, sum(lookUp, onePut))
		w.requireStored(t, onePut)
		c.put(t, 0, 1, 10, w.small)
		w.requireScriptCosts(t, "rm $3/"+largeName, sum(lookUp, remove))
		require.Equal(t, []string{c.key(0, 1, 9)}, c.server.Keys(t, c.bucket, ""))
	})
}

// Each way to verify has its price.
func TestVerifyBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		for mode, want := range map[string]costs{
			"checksum": onePut,
			"size":     onePut,
			"full":     {s3test.PutObject: 1, s3test.GetObject: 1},
		} {
			w := newWritable(t, c, "--verify-writes="+mode)
			w.requireScriptCosts(t, "ls $3", listing)
			requests := w.requireScriptCosts(t, "cat $2/small > $3/"+smallName, want)
			w.requireStored(t, onePut)
			if mode == "full" {
				require.Equal(t, int64(len(w.small)), requests[len(requests)-1].Down, "it reads back a part")
			}
			w.requireScriptCosts(t, "rm $3/"+smallName, remove)
		}
	})
}

// Litestream's file client writes by steps of its own: to a temporary name, with
// fsync of the file, and, once it is renamed, of its directory.
func TestLitestreamWriteBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		w := newWritable(t, c)
		p := w.m.Process(t)
		name := ltxfstest.LevelPath(0, smallName)
		write := func() {
			f, err := p.Open(name+".tmp", unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o644)
			require.NoError(t, err)
			require.NoError(t, f.Write(w.small[:ltx.HeaderSize]))
			require.NoError(t, f.Write(w.small[ltx.HeaderSize:]))
			require.NoError(t, f.Fsync())
			st, err := f.Stat()
			require.NoError(t, err)
			require.Equal(t, int64(len(w.small)), st.Size)
			require.NoError(t, f.Close())
		}
		rename := func() { require.NoError(t, p.Rename(name+".tmp", name, 0)) }
		syncDir := func() {
			d, err := p.Open(path.Dir(name), unix.O_RDONLY, 0)
			require.NoError(t, err)
			require.NoError(t, d.Fsync())
			require.NoError(t, d.Close())
		}
		w.requireCosts(t, "the temporary file", costs{}, write)
		w.requireCosts(t, "lstat", lookUp, func() {
			_, err := p.Lstat(name)
			require.ErrorIs(t, err, unix.ENOENT)
		})
		w.requireCosts(t, "rename", onePut, rename)
		w.requireStored(t, onePut)
		w.requireCosts(t, "utimensat", costs{}, func() {
			require.NoError(t, p.Utimes(name, ltxfstest.HeaderTime(t, w.small)))
		})
		w.requireCosts(t, "fsync of the directory", costs{}, syncDir)
		w.requireCosts(t, "the temporary file of another", costs{}, write)
		w.requireCosts(t, "rename of another", onePut, rename)
		w.requireCosts(t, "fsync of the directory again", costs{}, syncDir)
		w.requireStored(t, onePut)
		p.Close()
		w.requireEndForFree(t, w.m)
	})
}
