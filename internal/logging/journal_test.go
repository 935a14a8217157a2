package logging

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/stretchr/testify/require"
)

// Each attribute is in the message and in a field of its own, with a name that the journal
// takes.
func TestJournalEntry(t *testing.T) {
	var out bytes.Buffer
	log, err := New(&out, slog.LevelDebug, Journal)
	require.NoError(t, err)
	log.With("database", "a b.db").WithGroup("of").Error("can't read", "file-name", "ltx/0000/\n\"", "took", 1500*time.Millisecond,
		slog.Group("list", "count", int64(1)<<62), "error", errors.New("é=<1>"), "none", "", "yes", true,
		strings.Repeat("x", 100), 1)
	e := entry{fields: map[string]string{}}
	require.NoError(t, e.add(out.Bytes(), ""))
	long := strings.Repeat("X", maxFieldName-len("LTXFS_OF_"))
	require.Equal(t, entry{
		message: `can't read database="a b.db" of.file-name="ltx/0000/\n\"" of.took=1.5s of.list.count=4611686018427387904` +
			` of.error="é=<1>" of.none="" of.yes=true of.` + strings.Repeat("x", 100) + "=1",
		priority: journal.PriErr,
		fields: map[string]string{
			"LTXFS_DATABASE": "a b.db", "LTXFS_OF_FILE_NAME": "ltx/0000/\n\"", "LTXFS_OF_TOOK": "1.5s",
			"LTXFS_OF_LIST_COUNT": "4611686018427387904", "LTXFS_OF_ERROR": "é=<1>", "LTXFS_OF_NONE": "",
			"LTXFS_OF_YES": "true", "LTXFS_OF_" + long: "1",
		},
	}, e)
	for level, priority := range map[slog.Level]journal.Priority{
		slog.LevelDebug: journal.PriDebug, slog.LevelInfo: journal.PriInfo, slog.LevelWarn: journal.PriWarning,
	} {
		out.Reset()
		log.Log(t.Context(), level, "m")
		require.NoError(t, e.add(out.Bytes(), ""))
		require.Equal(t, priority, e.priority, level)
		require.Equal(t, "m", e.message)
	}
}

// What is no entry goes where there is something that takes it, and is an error there if
// nothing does.
func TestJournalInstead(t *testing.T) {
	var out bytes.Buffer
	const text = "no JSON\n{\"msg\":\n"
	n, err := NewJournal(&out).Write([]byte(text))
	require.NoError(t, err)
	require.Equal(t, len(text), n)
	require.Equal(t, text, out.String())
	_, err = NewJournal(brokenWriter{}).Write([]byte(text))
	require.ErrorContains(t, err, "full")
}

// Standard error that is another file than the one that JOURNAL_STREAM names isn't the journal.
func TestNotToJournal(t *testing.T) {
	for _, stream := range []string{"", "1:1", "none"} {
		t.Setenv("JOURNAL_STREAM", stream)
		require.False(t, ToJournal(), stream)
	}
	require.NoError(t, os.Unsetenv("JOURNAL_STREAM"))
	require.False(t, ToJournal())
}
