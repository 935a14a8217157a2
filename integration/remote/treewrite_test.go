package remote

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// openTree is an empty replica in a server with a mount that can write to it, and a
// process in the mount.
type openTree struct {
	*ltxfstest.Process
	m      *ltxfstest.Mounted
	s      *s3test.Server
	bucket string
	proxy  *s3test.Proxy // between the mount and the server
}

func mountOpenTree(t *testing.T, kind *s3test.Kind, flags ...string) openTree {
	t.Helper()
	w := openTree{s: kind.Shared(t)}
	w.bucket, w.proxy = w.s.Bucket(t), s3test.NewProxy(t, w.s.Endpoint)
	w.m = ltxfstest.MountWith(t, w.proxy.URL(w.bucket, "db"), ltxfstest.MountOptions{Flags: append([]string{"--rw"}, flags...), Env: w.s.Env()})
	w.Process = w.m.Process(t)
	return w
}

// holds checks all that the bucket holds: files of level 0, by name.
func (w openTree) holds(t *testing.T, files map[string][]byte) {
	t.Helper()
	want, got := map[string]string{}, map[string]string{}
	for name, data := range files {
		want["db/0000/"+name] = ltxfstest.SHA256(data)
	}
	for _, key := range w.s.Keys(t, w.bucket, "") {
		got[key] = ltxfstest.SHA256(w.s.Get(t, w.bucket, key))
	}
	require.Equal(t, want, got, "what the bucket holds")
	require.Empty(t, w.s.Uploads(t, w.bucket), "unfinished uploads")
}

// shows checks a file of the mount.
func (w openTree) shows(t *testing.T, path string, data []byte) {
	t.Helper()
	got, err := w.ReadFile(path)
	require.NoError(t, err, path)
	require.Equal(t, ltxfstest.SHA256(data), ltxfstest.SHA256(got), "content of %s in the mount", path)
}

// Every usual way of getting a file into a directory publishes it, whole, with
// its own time, and leaves nothing else in the bucket. $1 is the file, $2 the
// directory of its level in the mount, $3 its name.
func TestWriteWithTools(t *testing.T) {
	s3test.ForKinds(t, append(slices.Clone(s3test.Servers), s3test.Rclone[2]), func(t *testing.T, kind *s3test.Kind) {
		w := mountOpenTree(t, kind)
		for i, script := range []string{
			`cp "$1" "$2/"`,
			`cp -p "$1" "$2/$3"`,
			`cp -a "$1" "$2/"; cp "$1" "$2/"`,
			`cp -n "$1" "$2/"`,
			`cp --remove-destination "$1" "$2/"; cp --remove-destination "$1" "$2/"`,
			`cp "$1" "$2/upload.tmp"; mv "$2/upload.tmp" "$2/$3"`,
			`cp "$1" "$2/../0005/upload.tmp"; mv "$2/../0005/upload.tmp" "$2/$3"`,
			`cp "$1" "$2/upload.tmp"; mv -n "$2/upload.tmp" "$2/$3"; [ ! -e "$2/upload.tmp" ]`,
			`cp "$1" "$2/"; cp "$1" "$2/upload.tmp"; mv -f "$2/upload.tmp" "$2/$3"`,
			`mv "$1" "$2/"; [ ! -e "$1" ]`,
			`rsync -a "$1" "$2/"; [ -z "$(rsync -ac --itemize-changes "$1" "$2/" | grep '^>' || true)" ]`,
			`rsync -a "$(dirname "$1")/" "$2/"`,
			`rsync -a --inplace "$1" "$2/"`,
			`dd status=none if="$1" of="$2/$3"`,
			`dd status=none bs=1000 conv=fsync if="$1" of="$2/$3"`,
			`tar -C "$(dirname "$1")" -c "$3" | tar -C "$2" -x`,
			`tar -C "$(dirname "$1")" -c "$3" > "$1.tar"; tar -C "$2" -xf "$1.tar"; tar -C "$2" -xf "$1.tar"`,
			`cat "$1" > "$2/$3"; cat "$1" > "$2/$3"`,
			`set -C; cat "$1" > "$2/$3"`,
			`tee "$2/$3" < "$1" > /dev/null`,
			`install -m 600 "$1" "$2/$3"`,
			`touch "$2/$3"; cp "$1" "$2/$3"`,
			`: > "$2/$3"; cat "$1" > "$2/$3"`,
		} {
			t.Run(script, func(t *testing.T) {
				// As the store's clock has seconds, each has a name of its own.
				txid := ltx.TXID(0x100 + i)
				name := ltx.FormatFilename(txid, txid)
				data := storetest.LTX(t, txid, txid, storetest.Commit(40))
				file := filepath.Join(t.TempDir(), name)
				require.NoError(t, os.WriteFile(file, data, 0o644))
				ltxfstest.Shell(t, script, file, w.m.Path("ltx/0000"), name)
				w.holds(t, map[string][]byte{name: data})
				at, err := time.Parse(time.RFC3339Nano, w.s.Head(t, w.bucket, "db/0000/"+name).Metadata[timeKey])
				require.NoError(t, err)
				require.Equal(t, ltxfstest.HeaderTime(t, data), at.UTC())
				w.shows(t, "ltx/0000/"+name, data)
				st, err := w.Stat("ltx/0000/" + name)
				require.NoError(t, err)
				require.Equal(t, at.UTC(), st.ModTime)
				require.Equal(t, int64(len(data)), st.Size)
				names, err := w.ReadDir("ltx/0000")
				require.NoError(t, err)
				require.Equal(t, []string{name}, names)

				ltxfstest.MustRun(t, "rm", w.m.Path("ltx/0000", name))
				w.holds(t, nil)
				names, err = w.ReadDir("ltx/0000")
				require.NoError(t, err)
				require.Empty(t, names)
			})
		}
		require.Equal(t, ltxfstest.ExitOK, w.m.Terminate(t), w.m.Log())
	})
}

