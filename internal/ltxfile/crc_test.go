package ltxfile

import (
	"hash/crc64"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The CRC is that of Go's library, whatever came before and however long it is.
func TestUpdate(t *testing.T) {
	table := crc64.MakeTable(crc64.ISO)
	p := make([]byte, 1<<10)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	for n := range p {
		crc := rand.Uint64()
		require.Equal(t, crc64.Update(crc, table, p[:n]), update(crc, p[:n]), "%d bytes after %x", n, crc)
	}
}
