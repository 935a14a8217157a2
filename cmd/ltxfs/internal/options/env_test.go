package options

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEnvName(t *testing.T) {
	require.Equal(t, "LTXFS_RW", EnvName("rw"))
	require.Equal(t, "LTXFS_CACHE_SIZE", EnvName("cache-size"))
}

func TestUnknownEnv(t *testing.T) {
	known := []string{"LTXFS_FRESHNESS", "LTXFS_RW", "LTXFS_S3_REGION"}
	require.Empty(t, UnknownEnv([]string{
		"LTXFS_FRESHNESS=1s", "LTXFS_S3_REGION=eu", "LTXFS_TOOLS=/x", "LTXFS_RED=1", "LTXFS_S3_NOTHING=", "ltxfs_rw=1", "FRESHNESS=1s", "LTXFS_RW=x=y",
	}, known))
	require.Equal(t, []Unknown{
		{"LTXFS_FRESHNES", "LTXFS_FRESHNESS"},
		{"LTXFS_R", "LTXFS_RW"},
		{"LTXFS_S3_ENDPOINT_URL", ""},
		{"LTXFS_S3_REIGON", "LTXFS_S3_REGION"},
	}, UnknownEnv([]string{"LTXFS_S3_REIGON=eu", "LTXFS_FRESHNES=1s", "LTXFS_R=1", "LTXFS_S3_ENDPOINT_URL=x"}, known))
}
