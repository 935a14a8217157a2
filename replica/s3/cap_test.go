package s3

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// An answer without an end is an error, not memory.
func TestAnswersWithoutEnd(t *testing.T) {
	const item = `<Contents><Key>db/0000/x</Key><Size>1</Size></Contents>`
	for name, status := range map[string]int{"listing": http.StatusOK, "error": http.StatusBadRequest} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			s := serve(t, answers{"LIST": func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				chunk := []byte(strings.Repeat(item, 1000))
				for _, err := w.Write([]byte(`<ListBucketResult>`)); err == nil; _, err = w.Write(chunk) {
					sent.Add(int64(len(chunk)))
				}
			}})
			require.Error(t, listError(t, s.store(t), false))
			// What is in the buffers of both sides comes on top.
			require.Less(t, sent.Load(), int64(maxAnswer+32<<20))
			require.Len(t, s.of("LIST"), 1)
		})
	}
}
