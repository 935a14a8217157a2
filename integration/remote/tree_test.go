package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// The tools that people have read a replica in S3 as they read one on disk. In
// the scripts, $1 is the mount, $2 the sample replica on disk, $3 an empty
// directory.
func TestReadWithTools(t *testing.T) {
	t.Parallel()
	orders := ltxfstest.Orders(t)
	for _, kind := range s3test.Servers {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			s := kind.Shared(t)
			bucket := s.Bucket(t)
			putOrders(t, s, bucket, "db", replica.LitestreamS3, true)
			m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--mtime=exact"}, Env: s.Env()})
			requireOrders(t, m)

			// Copies are compared with the replica: names, bytes and times.
			for name, script := range map[string]string{
				"cp -a":      `cp -a "$1/ltx/." "$3"`,
				"tar":        `tar -C "$1/ltx" --format=posix -c . | tar -C "$3" -x`,
				"rsync -a":   `rsync -a "$1/ltx/" "$3"`,
				"install -p": `for d in "$1"/ltx/*/; do mkdir "$3/$(basename "$d")"; for f in "$d"*; do [ ! -e "$f" ] || install -p "$f" "$3/$(basename "$d")"; done; done`,
			} {
				t.Run(name, func(t *testing.T) {
					dir := t.TempDir()
					ltxfstest.Shell(t, script, m.Dir, orders, dir)
					requireOrdersCopy(t, dir)
				})
			}
			// These exit with 0 only if all is right.
			for name, script := range map[string]string{
				"cmp":       `n=0; for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); cmp "$f" "$1/ltx/000$l/$(basename "$f")"; n=$((n+1)); done; [ $n = 40 ]`,
				"md5sum -c": `for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); echo "$(md5sum < "$f" | cut -d" " -f1)  $1/ltx/000$l/$(basename "$f")"; done > "$3/sums"; [ "$(wc -l < "$3/sums")" = 40 ]; md5sum --strict --quiet -c "$3/sums"`,
				"tail -c":   `for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); cmp <(tail -c 24 "$f") <(tail -c 24 "$1/ltx/$l/$(basename "$f")"); done`,
				"dd":        `for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); cmp <(dd status=none bs=1000 skip=1 if="$f") <(dd status=none bs=1000 skip=1 if="$1/ltx/$l/$(basename "$f")"); done`,
				"diff -r":   `for l in 0 1 2 9; do diff -r "$2/ltx/$l" "$1/ltx/000$l"; done`,
				"df":        `df -B1 --output=fstype,source,target "$1" | tail -n 1 | grep -F "fuse.ltxfs" | grep -F "s3://" | grep -F "$1"`,
			} {
				t.Run(name, func(t *testing.T) {
					ltxfstest.Shell(t, script, m.Dir, orders, t.TempDir())
				})
			}
			files := ltxfstest.OrdersFiles(t)
			t.Run("find -newer", func(t *testing.T) {
				var want []string
				for _, f := range files {
					if f.ModTime.After(files[11].ModTime) {
						want = append(want, m.Path(f.Path()))
					}
				}
				got := strings.Fields(ltxfstest.Shell(t, `find "$1/ltx" -type f -newer "$2" | sort`, m.Dir, m.Path(files[11].Path())))
				require.Len(t, got, 20)
				require.Equal(t, want, got)
			})
			t.Run("du", func(t *testing.T) {
				size := int64(0)
				for _, f := range files {
					size += f.Size
				}
				require.Equal(t, fmt.Sprintln(size),
					ltxfstest.Shell(t, `du -ab "$1/ltx" | awk -F'\t' '$2 ~ /\.ltx$/ {n += $1} END {print n}'`, m.Dir))
			})
			t.Run("ltx verify", func(t *testing.T) {
				args := []string{"verify"}
				for _, f := range files {
					args = append(args, m.Path(f.Path()))
				}
				require.Equal(t, "ok\n", ltxfstest.MustRun(t, ltxfstest.Tool(t, "ltx"), args...))
			})
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}

// requireOrdersCopy checks that a directory of a real disk holds the files of the
// sample replica with their bytes and times, in the mount's directories, and no
// other file.
func requireOrdersCopy(t *testing.T, dir string) {
	t.Helper()
	want := map[string]string{}
	for _, f := range ltxfstest.OrdersFiles(t) {
		name := strings.TrimPrefix(f.Path(), "ltx/")
		want[name] = ltxfstest.SHA256(ltxfstest.OrdersData(t, f))
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, f.ModTime, info.ModTime().UTC(), "mtime of the copy of %s", name)
	}
	require.Equal(t, want, ltxfstest.Tree(t, dir))
}

