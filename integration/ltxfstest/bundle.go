package ltxfstest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Unpack returns the files of a bundle by name.
func Unpack(t testing.TB, bundle string) map[string]string {
	t.Helper()
	f, err := os.Open(bundle)
	require.NoError(t, err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	require.NoError(t, err)
	parts := map[string]string{}
	for packed := tar.NewReader(unzipped); ; {
		h, err := packed.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		require.NoError(t, err)
		data, err := io.ReadAll(packed)
		require.NoError(t, err)
		parts[strings.TrimPrefix(h.Name, "ltxfs-bundle/")] = string(data)
	}
}