// A whole replica goes in at once, and Litestream restores it from the bucket.
func TestWriteReplicaToS3(t *testing.T) {
	t.Parallel()
	byTXID, _ := ltxfstest.OrdersStates(t)
	ways := []struct{ name, script string }{
		{"rsync", `for l in 0 1 2 9; do rsync -a "$1/ltx/$l/" "$2/ltx/$l/"; done`},
		{"cp, 8 at a time", `for l in 0 1 2 9; do ls "$1/ltx/$l"/* | xargs -P 8 -n 1 cp -p -t "$2/ltx/000$l/"; done`},
		{"tar of all there", `for l in 0 1 2 9; do tar -C "$1/ltx/$l" -c . | tar -C "$2/ltx/000$l" -x; done`},
	}
	for i, kind := range s3test.AllServers {
		for j, way := range ways {
			if i >= len(s3test.Servers) && j != i%len(ways) {
				continue // rclone's servers take turns
			}
			t.Run(kind.Name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				w := mountOpenTree(t, kind)
				ltxfstest.Shell(t, way.script, ltxfstest.Orders(t), w.m.Dir)
				ltxfstest.RequireOrders(t, w.m) // with the times that it has written
				require.Equal(t, ltxfstest.ExitOK, w.m.Terminate(t), w.m.Log())
				require.Len(t, w.s.Keys(t, w.bucket, ""), len(ltxfstest.OrdersFiles(t)))
				url := w.s.URL(w.bucket, "db")
				require.Equal(t, byTXID[23].SHA256, restoredSum(t, w.s.Env(), url))
				require.Equal(t, byTXID[10].SHA256, restoredSum(t, w.s.Env(), url, "-txid", byTXID[10].TXID))
			})
		}
	}
}

