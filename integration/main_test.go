// Package integration tests ltxfs from outside: it mounts the built binary and
// uses it with the tools that its users have.
package integration

import (
	"testing"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

func TestMain(m *testing.M) { ltxfstest.Main(m) }
