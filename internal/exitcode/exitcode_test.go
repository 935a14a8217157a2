package exitcode

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want Code
	}{
		{"nil", nil, OK},
		{"plain", errors.New("x"), Failure},
		{"coded", Errorf(Busy, "x"), Busy},
		{"wrapped", fmt.Errorf("more: %w", Errorf(NoFUSE, "x")), NoFUSE},
		{"wrap plain", Wrap(Staging, errors.New("x")), Staging},
		{"wrap keeps the first code", Wrap(Staging, Errorf(Permission, "x")), Permission},
		{"wrap nil", Wrap(Staging, nil), OK},
		{"reported", Reported(Unpublished), Unpublished},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, Of(tt.err))
		})
	}
}

func TestErrorKeepsCauseAndText(t *testing.T) {
	err := Errorf(NoReplica, "open %s: %w", "/x", os.ErrNotExist)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualError(t, err, "open /x: file does not exist")
	require.False(t, IsReported(err))
	require.True(t, IsReported(fmt.Errorf("a: %w", Reported(Busy))))
}

func TestEveryCodeHasItsOwnName(t *testing.T) {
	seen := map[string]bool{}
	for c := OK; c <= Staging; c++ {
		name := c.String()
		require.NotContains(t, name, "code ", "code %d has no name", int(c))
		require.False(t, seen[name], "two codes are called %s", name)
		seen[name] = true
	}
	require.Equal(t, "code 77", Code(77).String())
}
