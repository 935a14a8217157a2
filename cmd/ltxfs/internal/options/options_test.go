package options

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0":                   0,
		"65536":               65536,
		"65536B":              65536,
		"4KiB":                4096,
		"4kib":                4096,
		"128MiB":              128 << 20,
		"128 MiB":             128 << 20,
		"2GiB":                2 << 30,
		"1TiB":                1 << 40,
		"5KB":                 5000,
		"5MB":                 5_000_000,
		"1GB":                 1_000_000_000,
		"9223372036854775807": 9223372036854775807,
	} {
		got, err := ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "MiB", "-1", "-1MiB", "1.5GiB", "12XB", "1e6", "0x10", "12 34", "9223372036854775808", "9007199254740993KiB", "M",
	} {
		_, err := ParseSize(text)
		require.Error(t, err, text)
	}
}

func TestSizeAsFlag(t *testing.T) {
	for text, want := range map[string]string{
		"134217728": "128MiB", "1GiB": "1GiB", "1500": "1500B", "0": "0B", "3TiB": "3TiB", "12288": "12KiB",
	} {
		var s Size
		require.NoError(t, s.Set(text))
		require.Equal(t, want, s.String())
	}
	var s Size
	require.Error(t, s.Set("much"))
	require.Equal(t, "size", s.Type())
}

func TestMode(t *testing.T) {
	for text, want := range map[string]Mode{"0644": 0o644, "644": 0o644, "0o755": 0o755, "0": 0, "777": 0o777} {
		var m Mode
		require.NoError(t, m.Set(text), text)
		require.Equal(t, want, m, text)
	}
	for _, text := range []string{"", "rw", "0888", "01777", "-1", "0x1ff"} {
		var m Mode
		require.Error(t, m.Set(text), text)
	}
	m := Mode(0o44)
	require.Equal(t, "0044", m.String())
	require.Equal(t, "mode", m.Type())
}

func TestParseMountOptions(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		want   MountOptions
	}{
		{"nothing", nil, MountOptions{}},
		{"empty", []string{""}, MountOptions{}},
		{"what mount.fuse3 passes", []string{"rw,dev,suid"}, MountOptions{Access: "rw"}},
		{"the last one counts", []string{"rw,ro"}, MountOptions{Access: "ro"}},
		{"the last one counts across values", []string{"ro", "rw"}, MountOptions{Access: "rw"}},
		{"an fstab line", []string{"defaults,noauto,nofail,user,_netdev,noatime,x-systemd.automount,X-mount.mkdir=0755,noexec,nosuid,nodev,noexec"},
			MountOptions{Kernel: []string{"noatime", "noexec", "nosuid", "nodev"}}},
		{"user with a name", []string{"user=joe,comment=hello"}, MountOptions{}},
		{"flags", []string{"freshness=5s,cache_size=64MiB,staging_dir=/var/tmp/x,allow_other,uid=1000,gid=1001,log-level=debug"},
			MountOptions{Flags: []Flag{
				{"freshness", "5s"}, {"cache-size", "64MiB"}, {"staging-dir", "/var/tmp/x"},
				{"allow-other", "true"}, {"uid", "1000"}, {"gid", "1001"}, {"log-level", "debug"},
			}}},
		{"escapes and an equals sign", []string{`staging_dir=/a\,b\\c=d\e`},
			MountOptions{Flags: []Flag{{"staging-dir", `/a,b\c=d\e`}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseMountOptions(tt.values, false)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func TestParseMountOptionsErrors(t *testing.T) {
	for _, tt := range []struct{ value, names string }{
		{"rw,nonsense", "nonsense"},
		{"nonsense=3", "nonsense"},
		{"daemon", "daemon"},
		{"uid", "uid"},
		{"uid=", "uid"},
		{"allow_other=yes", "allow_other"},
		{"remount,rw", "remount"},
		{"noexec=1", "noexec"},
		{"=3", "=3"},
	} {
		_, err := ParseMountOptions([]string{tt.value}, false)
		require.ErrorContains(t, err, tt.names, tt.value)
	}
	got, err := ParseMountOptions([]string{"rw,nonsense,uid=5"}, true)
	require.NoError(t, err)
	require.Equal(t, MountOptions{Access: "rw", Flags: []Flag{{"uid", "5"}}}, got)
}
