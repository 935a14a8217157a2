package document

import (
	"strconv"
	"strings"
	"time"
)

// layouts are the forms of times: first that of listings, and then that of headers. A
// zone has an offset or is UTC: Parse doesn't know the offsets of names.
var layouts = []string{
	time.RFC3339,
	"Mon, 2 Jan 2006 15:04:05 GMT",
	"Mon, 2 Jan 2006 15:04:05 UTC",
	"Mon, 2 Jan 2006 15:04:05",
	"Mon, 2 Jan 2006 15:04:05 -0700",
	"Monday, 2-Jan-06 15:04:05 GMT",
	time.ANSIC,
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05",
	"2006-01-02 15:04:05 -0700 MST", // as Go prints it
	"20060102T150405Z0700",
}

// Time understands a time. Without a zone, it is in UTC. Those that systems have where
// they know none, the years 1 and 1970, are none.
func Time(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), t.Unix() > 0
		}
	}
	seconds, err := strconv.ParseFloat(text, 64)
	const first, last = 1e8, 1e10 // the years 1973 and 2286; other numbers may be dates
	if seconds >= first*1000 {
		seconds /= 1000
	}
	if err != nil || !(seconds >= first && seconds < last) {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}
