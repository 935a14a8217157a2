package service

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/mounts"
	"github.com/ltxfs/ltxfs/internal/settings"
)

func TestMemoryLimit(t *testing.T) {
	const v2, v1 = "memory.max", "memory.limit_in_bytes"
	for _, c := range []struct {
		name   string
		groups string
		root   string            // of what is mounted
		files  map[string]string // below the mountpoint of the version that the name of the file tells
		want   int64
	}{
		{name: "none", groups: "0::/\n", root: "/", want: math.MaxInt64},
		{name: "unlimited", groups: "0::/a\n", root: "/", files: map[string]string{"a/" + v2: "max\n"}, want: math.MaxInt64},
		{name: "its own", groups: "0::/a/b\n", root: "/", files: map[string]string{"a/b/" + v2: "1000\n", "a/" + v2: "max\n"}, want: 1000},
		{name: "one around it", groups: "0::/a/b\n", root: "/", files: map[string]string{"a/b/" + v2: "1000\n", "a/" + v2: "900\n"}, want: 900},
		{name: "of the container", groups: "0::/\n", root: "/", files: map[string]string{v2: "1000\n", "a/" + v2: "1"}, want: 1000},
		{name: "not of the mounted part", groups: "0::/../other\n", root: "/", files: map[string]string{v2: "1000\n"}, want: 1000},
		{name: "from the host's root", groups: "4:cpu,memory:/docker/x\n0::/\n", root: "/docker/x", files: map[string]string{v1: "2000\n"}, want: 2000},
		{name: "first version", groups: "5:cpu:/z\n4:memory:/a/b\n", root: "/", files: map[string]string{"a/b/" + v1: "9223372036854771712\n", "a/" + v1: "3000\n", "z/" + v1: "1"}, want: 3000},
		{name: "both", groups: "4:memory:/a\n0::/b\n", root: "/", files: map[string]string{"a/" + v1: "3000\n", "b/" + v2: "2500\n"}, want: 2500},
		{name: "odd", groups: "odd\n4:memory\n0::/a\n", root: "/", files: map[string]string{"a/" + v2: "many"}, want: math.MaxInt64},
	} {
		t.Run(c.name, func(t *testing.T) {
			dirs := map[string]string{v1: t.TempDir(), v2: t.TempDir()}
			for path, text := range c.files {
				path = filepath.Join(dirs[filepath.Base(path)], path)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			table := mounts.Table{
				{FSType: "tmpfs", Mountpoint: "/sys/fs/cgroup", Root: "/"},
				{FSType: "cgroup", Mountpoint: t.TempDir(), Root: c.root, VFSOptions: "rw,cpu"},
				{FSType: "cgroup", Mountpoint: dirs[v1], Root: c.root, VFSOptions: "rw,memory"},
				{FSType: "cgroup2", Mountpoint: dirs[v2], Root: c.root, VFSOptions: "rw"},
			}
			require.Equal(t, c.want, memoryLimit(table, c.groups))
		})
	}
}

func TestCacheWithin(t *testing.T) {
	for limit, want := range map[int64]settings.Size{
		1 << 20: 4 << 20, 64 << 20: 4 << 20, 128 << 20: 48 << 20, 256 << 20: 160 << 20, 1 << 30: 832 << 20,
	} {
		require.Equal(t, want, cacheWithin(limit), limit)
	}
	require.Greater(t, cacheWithin(math.MaxInt64), settings.Size(1<<40))
}