// Without --mtime=exact, a file's time is the store's, but that of what the mount
// has written itself.
func TestFastTimes(t *testing.T) {
	t.Parallel()
	for _, kind := range s3test.Servers {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			s := kind.Shared(t)
			bucket := s.Bucket(t)
			path, _ := putOne(t, s, bucket, "db/0001")
			m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: s.Env()})
			p := m.Process(t)
			st, err := p.Stat(path)
			require.NoError(t, err)
			require.Equal(t, s.Objects(t, bucket, "db/")[0].LastModified.UTC().Truncate(time.Second), st.ModTime.Truncate(time.Second))

			own, data := ltxfstest.LevelPath(3, ltx.FormatFilename(5, 5)), replicatest.LTX(t, 5, 5)
			require.NoError(t, p.WriteFile(own, data))
			st, err = p.Stat(own)
			require.NoError(t, err)
			require.Equal(t, ltxfstest.HeaderTime(t, data), st.ModTime)
		})
	}
}

// Without --rw, nothing can be changed, and nothing changes.
func TestReadOnlyOnS3(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	path, data := putOne(t, s, bucket, "db/0001")
	m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Env: s.Env()})
	p := m.Process(t)
	for what, err := range map[string]error{
		"write":    p.WriteFile("ltx/0000/new.tmp", data),
		"truncate": p.Truncate(path, 0),
		"unlink":   p.Unlink(path),
		"rename":   p.Rename(path, "ltx/0001/new.tmp", 0),
		"mkdir":    p.Mkdir("ltx/new"),
		"chmod":    p.Chmod(path, 0o600),
		"utimes":   p.Utimes(path, time.Now()),
	} {
		require.Equal(t, syscall.EROFS, err, what)
	}
	_, err := p.Open(path, unix.O_WRONLY, 0)
	require.Equal(t, syscall.EROFS, err)
	requireOne(t, m, path, data)
	require.Len(t, s.Keys(t, bucket, ""), 1)
}

// What another writer does shows within the freshness interval, and until then
// the mount need not look: what it has listed, it lists again.
func TestFreshness(t *testing.T) {
	t.Parallel()
	for _, kind := range s3test.Servers {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			s := kind.Shared(t)
			bucket := s.Bucket(t)
			mount := func(freshness string) *ltxfstest.Process {
				m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{
					Flags: []string{"--freshness=" + freshness}, Env: s.Env(),
				})
				return m.Process(t)
			}
			first, second := ltx.FormatFilename(1, 1), ltx.FormatFilename(2, 2)
			names := func(p *ltxfstest.Process) []string {
				names, err := p.ReadDir("ltx/0000")
				require.NoError(t, err)
				return names
			}
			s.Put(t, bucket, "db/0000/"+first, replicatest.LTX(t, 1, 1))
			soon, late := mount("1s"), mount("1h")
			require.Equal(t, []string{first}, names(soon))
			require.Equal(t, []string{first}, names(late))

			s.Put(t, bucket, "db/0000/"+second, replicatest.LTX(t, 2, 2))
			s.Delete(t, bucket, "db/0000/"+first)
			changed := time.Now()
			ltxfstest.Eventually(t, ltxfstest.Timeout, "the change shows", func() bool {
				_, err := soon.Stat("ltx/0000/" + first)
				return err == syscall.ENOENT && slices.Equal([]string{second}, names(soon))
			})
			require.Less(t, time.Since(changed), 4*time.Second, "an interval of 1 s, and what two busy cores add")
			require.Equal(t, []string{first}, names(late))
		})
	}
}
