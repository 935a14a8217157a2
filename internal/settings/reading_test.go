package settings

import (
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// What reads a replica without mounting it takes what is of reading, and passes over what
// the environment says of a mount.
func TestReading(t *testing.T) {
	parse := func(env map[string]string, args ...string) (*Mount, error) {
		m := New()
		flags := pflag.NewFlagSet("ls", pflag.ContinueOnError)
		m.DefineReading(flags)
		if err := flags.Parse(args); err != nil {
			return m, err
		}
		return m, m.Parse(flags, flags.Arg(0), "", lookup(env))
	}
	m, err := parse(map[string]string{
		"LTXFS_CACHE_SIZE": "8MiB", "LTXFS_FRESHNESS": "-1s", "LTXFS_OPTIONS": "no such option", "LTXFS_RW": "1",
	}, "--limit-read=1MiB", "--layout=guide", "/srv/r")
	require.NoError(t, err)
	require.Equal(t, "/srv/r", m.Source.Path)
	require.Equal(t, []any{Size(8 << 20), Size(1 << 20), "guide", false}, []any{m.CacheSize, m.LimitRead, m.Layout.Name, m.ReadWrite})

	for _, flag := range []string{"--rw", "--freshness=1s", "--daemon", "-oro"} {
		_, err := parse(nil, flag, "/srv/r")
		require.ErrorContains(t, err, "unknown", flag)
	}
	_, err = parse(map[string]string{"LTXFS_CACHE_SIZE": "1MiB"}, "/srv/r")
	require.ErrorContains(t, err, "at least 4MiB")
}
