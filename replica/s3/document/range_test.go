package document_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/document"
)

func TestContentRange(t *testing.T) {
	for in, want := range map[string][3]int64{
		"bytes 0-0/1":     {0, 0, 1},
		"bytes 10-29/30":  {10, 29, 30},
		"bytes 10-29/*":   {10, 29, document.UnknownSize},
		"bytes 010-29/30": {10, 29, 30},
		"bytes 9223372036854775805-9223372036854775806/9223372036854775807": {math.MaxInt64 - 2, math.MaxInt64 - 1, math.MaxInt64},
	} {
		first, last, total, err := document.ContentRange(in)
		require.NoError(t, err, in)
		require.Equal(t, want, [3]int64{first, last, total})
	}
	for _, in := range []string{
		"", "bytes", "bytes ", "bytes */10", "bytes 5-4/10", "bytes 0-10/10", "bytes -1-2/10", "bytes +1-2/10",
		"bytes 1-2", "bytes 1/10", "octets 0-9/10", "bytes=0-9/10", "bytes 0-9/10 ", "bytes 0x0-9/10", "bytes 0-9223372036854775808/9223372036854775809",
	} {
		_, _, _, err := document.ContentRange(in)
		require.Error(t, err, in)
	}
}

// FuzzContentRange: what is taken for a range is one, and is written as one.
func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{
		"bytes 0-0/1", "bytes 10-29/30", "bytes 0-9/*", "bytes */0", "bytes 5-4/10", "bytes -1-2/10", "bytes 0-18446744073709551615/1",
		"bytes 1-2/3/4", "bytes 1-2-3/4", "", "bytes " + strings.Repeat("9", 400),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, err := document.ContentRange(s)
		if err != nil {
			require.Less(t, len(err.Error()), 300)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.GreaterOrEqual(t, first, int64(0))
		require.LessOrEqual(t, first, last)
		again := fmt.Sprintf("bytes %d-%d/*", first, last)
		if total != document.UnknownSize {
			require.Less(t, last, total)
			again = fmt.Sprintf("bytes %d-%d/%d", first, last, total)
		}
		plain := strings.NewReplacer(" 0", " ", "-0", "-", "/0", "/")
		for plain.Replace(s) != s {
			s = plain.Replace(s)
		}
		for plain.Replace(again) != again {
			again = plain.Replace(again)
		}
		require.Equal(t, again, s)
	})
}
