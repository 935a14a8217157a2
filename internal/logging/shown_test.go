package logging

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Not each device of characters is a terminal.
func TestIsTerminal(t *testing.T) {
	for path, want := range map[string]bool{"/dev/ptmx": true, os.DevNull: false} {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		require.Equal(t, want, IsTerminal(f), path)
	}
	require.False(t, IsTerminal(&bytes.Buffer{}))
}

func TestShown(t *testing.T) {
	require.Equal(t, "a b/é", Shown("a b/é"))
	require.Equal(t, `"a\x1b[2J\nb"`, Shown("a\x1b[2J\nb"))
	require.Equal(t, `"\xff"`, Shown("\xff"))
}
