package document_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/document"
)

func TestTime(t *testing.T) {
	want := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, text := range []string{
		"2024-05-06T07:08:09Z", "2024-05-06T07:08:09.987Z", "2024-05-06T09:08:09+02:00", "2024-05-06T09:08:09+0200", "2024-05-06T07:08:09.987+0000",
		"2024-05-06T07:08:09", "2024-05-06T07:08:09.987654321", "2024-05-06 07:08:09", "2024-05-06 09:08:09+02:00", "2024-05-06 09:08:09 +0200 CEST",
		"20240506T070809Z", "20240506T090809+0200",
		"Mon, 06 May 2024 07:08:09 GMT", "Mon, 6 May 2024 07:08:09 GMT", "Mon, 06 May 2024 07:08:09 UTC", "Mon, 06 May 2024 07:08:09", "Mon, 06 May 2024 09:08:09 +0200",
		"Monday, 06-May-24 07:08:09 GMT", "Mon May  6 07:08:09 2024",
		"1714979289", "1714979289.987", "1714979289987", " 1714979289\n",
	} {
		got, ok := document.Time(text)
		require.True(t, ok, text)
		require.Equal(t, want, got.Truncate(time.Second), text)
	}
	for _, text := range []string{
		"", " ", "yesterday", "null", "-", "0", "-5", "0.5", "NaN", "Inf", "-Inf", "1e300", "2024", "20240506", "20240506070809", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1960-01-01T00:00:00Z",
		"2024-13-06T07:08:09Z", "Mon, 06 May 2024 07:08:09 CEST", "Mon, 06 May 2024 07:08:09 EST", "2024-05-06",
	} {
		got, ok := document.Time(text)
		require.False(t, ok, "%s: %s", text, got)
	}
}
