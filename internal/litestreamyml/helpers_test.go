package litestreamyml

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// environment is a process's environment.
type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

// write puts a configuration into a file, and returns its name.
func write(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "litestream.yml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func load(t testing.TB, text string, env environment) *Config {
	t.Helper()
	c, err := Load(write(t, text), env.lookup, true)
	require.NoError(t, err)
	return c
}

// loadReplica is the replica of /data/db.
func loadReplica(t testing.TB, text string, env environment) Replica {
	t.Helper()
	r, err := load(t, text, env).Replica("/data/db")
	require.NoError(t, err)
	return r
}