// The rules of names and of contents are those of a replica on disk.
func TestRulesOnS3(t *testing.T) {
	name1, name2 := ltx.FormatFilename(1, 1), ltx.FormatFilename(2, 2)
	file1, file2, temp := "ltx/0000/"+name1, "ltx/0000/"+name2, "ltx/0000/x.tmp"
	one, other, two := storetest.LTX(t, 1, 1), storetest.LTX(t, 1, 1, storetest.Seed(2), storetest.Commit(9)), storetest.LTX(t, 2, 2)
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		w := mountOpenTree(t, kind)
		require.NoError(t, w.WriteFile(file1, one))

		// Contents.
		require.Equal(t, syscall.EBADMSG, w.WriteFile(file2, []byte("no LTX")))
		require.NoError(t, w.Unlink(file2))
		require.Equal(t, syscall.EBADMSG, w.WriteFile(file2, two[:len(two)-1]))
		require.NoError(t, w.Unlink(file2))
		require.Equal(t, syscall.EINVAL, w.WriteFile(file2, one))
		w.shows(t, file2, one)
		require.NoError(t, w.Unlink(file2))
		w.holds(t, map[string][]byte{name1: one})

		// Names.
		require.NoError(t, w.WriteFile(temp, two))
		require.Equal(t, syscall.EINVAL, w.Rename(temp, file1, 0), "to a name that its header contradicts")
		require.Equal(t, syscall.EEXIST, w.Rename(temp, file1, unix.RENAME_NOREPLACE))
		require.Equal(t, syscall.EINVAL, w.Rename(temp, file1, unix.RENAME_EXCHANGE))
		require.Equal(t, syscall.EINVAL, w.Rename(file1, file2, 0), "a published file to other TXIDs")
		_, err := w.Open(file1, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
		require.Equal(t, syscall.EEXIST, err)
		w.holds(t, map[string][]byte{name1: one})
		require.NoError(t, w.Rename(temp, file2, unix.RENAME_NOREPLACE))
		w.holds(t, map[string][]byte{name1: one, name2: two})

		// Replacing: the old file is there until the new one is.
		f, err := w.Create(file1)
		require.NoError(t, err)
		require.NoError(t, f.Write(other[:1000]))
		w.holds(t, map[string][]byte{name1: one, name2: two})
		require.NoError(t, f.Write(other[1000:]))
		require.NoError(t, f.Fsync())
		w.holds(t, map[string][]byte{name1: other, name2: two})
		require.NoError(t, f.Close())
		w.shows(t, file1, other)

		// What the tree doesn't do.
		require.Equal(t, syscall.EPERM, w.Mkdir("ltx/new"))
		require.Equal(t, syscall.EPERM, w.Rmdir("ltx/0003"))
		require.Equal(t, syscall.EPERM, w.Link(file1, "ltx/0000/link"))
		require.Equal(t, syscall.EPERM, w.Symlink("x", "ltx/0000/link"))
		require.Equal(t, syscall.EPERM, w.Truncate(file1, 10))
		require.Equal(t, syscall.ENOENT, w.Unlink("ltx/0004/"+name1))
		w.holds(t, map[string][]byte{name1: other, name2: two})
		require.NoError(t, w.Unlink(file1))
		require.Equal(t, syscall.ENOENT, w.Unlink(file1))
		w.holds(t, map[string][]byte{name2: two})
		require.Equal(t, ltxfstest.ExitOK, w.m.Terminate(t), w.m.Log())
	})
}

// Who wants a name only if it is free doesn't get it if another writer has put an
// object there, be it while the upload is on its way: the store decides. The
// other's object stays, and so does what was to be published.
func TestExclusiveAgainstOthers(t *testing.T) {
	name, temp := ltx.FormatFilename(1, 1), "ltx/0000/x.tmp"
	file := "ltx/0000/" + name
	ours, theirs := storetest.LTX(t, 1, 1), storetest.LTX(t, 1, 1, storetest.Seed(2), storetest.Commit(9))
	large := storetest.LTX(t, 1, 1, storetest.Commit(2000), storetest.Noise())
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		for how, publish := range map[string]func(w openTree, data []byte) (staged string, err error){
			"O_EXCL": func(w openTree, data []byte) (string, error) {
				f, err := w.Open(file, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
				require.NoError(t, err)
				require.NoError(t, f.Write(data))
				return file, f.Close()
			},
			"RENAME_NOREPLACE": func(w openTree, data []byte) (string, error) {
				require.NoError(t, w.WriteFile(temp, data))
				return temp, w.Rename(temp, file, unix.RENAME_NOREPLACE)
			},
		} {
			for size, data := range map[string][]byte{"one request": ours, "parts": large} {
				t.Run(how+", "+size, func(t *testing.T) {
					w := mountOpenTree(t, kind, "--freshness=1s")
					last := s3test.PutObject
					if size == "parts" {
						last = s3test.CompleteMultipartUpload
					}
					conditional := ""
					w.proxy.Intercept(s3test.On(last, func(_ http.ResponseWriter, r *http.Request) bool {
						conditional = r.Header.Get("If-None-Match")
						w.s.Put(t, w.bucket, "db/0000/"+name, theirs)
						return false
					}))
					staged, err := publish(w, data)
					require.Equal(t, syscall.EEXIST, err)
					require.Equal(t, "*", conditional)
					w.holds(t, map[string][]byte{name: theirs})
					w.shows(t, staged, data)
					require.NoError(t, w.Unlink(staged))
					w.holds(t, map[string][]byte{name: theirs})
					ltxfstest.Eventually(t, ltxfstest.Timeout, "the other's file shows", func() bool {
						got, err := w.ReadFile(file)
						return err == nil && ltxfstest.SHA256(got) == ltxfstest.SHA256(theirs)
					})
					require.Equal(t, ltxfstest.ExitOK, w.m.Terminate(t), w.m.Log())
				})
			}
		}
	})
}
