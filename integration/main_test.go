// Package integration tests ltxfs from outside: it mounts the built binary and
// uses it with the tools that its users have.
package integration

import (
	"os"
	"testing"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

func TestMain(m *testing.M) {
	if os.Getenv(posixDirEnv) != "" {
		os.Exit(m.Run()) // for runPosixTest
	}
	ltxfstest.Main(m)
}
