package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// Every state that Litestream restores from the sample is restored, with the same bytes.
func TestRestoreCommand(t *testing.T) {
	t.Parallel()
	ltxfstest.RequireRestores(t, nil, ltxfstest.Orders(t))
}

// What can't be restored is told, and nothing is overwritten or left.
func TestRestoreCommandRefuses(t *testing.T) {
	t.Parallel()
	root, dir := ltxfstest.Orders(t), t.TempDir()
	out := filepath.Join(dir, "out.db")
	require.NoError(t, os.WriteFile(out, []byte("mine"), 0o600))
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	require.NoError(t, os.Symlink(out, link))
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{root, "-o", out}, ltxfstest.ExitUsage, "--force"},
		{[]string{root}, ltxfstest.ExitUsage, "-o FILE"},
		{[]string{root, "-o", out, "--txid=1"}, ltxfstest.ExitUsage, "--txid 1"},
		{[]string{root, "-o", out, "--timestamp=yesterday"}, ltxfstest.ExitUsage, "--timestamp yesterday"},
		{[]string{root, "-o", out, "--txid=0000000000000001", "--timestamp=2026-11-22"}, ltxfstest.ExitUsage, "give one of them"},
		{[]string{root, "-o", filepath.Join(dir, "b"), "--txid=0000000000000099"}, ltxfstest.ExitDamaged, "no such state"},
		{[]string{root, "-o", filepath.Join(dir, "b"), "--timestamp=2020-01-01"}, ltxfstest.ExitDamaged, "no such state"},
		{[]string{filepath.Join(dir, "none"), "-o", filepath.Join(dir, "b")}, ltxfstest.ExitNoReplica, "none"},
		{[]string{root, "-o", filepath.Join(dir, "none", "b")}, 1, "none/b"},
		{[]string{root, "-o", filepath.Join(dir, "b") + "/"}, ltxfstest.ExitUsage, "is a directory"},
		{[]string{root, "-o", dir, "--force"}, ltxfstest.ExitUsage, "is a directory"},
		{[]string{root, "-o", fifo, "--force"}, ltxfstest.ExitUsage, "no regular file"},
		{[]string{root, "-o", link, "--force"}, ltxfstest.ExitUsage, "no regular file"},
		{[]string{root, "-o", filepath.Join(root, "b")}, ltxfstest.ExitUsage, "in the replica"},
	} {
		r := ltxfstest.Ltxfs(t, append([]string{"restore"}, tt.args...)...)
		require.Equal(t, tt.code, r.Code, r)
		require.Contains(t, r.Stderr, tt.text, r)
		require.Equal(t, 1, strings.Count(r.Stderr, "\n"), r)
	}
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "mine", string(data))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
}

// A restore that is killed leaves no file of that name, and the next goes on with what it
// has done.
func TestRestoreCommandKilled(t *testing.T) {
	t.Parallel()
	root, dir := t.TempDir(), t.TempDir()
	const pageSize = 65536
	h := storetest.NewHistory(t, 1, pageSize)
	h.Put = func(n replica.Name, data []byte) {
		ltxfstest.Store(t, filepath.Join(root, ltxfstest.StorePath(n.Level, n.Base())), data, storetest.DefaultTime)
	}
	h.Commit(512, 0) // 32 MiB
	out := filepath.Join(dir, "out.db")
	cmd := exec.Command(ltxfstest.Binary(), "restore", "--limit-read=2MiB", root, "-o", out)
	cmd.Env = ltxfstest.Env()
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		st, err := os.Stat(out + ".ltxfs-part-notes")
		return err == nil && st.Size() > 100 // of a chunk, and more
	}, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.NoFileExists(t, out)

	r := ltxfstest.Ltxfs(t, "restore", root, "-o", out)
	require.Zero(t, r.Code, r)
	require.Regexp(t, `restored 0000000000000001 of .* 32MiB \(\d+MiB were there\) in`, r.Stdout)
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	require.True(t, bytes.Equal(h.File(1), data))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// ls lists what there is, a damaged file as such.
func TestLs(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	files := ltxfstest.OrdersFiles(t)
	ls := func(args ...string) (out struct {
		Version int
		Replica string
		Files   []struct {
			Level              int
			Min_TXID, Max_TXID string
			Size               int64
			Time               time.Time
			Pages              *int
			Error              string
		}
	}) {
		t.Helper()
		r := ltxfstest.Ltxfs(t, append([]string{"ls", "--json", root}, args...)...)
		require.Zero(t, r.Code, r)
		require.NoError(t, json.Unmarshal([]byte(r.Stdout), &out), r)
		return out
	}
	all := ls()
	require.Equal(t, 1, all.Version)
	require.Equal(t, root, all.Replica)
	require.Len(t, all.Files, len(files))
	for i, f := range files {
		got := all.Files[i]
		require.Equal(t, f.Level, got.Level)
		require.Equal(t, f.Name, got.Min_TXID+"-"+got.Max_TXID+".ltx")
		require.Equal(t, f.Size, got.Size)
		require.True(t, f.ModTime.Equal(got.Time), "%s: %v, not %v", f.Name, got.Time, f.ModTime)
		require.Positive(t, *got.Pages)
		require.LessOrEqual(t, *got.Pages, f.Commit)
	}
	require.Len(t, ls("--since", files[3].ModTime.Format(time.RFC3339Nano), "--level=0").Files, len(ls("--level=0").Files)-3)
	sizes := ls("--sort=size").Files
	for i := range sizes[1:] {
		require.GreaterOrEqual(t, sizes[i].Size, sizes[i+1].Size)
	}

	damaged := filepath.Join(root, files[2].StorePath())
	require.NoError(t, os.Truncate(damaged, files[2].Size-1))
	got := ls("--level=0").Files[2]
	require.Nil(t, got.Pages)
	require.NotEmpty(t, got.Error)
	r := ltxfstest.Ltxfs(t, "ls", "-h", root)
	require.Zero(t, r.Code, r)
	require.Len(t, strings.Split(strings.TrimSpace(r.Stdout), "\n"), 1+len(files))
	require.Regexp(t, `(?m)^0 +`+strings.ReplaceAll(strings.TrimSuffix(files[2].Name, ".ltx"), "-", " +")+` .* damaged$`, r.Stdout)

	for _, args := range [][]string{{"--sort=name"}, {"--since=now"}, {"--level=x"}, {"--nothing"}} {
		r := ltxfstest.Ltxfs(t, append([]string{"ls", root}, args...)...)
		require.Equal(t, ltxfstest.ExitUsage, r.Code, r)
		require.Empty(t, r.Stdout)
	}
}

