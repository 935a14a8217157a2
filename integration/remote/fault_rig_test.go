package remote

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const (
	// faultPath is where the replica is in its bucket.
	faultPath = "db"

	// faultSeeds is how many files there are to read. They are three times as
	// much as the budget, so that few reads are answered from memory.
	faultSeeds = 12

	// smallBudget is the mounts' --cache-size in MiB, the smallest that there
	// is, unless rigOptions has another.
	smallBudget = 4

	// seedLevel has what was there before the mount, and writeLevel what is
	// written through it.
	seedLevel, writeLevel = 1, 0
)

// ltxFile is a file of a replica, with what its bytes must be.
type ltxFile struct {
	level    int
	min, max ltx.TXID
	data     []byte
}

// newFile makes a file of one transaction that is about as large as its pages,
// which have 4 KiB.
func newFile(t testing.TB, level int, txid ltx.TXID, pages uint32, opts ...storetest.Option) ltxFile {
	t.Helper()
	opts = append([]storetest.Option{storetest.Noise(), storetest.Commit(pages)}, opts...)
	return ltxFile{level: level, min: txid, max: txid, data: storetest.LTX(t, txid, txid, opts...)}
}

func (f ltxFile) name() string { return ltx.FormatFilename(f.min, f.max) }

// path is where a mount shows the file, relative to the mount point.
func (f ltxFile) path() string { return ltxfstest.LevelPath(f.level, f.name()) }

// key is where the bucket has it.
func (f ltxFile) key() string {
	return path.Join(faultPath, replica.LitestreamS3.LevelDir(f.level), f.name())
}

// rig is a mount of a replica of its own in a real server, behind a proxy that
// counts and answers, and behind Toxiproxy if the fault needs it. It knows what
// the bucket may hold.
type rig struct {
	t      *testing.T
	server *s3test.Server
	bucket string
	proxy  *s3test.Proxy
	toxic  *s3test.ToxicProxy // nil without rigOptions.toxic
	user   *s3test.User       // nil without rigOptions.user
	m      *ltxfstest.Mounted
	seeds  []ltxFile
	probe  ltxFile // as large as the budget; see requireBudget
	before resources

	mu     sync.Mutex
	may    map[string][]ltxFile // by key: what an object may be
	must   map[string]bool      // the keys of objects that must be there
	nextTX ltx.TXID
}

// rigOptions say how a rig differs from the usual one.
type rigOptions struct {
	toxic  bool
	own    bool // a server that can be stopped and paused
	user   bool // the mount has credentials that can be revoked
	budget int  // in MiB, if not the smallest
	flags  []string
	binary string // if not the usual one
}

// newRig makes the replica and mounts it.
func newRig(t *testing.T, kind *s3test.Kind, opts rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, may: map[string][]ltxFile{}, must: map[string]bool{}, nextTX: 1000}
	if opts.own {
		r.server = kind.Start(t)
	} else {
		r.server = kind.Shared(t)
	}
	r.bucket = r.server.Bucket(t)
	for i := range faultSeeds {
		r.seeds = append(r.seeds, newFile(t, seedLevel, ltx.TXID(i+1), 256))
	}
	if opts.budget == 0 {
		opts.budget = smallBudget
	}
	r.probe = newProbe(t, opts.budget<<20)
	for _, f := range append(r.seeds[:faultSeeds:faultSeeds], r.probe) {
		r.store(f)
	}
	r.proxy = s3test.NewProxy(t, r.server.Endpoint)
	if opts.user {
		r.user = r.server.NewUser(t, r.bucket)
	}
	r.mount(opts)
	r.warmUp()
	return r
}

// newProbe makes a file that takes as many blocks as the budget has.
func newProbe(t testing.TB, budget int) ltxFile {
	t.Helper()
	const frame = 4132 // a page that can't be compressed, and its place in the index
	f := newFile(t, seedLevel, 900, uint32(budget/frame-1))
	require.Greater(t, len(f.data), budget-128<<10)
	require.LessOrEqual(t, len(f.data), budget)
	return f
}

// mount mounts the replica.
func (r *rig) mount(opts rigOptions) {
	r.t.Helper()
	url := r.proxy.URL(r.bucket, faultPath)
	if opts.toxic {
		r.toxic = s3test.Toxi(r.t, r.proxy.Endpoint)
		url = r.toxic.URL(r.bucket, faultPath)
	}
	env := r.server.Env()
	if r.user != nil {
		env = r.user.Env()
	}
	r.m = ltxfstest.MountWith(r.t, url, ltxfstest.MountOptions{
		Flags: append([]string{"--rw", fmt.Sprintf("--cache-size=%dMiB", max(opts.budget, smallBudget)), "--grace=2s", "--log-level=warn"}, opts.flags...),
		Env:   append(env, schedTrace), Binary: opts.binary,
	})
}

// store puts a file into the bucket, past the mount.
func (r *rig) store(f ltxFile) {
	r.t.Helper()
	r.server.Put(r.t, r.bucket, f.key(), f.data)
	r.expect(f)
	r.acknowledge(f)
}

