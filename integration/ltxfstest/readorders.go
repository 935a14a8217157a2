package ltxfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// LevelNames are the names in ltx/.
var LevelNames = []string{"0000", "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009"}

// RequireOrders checks that a mount shows the sample replica: its 40 files with
// the bytes, sizes and times of the originals, and nothing else.
func RequireOrders(t testing.TB, m *Mounted) {
	t.Helper()
	p := m.Process(t)
	want := map[string][]string{}
	files := OrdersFiles(t)
	require.Len(t, files, 40)
	for _, f := range files {
		level := filepath.Dir(f.Path())
		want[level] = append(want[level], f.Name)

		st, err := p.Stat(f.Path())
		require.NoError(t, err, f.Path())
		require.Equal(t, f.Size, st.Size, "size of %s", f.Path())
		require.Equal(t, f.ModTime, st.ModTime, "mtime of %s", f.Path())
		require.Equal(t, uint32(syscall.S_IFREG), st.Mode&syscall.S_IFMT, "type of %s", f.Path())
		require.Equal(t, blocks(f.Size), st.Blocks, "blocks of %s", f.Path())

		data, err := p.ReadFile(f.Path())
		require.NoError(t, err, f.Path())
		require.Equal(t, SHA256(OrdersData(t, f)), SHA256(data), "content of %s", f.Path())
	}
	RequireNames(t, p, ".", "db", "ltx", "snapshots")
	RequireNames(t, p, "ltx", LevelNames...)
	for _, level := range LevelNames {
		RequireNames(t, p, filepath.Join("ltx", level), want["ltx/"+level]...)
	}
	RequireNames(t, p, "snapshots", want["ltx/0009"]...)
}

// blocks is how much room a file takes, in units of 512 bytes: whole 4 KiB.
func blocks(size int64) int64 { return (size + 4095) / 4096 * 8 }

// RequireNames checks what a directory lists, in any order.
func RequireNames(t testing.TB, p *Process, dir string, want ...string) {
	t.Helper()
	names, err := p.ReadDir(dir)
	require.NoError(t, err, "list %s", dir)
	require.ElementsMatch(t, want, names, "names in %s", dir)
}

