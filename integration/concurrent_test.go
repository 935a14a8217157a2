package integration

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// concurrentOperations is how many operations each of those in TestConcurrent does.
const concurrentOperations = 500

// Where TestProperty knows what comes of each operation, here all happen at the
// same time: writers and readers in two mounts, several in each, and another writer
// behind them. Whatever is read of a name is one of the contents written to it,
// whole; who writes a name of its own reads that again; in the end the replica
// holds such contents and nothing else, and both mounts show them.
func TestConcurrent(t *testing.T) {
	for name, cred := range map[string]*syscall.Credential{"ourselves": nil, "user": ltxfstest.User(t)} {
		t.Run("as "+name, func(t *testing.T) {
			t.Parallel()
			runConcurrent(t, cred)
		})
	}
}

func runConcurrent(t *testing.T, cred *syscall.Credential) {
	root := t.TempDir()
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		require.NoError(t, os.MkdirAll(filepath.Join(root, replica.LitestreamFile.LevelDir(level)), 0o755))
	}
	ltxfstest.Give(t, cred, root)
	w := &written{contents: map[string]map[[sha256.Size]byte]bool{}}
	var mounts []*ltxfstest.Mounted
	var actors []*actor
	for range 2 {
		m := ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Credential: cred, Flags: []string{"--rw", "--freshness=20ms"}})
		mounts = append(mounts, m)
		for range 2 {
			i := len(actors)
			actors = append(actors, &actor{
				t: t, id: i, written: w, p: ltxfstest.NewProcess(t, m.Dir, cred),
				rng: rand.New(rand.NewPCG(uint64(i), fromEnv(t, "LTXFS_SEED", 1))),
				own: ltx.TXID(100 + i),
			})
		}
	}
	var running sync.WaitGroup
	for _, a := range actors {
		running.Go(a.run)
	}
	foreign := &actor{t: t, id: len(actors), written: w, rng: rand.New(rand.NewPCG(99, 0))}
	for range concurrentOperations {
		foreign.changeBehind(root)
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}

	// What was cut off by another's change is still staged. Nothing else is.
	want := map[string]string{}
	for path, sum := range ltxfstest.Tree(t, root) {
		data, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		require.True(t, w.has(filepath.Base(path), data), "%s in the replica is nothing that was written to it", path)
		want[filepath.Base(path)] = sum
	}
	for i, m := range mounts {
		p := actors[2*i].p
		ltxfstest.Eventually(t, slack, "the mount shows what the replica holds", func() bool {
			names, err := p.ReadDir("ltx/0000")
			require.NoError(t, err)
			got := map[string]string{}
			for _, name := range names {
				if !strings.HasSuffix(name, ".ltx") {
					require.NoError(t, p.Unlink("ltx/0000/"+name))
					continue
				}
				if data, err := p.ReadFile("ltx/0000/" + name); err == nil {
					got[name] = ltxfstest.SHA256(data)
				}
			}
			return fmt.Sprint(got) == fmt.Sprint(want)
		})
		require.NotContains(t, m.Log(), "level=ERROR")
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		for path := range ltxfstest.Tree(t, m.Staging) {
			require.True(t, strings.HasSuffix(path, ".lock"), "%s is left in the staging directory", path)
		}
	}
}

// written is what was written to each name, noted before it was.
type written struct {
	mu       sync.Mutex
	n        uint64
	contents map[string]map[[sha256.Size]byte]bool
}

// make makes a content for TXIDs and notes it.
func (w *written) make(t *testing.T, txid ltx.TXID) (name string, data []byte) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	name = ltx.FormatFilename(txid, txid)
	data = storetest.LTX(t, txid, txid, storetest.Seed(w.n), storetest.Noise(), storetest.Commit(1+uint32(w.n%40)))
	if w.contents[name] == nil {
		w.contents[name] = map[[sha256.Size]byte]bool{}
	}
	w.contents[name][sha256.Sum256(data)] = true
	return name, data
}

func (w *written) has(name string, data []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.contents[name][sha256.Sum256(data)]
}

// actor is one of those who do things at the same time.
type actor struct {
	t *testing.T
	*written
	id   int
	p    *ltxfstest.Process
	rng  *rand.Rand
	own  ltx.TXID // that nobody else writes
	last []byte   // what it wrote there
}

// shared are the names that all write.
const shared = 4

func (a *actor) someTXID() ltx.TXID { return ltx.TXID(2 + a.rng.IntN(shared)) }

