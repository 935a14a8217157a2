package nearest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"same", "same", 0}, {"ab", "ba", 2},
		{"style", "stile", 1}, {"endpiont", "endpoint", 2}, {"kitten", "sitting", 3},
	} {
		require.Equal(t, tt.want, distance(tt.a, tt.b))
		require.Equal(t, tt.want, distance(tt.b, tt.a))
	}
}

func TestOf(t *testing.T) {
	known := []string{"region", "part-size", "partSize"}
	require.Equal(t, "part-size", Of("PART-SIZ", known, 2))
	require.Equal(t, "partSize", Of("partsiez", known, 2))
	require.Empty(t, Of("colour", known, 2))
	require.Empty(t, Of("regoin", known, 1))
}