// expect notes that the bucket may hold a file.
func (r *rig) expect(f ltxFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.may[f.key()] = append(r.may[f.key()], f)
}

// acknowledge notes that the bucket must hold a file, in one of the versions that
// it may have.
func (r *rig) acknowledge(f ltxFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.must[f.key()] = true
}

// forget notes that a file was deleted.
func (r *rig) forget(f ltxFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.must, f.key())
	delete(r.may, f.key())
}

// newWrite makes the next file to write.
func (r *rig) newWrite(pages uint32) ltxFile {
	r.mu.Lock()
	r.nextTX++
	txid := r.nextTX
	r.mu.Unlock()
	f := newFile(r.t, writeLevel, txid, pages)
	r.expect(f)
	return f
}

// warmUp has the mount do each thing once, so that what it then has open it keeps,
// and notes what that is.
func (r *rig) warmUp() {
	r.t.Helper()
	for _, f := range r.seeds[:2] {
		r.requireReads(f)
	}
	r.requireWrites(r.newWrite(3))
	staged := r.m.Path("ltx", "0000", "warm-up")
	ltxfstest.Shell(r.t, `echo staged > "$1"; [[ $(cat "$1") == staged ]]; rm "$1"`, staged)
	r.before = r.resources()
}

// requireReads reads a file, which must succeed.
func (r *rig) requireReads(f ltxFile) {
	r.t.Helper()
	got := r.read(f, direct)
	require.NoError(r.t, got.err(), "read %s: %s", f.path(), got.stderr)
	require.True(r.t, bytes.Equal(f.data, got.data), "%s has wrong bytes", f.path())
}

// requireWrites writes a file, which must succeed, and is seen to be in the bucket
// at once.
func (r *rig) requireWrites(f ltxFile) {
	r.t.Helper()
	got := r.write(f, throughClose)
	require.NoError(r.t, got.err(), "write %s: %s", f.path(), got.stderr)
	require.True(r.t, bytes.Equal(f.data, r.server.Get(r.t, r.bucket, f.key())), "%s has wrong bytes in the bucket", f.path())
}

// requireBucket looks at every object in the bucket: it must be a whole and valid
// file of its name, and one that was written to it.
func (r *rig) requireBucket() {
	r.t.Helper()
	r.mu.Lock()
	must := maps.Clone(r.must) // before the look: a writer may go on
	r.mu.Unlock()
	keys := r.server.Keys(r.t, r.bucket, "")
	there := map[string]bool{}
	for _, key := range keys {
		there[key] = true
		r.mu.Lock()
		may := r.may[key]
		r.mu.Unlock()
		require.NotEmpty(r.t, may, "nobody has written %s", key)
		data := r.server.Get(r.t, r.bucket, key)
		h, err := ltxfile.Verify(r.t.Context(), bytes.NewReader(data), int64(len(data)))
		require.NoError(r.t, err, key)
		require.NoError(r.t, ltxfile.CheckName(h, may[0].min, may[0].max), key)
		known := false
		for _, f := range may {
			known = known || bytes.Equal(f.data, data)
		}
		require.True(r.t, known, "%s is none of the files that were written under that name", key)
	}
	for key := range must {
		require.True(r.t, there[key], "%s is not in the bucket, though its writer was told that it is", key)
	}
}

// requireRecovered is for the end of a fault: the mount does all that it did
// before, the bucket is as it should be, what the fault took is given back, and
// the mount ends with nothing unpublished.
func (r *rig) requireRecovered() {
	r.t.Helper()
	for _, f := range r.seeds[len(r.seeds)-2:] {
		r.requireReads(f)
	}
	f := r.newWrite(3)
	r.requireWrites(f)
	r.requireReads(f)
	listing := ltxfstest.MustRun(r.t, "ls", r.m.Path("ltx", fmt.Sprintf("%04d", writeLevel)))
	require.Contains(r.t, strings.Fields(listing), f.name())
	require.Zero(r.t, ltxfstest.Run(r.t, ltxfstest.Timeout, "rm", r.m.Path(f.path())).Code)
	r.forget(f)

	r.requireBucket()
	r.requireBudget()
	r.requireResources()
	r.requireUnmounts(ltxfstest.ExitOK)
}

// requireUnmounts ends the mount with an exit code. Of what stays in the staging
// directory then, all must be named.
func (r *rig) requireUnmounts(code int) {
	r.t.Helper()
	require.Equal(r.t, code, r.m.Terminate(r.t), "exit code of ltxfs mount")
	staged := r.stagedFiles()
	require.Equal(r.t, code == ltxfstest.ExitUnpublished, len(staged) > 0, "staged: %v", staged)
	log := r.m.Log()
	for name, file := range staged {
		require.Contains(r.t, log, file, "unmounting names %s", name)
	}
	require.Empty(r.t, r.server.Uploads(r.t, r.bucket), "unfinished uploads")
	r.requireBucket()
}
