package settings

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMode(t *testing.T) {
	m := New()
	v := rowOf("file-mode").value(m)
	for text, want := range map[string]Mode{"0644": 0o644, "644": 0o644, "0o755": 0o755, "0": 0, "777": 0o777} {
		require.NoError(t, v.Set(text), text)
		require.Equal(t, want, m.FileMode, text)
	}
	for _, text := range []string{"", "rw", "0888", "01777", "-1", "0x1ff"} {
		require.Error(t, v.Set(text), text)
	}
	m.FileMode = 0o44
	require.Equal(t, "0044", v.String())
	require.Equal(t, "mode", v.Type())
}

func TestSizeAsFlag(t *testing.T) {
	m := New()
	v := rowOf("cache-size").value(m)
	for text, want := range map[string]string{
		"134217728": "128MiB", "1GiB": "1GiB", "1500": "1500B", "0": "0B", "3TiB": "3TiB", "12288": "12KiB",
	} {
		require.NoError(t, v.Set(text))
		require.Equal(t, want, v.String())
	}
	require.Error(t, v.Set("much"))
	require.ErrorContains(t, v.Set("1,5GiB"), "comma")
	require.ErrorContains(t, v.Set("4194304.5"), "fraction of a byte")
	require.Equal(t, "size", v.Type())
}

// parsed are the settings of mount options, as FLAG=VALUE, and the kernel's options.
func parsed(t *testing.T, m *Mount, values ...string) (settings, kernel []string) {
	t.Helper()
	options, err := m.parseOptions(values)
	require.NoError(t, err)
	for _, o := range options {
		settings = append(settings, o.flag+"="+o.value)
	}
	return settings, m.KernelOptions
}

func TestParseMountOptions(t *testing.T) {
	for _, tt := range []struct {
		name             string
		values           []string
		settings, kernel []string
	}{
		{"nothing", nil, nil, nil},
		{"empty", []string{""}, nil, nil},
		{"what mount.fuse3 passes", []string{"rw,dev,suid"}, []string{"rw=true"}, nil},
		{"the last one counts", []string{"rw,ro"}, []string{"rw=false"}, nil},
		{"the last one counts across values", []string{"ro", "rw"}, []string{"rw=true"}, nil},
		{"an fstab line", []string{"defaults,noauto,nofail,user,_netdev,noatime,x-systemd.automount,X-mount.mkdir=0755,noexec,nosuid,nodev,noexec"},
			nil, []string{"noatime", "noexec", "nosuid", "nodev"}},
		{"user with a name", []string{"user=joe,comment=hello"}, nil, nil},
		{"flags", []string{"freshness=5s,cache_size=64MiB,staging_dir=/var/tmp/x,allow_other,uid=1000,gid=1001,log-level=debug"},
			[]string{"freshness=5s", "cache-size=64MiB", "staging-dir=/var/tmp/x", "allow-other=true", "uid=1000", "gid=1001", "log-level=debug"}, nil},
		{"escapes and an equals sign", []string{`staging_dir=/a\,b\\c=d\e\"`}, []string{`staging-dir=/a,b\c=d\e"`}, nil},
		{"quotes", []string{`staging_dir="/a,b",comment="x,nonsense",ro`}, []string{"rw=false", "staging-dir=/a,b"}, nil},
		{"SELinux", []string{`noexec,context="system_u:object_r:httpd_sys_content_t:s0:c1,c2",context="system_u:object_r:httpd_sys_content_t:s0:c1,c2"`},
			nil, []string{"noexec", `context="system_u:object_r:httpd_sys_content_t:s0:c1,c2"`}},
		{"SELinux, without quotes", []string{`fscontext=a:b:c:s0,defcontext=a:b:c:s0\,c3`, "rootcontext=a:b:c"}, nil,
			[]string{`fscontext="a:b:c:s0"`, `defcontext="a:b:c:s0,c3"`, `rootcontext="a:b:c"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			settings, kernel := parsed(t, New(), tt.values...)
			require.Equal(t, tt.settings, settings)
			require.Equal(t, tt.kernel, kernel)
		})
	}
}

func TestParseMountOptionsErrors(t *testing.T) {
	for _, tt := range []struct{ value, names string }{
		{"rw,nonsense", "nonsense"},
		{"nonsense=3", "nonsense"},
		{"daemon", "daemon"},
		{"print_config", "print_config"},
		{"sloppy", "sloppy"},
		{"uid", "uid"},
		{"uid=", "uid"},
		{"allow_other=yes", "allow_other"},
		{"remount,rw", "remount"},
		{"noexec=1", "noexec"},
		{"rw=false", "rw"},
		{"=3", "=3"},
		{"context", "context needs"},
		{"context=", "context needs"},
		{`context=a\",allow_other`, "context needs"},
		{`ro,staging_dir="/a,uid=5`, "staging_dir has a quote"},
	} {
		_, err := New().parseOptions([]string{tt.value})
		require.ErrorContains(t, err, tt.names, tt.value)
	}
	m := New()
	m.Sloppy = true
	settings, kernel := parsed(t, m, "rw,nonsense,uid=5")
	require.Equal(t, []string{"rw=true", "uid=5"}, settings)
	require.Empty(t, kernel)
}