// ReadOrders reads a mount of the sample replica with the tools that people have,
// each on all files, each checked for what it made or printed. In the scripts, $1
// is the mount, $2 the replica, a directory of Orders, $3 an empty directory.
func ReadOrders(t *testing.T, m *Mounted, root string) {
	t.Helper()
	// Copies are compared with the replica, names, bytes and times.
	for name, script := range map[string]string{
		"cp -a":      `cp -a "$1/ltx/." "$3"`,
		"cp -p":      `for d in "$1"/ltx/*/; do mkdir "$3/$(basename "$d")"; for f in "$d"*; do [ ! -e "$f" ] || cp -p "$f" "$3/$(basename "$d")"; done; done`,
		"cp -rp":     `cp -rp "$1/ltx/." "$3"`,
		"tar":        `tar -C "$1/ltx" --format=posix -c . | tar -C "$3" -x`,
		"rsync -a":   `rsync -a "$1/ltx/" "$3"`,
		"rsync -acH": `rsync -acH "$1/ltx/" "$3"`,
		"install -p": `for d in "$1"/ltx/*/; do mkdir "$3/$(basename "$d")"; for f in "$d"*; do [ ! -e "$f" ] || install -p "$f" "$3/$(basename "$d")"; done; done`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			Shell(t, script, m.Dir, root, dir)
			requireCopy(t, dir)
		})
	}

	// These exit with 0 only if all is right.
	for name, script := range map[string]string{
		"cmp":       `n=0; for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); cmp "$f" "$1/ltx/000$l/$(basename "$f")"; cmp "$f" "$1/ltx/$l/$(basename "$f")"; n=$((n+1)); done; [ $n = 40 ]`,
		"xxd":       `n=0; for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); diff <(xxd "$f") <(xxd "$1/ltx/000$l/$(basename "$f")"); n=$((n+1)); done; [ $n = 40 ]`,
		"md5sum -c": `for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); echo "$(md5sum < "$f" | cut -d" " -f1)  $1/ltx/000$l/$(basename "$f")"; done > "$3/sums"; [ "$(wc -l < "$3/sums")" = 40 ]; md5sum --strict -c "$3/sums"`,
		"tail -c":   `for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); cmp <(tail -c 24 "$f") <(tail -c 24 "$1/ltx/$l/$(basename "$f")"); done`,
		"dd":        `for f in "$2"/ltx/*/*.ltx; do l=$(basename "$(dirname "$f")"); cmp <(dd status=none bs=1000 skip=1 if="$f") <(dd status=none bs=1000 skip=1 if="$1/ltx/$l/$(basename "$f")"); done`,
		"diff -r":   `for l in 0 1 2 9; do diff -r "$2/ltx/$l" "$1/ltx/000$l"; done`,
	} {
		t.Run(name, func(t *testing.T) {
			Shell(t, script, m.Dir, root, t.TempDir())
		})
	}

	t.Run("find", func(t *testing.T) {
		var want []string
		states, _ := OrdersStates(t)
		for _, s := range states {
			want = append(want, m.Path("db/at", s.TXID+".db"))
		}
		want = append(want, fileList(t, func(f OrdersFile) string { return m.Path(f.Path()) })...)
		require.Equal(t, want, Lines(Shell(t, `find "$1" -type f | sort`, m.Dir)))
	})
	t.Run("find -newer", func(t *testing.T) {
		ref := OrdersFiles(t)[11]
		want := fileList(t, func(f OrdersFile) string {
			if f.ModTime.After(ref.ModTime) {
				return m.Path(f.Path())
			}
			return ""
		})
		require.Len(t, want, 20)
		require.Equal(t, want, Lines(Shell(t, `find "$1/ltx" -type f -newer "$2" | sort`, m.Dir, m.Path(ref.Path()))))
	})
	t.Run("stat", func(t *testing.T) {
		want := fileList(t, func(f OrdersFile) string {
			return fmt.Sprintf("%s %d %s regular file", m.Path(f.Path()), f.Size, f.ModTime.Format("2006-01-02 15:04:05.000000000 -0700"))
		})
		require.Equal(t, want, Lines(Shell(t, `stat -c '%n %s %y %F' "$1"/ltx/*/*.ltx | sort`, m.Dir)))
	})
	t.Run("ls -l", func(t *testing.T) {
		want := fileList(t, func(f OrdersFile) string {
			return fmt.Sprintf("%d %s %s", f.Size, f.ModTime.Format("2006-01-02T15:04:05.000000000"), m.Path(f.Path()))
		})
		got := Lines(Shell(t, `ls -l --time-style=+%Y-%m-%dT%H:%M:%S.%N "$1"/ltx/*/*.ltx | awk '{print $5, $6, $7}'`, m.Dir))
		require.ElementsMatch(t, want, got)
	})
	t.Run("du", func(t *testing.T) {
		var apparent, used int64
		for _, f := range OrdersFiles(t) {
			apparent += f.Size
			used += blocks(f.Size)
		}
		sum := `du -a $2 "$1/ltx" | awk -F'\t' '$2 ~ /\.ltx$/ {n += $1} END {print n}'`
		require.Equal(t, strconv.FormatInt(apparent, 10)+"\n", Shell(t, sum, m.Dir, "-b"))
		require.Equal(t, strconv.FormatInt(used, 10)+"\n", Shell(t, sum, m.Dir, "-B512"))
	})
	t.Run("mmap", func(t *testing.T) {
		p := m.Process(t)
		for _, f := range OrdersFiles(t) {
			data, err := p.Mmap(f.Path(), -1, 0)
			require.NoError(t, err)
			require.Equal(t, SHA256(OrdersData(t, f)), SHA256(data), f.Path())
		}
	})
	t.Run("ltx verify", func(t *testing.T) {
		args := append([]string{"verify"}, fileList(t, func(f OrdersFile) string { return m.Path(f.Path()) })...)
		require.Equal(t, "ok\n", MustRun(t, Tool(t, "ltx"), args...))
	})
	t.Run("ltx list", func(t *testing.T) {
		list := func(path func(OrdersFile) string) string {
			return MustRun(t, Tool(t, "ltx"), append([]string{"list"}, fileList(t, path)...)...)
		}
		want := list(func(f OrdersFile) string { return filepath.Join(root, f.StorePath()) })
		require.Equal(t, want, list(func(f OrdersFile) string { return m.Path(f.Path()) }))
	})
}

// requireCopy checks that dir holds the levels 0000 to 0009 with the files of the
// sample replica, with their bytes and times, and no other file.
func requireCopy(t testing.TB, dir string) {
	t.Helper()
	want := map[string]string{}
	for _, f := range OrdersFiles(t) {
		name := strings.TrimPrefix(f.Path(), "ltx/")
		want[name] = SHA256(OrdersData(t, f))
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, f.ModTime, info.ModTime().UTC(), "mtime of the copy of %s", name)
	}
	require.Equal(t, want, Tree(t, dir))
	for _, level := range LevelNames {
		require.DirExists(t, filepath.Join(dir, level))
	}
}

// fileList is a line for each file of the sample replica, without empty ones.
func fileList(t testing.TB, line func(OrdersFile) string) []string {
	t.Helper()
	var list []string
	for _, f := range OrdersFiles(t) {
		if l := line(f); l != "" {
			list = append(list, l)
		}
	}
	return list
}

// Lines are the lines of what a program printed.
func Lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }
