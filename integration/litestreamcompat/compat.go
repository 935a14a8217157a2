// Package litestreamcompat shows that ltxfs and Litestream v0.5.18 are good for
// each other. Litestream's own library runs on the clients of ltxfs: it restores,
// compacts and replicates with them, and what they hold is read by its own
// clients. It is a module of its own, so that nobody who builds ltxfs needs
// Litestream and the libraries of all the stores that it knows.
package litestreamcompat

import (
	"github.com/benbjohnson/litestream"

	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// The clients are Litestream's as they are, without anything in between.
var (
	_ litestream.ReplicaClient = (*file.ReplicaClient)(nil)
	_ litestream.ReplicaClient = (*mock.ReplicaClient)(nil)
	_ litestream.ReplicaClient = (*s3.ReplicaClient)(nil)
)