// info tells what can be restored, what is missing and what is damaged, of a replica and of a
// file.
func TestInfo(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	files := ltxfstest.OrdersFiles(t)
	type state struct {
		TXID string
		Time time.Time
		Size int64
	}
	type report struct {
		Version, States int
		Oldest, Newest  *state
		Granularity     []struct{ States int }
		Gaps            []struct {
			Min_TXID, Max_TXID string
		}
		Levels []struct {
			Level, Files int
			Size         int64
		}
		Damaged []struct {
			Level    int
			Max_TXID string
		}
	}
	look := func() (out report) {
		t.Helper()
		r := ltxfstest.Ltxfs(t, "info", "--json", root)
		require.Zero(t, r.Code, r)
		require.NoError(t, json.Unmarshal([]byte(r.Stdout), &out), r)
		return out
	}
	all := look()
	require.Equal(t, 24, all.States)
	require.Equal(t, state{"0000000000000001", files[0].ModTime.UTC(), int64(files[0].Commit) * 4096}, *all.Oldest)
	require.Equal(t, state{"0000000000000018", files[23].ModTime.UTC(), int64(files[23].Commit) * 4096}, *all.Newest)
	require.Equal(t, 24, all.Granularity[0].States)
	require.Empty(t, all.Gaps)
	require.Empty(t, all.Damaged)
	var levels, size int64
	for _, l := range all.Levels {
		levels, size = levels+int64(l.Files), size+l.Size
	}
	for _, f := range files {
		size -= f.Size
	}
	require.Equal(t, []int64{int64(len(files)), 0}, []int64{levels, size})
	text := ltxfstest.MustRun(t, ltxfstest.Binary(), "info", root)
	require.Regexp(t, `(?m)^  newest +0000000000000018 of 2026-11-22T22:06:28\.593Z, .* ago, 96KiB$`, text)
	require.Regexp(t, `(?m)^gaps +none$`, text)

	// Without the levels above, what one file had is a gap, and a damaged one is named.
	for _, level := range []string{"1", "2", "9"} {
		require.NoError(t, os.RemoveAll(filepath.Join(root, "ltx", level)))
	}
	require.NoError(t, os.Remove(filepath.Join(root, files[9].StorePath())))
	damaged := filepath.Join(root, files[4].StorePath())
	require.NoError(t, os.Truncate(damaged, files[4].Size/2))
	got := look()
	require.Equal(t, 9, got.States)
	require.Len(t, got.Gaps, 1)
	require.Equal(t, "000000000000000a", got.Gaps[0].Min_TXID)
	require.Equal(t, "000000000000000a", got.Gaps[0].Max_TXID)
	require.Len(t, got.Damaged, 1)
	require.Equal(t, "0000000000000005", got.Damaged[0].Max_TXID)

	sound := ltxfstest.Ltxfs(t, "info", filepath.Join(root, files[5].StorePath()))
	require.Zero(t, sound.Code, sound)
	require.Contains(t, sound.Stdout, "sound: every page unpacks")
	broken := ltxfstest.Ltxfs(t, "info", "--json", damaged)
	require.Equal(t, ltxfstest.ExitDamaged, broken.Code, broken)
	require.Contains(t, broken.Stdout, `"sound": false`)
	require.Empty(t, broken.Stderr)
	renamed := filepath.Join(t.TempDir(), "0000000000000063-0000000000000063.ltx")
	data, err := os.ReadFile(filepath.Join(root, files[5].StorePath()))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(renamed, data, 0o600))
	other := ltxfstest.Ltxfs(t, "info", renamed)
	require.Equal(t, ltxfstest.ExitDamaged, other.Code, other)
	require.Contains(t, other.Stdout, "contradicts the file's name")
}