func (a *actor) run() {
	for range concurrentOperations {
		if a.t.Failed() {
			return
		}
		switch pick := a.rng.IntN(10); {
		case pick < 3:
			a.put(a.someTXID())
		case pick == 3:
			a.putOwn()
		case pick == 4:
			a.one(a.p.Unlink("ltx/0000/"+ltx.FormatFilename(a.someTXID(), 5)), nil, syscall.ENOENT)
			txid := a.someTXID()
			a.one(a.p.Unlink("ltx/0000/"+ltx.FormatFilename(txid, txid)), nil, syscall.ENOENT)
		case pick == 5:
			names, err := a.p.ReadDir("ltx/0000")
			a.one(err, nil)
			if a.last != nil && !slices.Contains(names, ltx.FormatFilename(a.own, a.own)) {
				a.t.Errorf("%d: its own file is missing from %v", a.id, names)
			}
		default:
			a.get()
		}
	}
}

// one fails the test unless err is one of those that are right.
func (a *actor) one(err error, right ...error) bool {
	a.t.Helper()
	if !slices.Contains(right, err) {
		a.t.Errorf("%d: got %v, want one of %v", a.id, err, right)
	}
	return err == nil
}

// put writes a shared name by way of one that both of a mount's writers use.
func (a *actor) put(txid ltx.TXID) {
	name, data := a.make(a.t, txid)
	temp := fmt.Sprintf("ltx/0000/upload-%d-%d", a.id/2, txid)
	if a.rng.IntN(2) == 0 {
		temp += fmt.Sprint("-", a.id) // or of its own
	}
	f, err := a.p.Open(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	if !a.one(err, nil, syscall.ESTALE) {
		return // the other's has just been published
	}
	a.one(f.Write(data), nil, syscall.EPERM)
	a.one(f.Fsync(), nil)
	a.one(f.Close(), nil)
	flags := uint(0)
	if a.rng.IntN(3) == 0 {
		flags = unix.RENAME_NOREPLACE
	}
	// EBADMSG if the other has written into it.
	a.one(a.p.Rename(temp, "ltx/0000/"+name, flags), nil, syscall.ENOENT, syscall.EEXIST, syscall.EBADMSG, syscall.EPERM)
}

// putOwn writes a name that nobody else writes, by itself or by another.
func (a *actor) putOwn() {
	name, data := a.make(a.t, a.own)
	path := "ltx/0000/" + name
	if a.rng.IntN(2) == 0 {
		a.one(a.p.WriteFile(path, data), nil)
	} else {
		a.one(a.p.WriteFile(path+".tmp", data), nil)
		a.one(a.p.Rename(path+".tmp", path, 0), nil)
	}
	a.last = data
	got, err := a.p.ReadFile(path)
	if a.one(err, nil) && !slices.Equal(got, data) {
		a.t.Errorf("%d: reads %d bytes of the %d that it has written to %s, the first %d right", a.id, len(got), len(data), name, commonPrefix(got, data))
	}
}

// get reads a shared file in pieces.
func (a *actor) get() {
	txid := a.someTXID()
	name := ltx.FormatFilename(txid, txid)
	f, err := a.p.Open("ltx/0000/"+name, unix.O_RDONLY, 0)
	if !a.one(err, nil, syscall.ENOENT, syscall.ESTALE) {
		return
	}
	var data []byte
	for whole := false; !whole; {
		part, err := f.ReadAt(40_000, int64(len(data)))
		if !a.one(err, nil, syscall.ESTALE) {
			a.one(f.Close(), nil)
			return
		}
		data = append(data, part...)
		whole = len(part) == 0
	}
	if !a.has(name, data) {
		a.t.Errorf("%d: %d bytes of %s that are nothing that was written to it", a.id, len(data), name)
	}
	a.one(f.Close(), nil)
}

// changeBehind writes or deletes a shared file in the replica's directory.
func (a *actor) changeBehind(root string) {
	txid := a.someTXID()
	name, data := a.make(a.t, txid)
	path := filepath.Join(root, ltxfstest.StorePath(0, name))
	if a.rng.IntN(3) > 0 {
		ltxfstest.Store(a.t, path, data, ltxfstest.HeaderTime(a.t, data))
	} else if err := os.Remove(path); err != nil {
		require.ErrorIs(a.t, err, os.ErrNotExist)
	}
}
