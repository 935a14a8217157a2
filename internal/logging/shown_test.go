package logging

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShown(t *testing.T) {
	require.Equal(t, "a b/é", Shown("a b/é"))
	require.Equal(t, `"a\x1b[2J\nb"`, Shown("a\x1b[2J\nb"))
	require.Equal(t, `"\xff"`, Shown("\xff"))
}
