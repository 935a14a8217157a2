// Package remote tests ltxfs on real S3 servers, from outside: the built binary
// mounts replicas in MinIO, the Versity S3 Gateway and rclone.
package remote

import (
	"testing"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

func TestMain(m *testing.M) {
	// The servers that the tests share outlive them.
	ltxfstest.Main(m, s3test.StopAll)
}
