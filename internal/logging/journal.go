package logging

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// Journal is the format of a log that a writer of NewJournal gets: JSON, with values as
// people read them.
const Journal = "journal"

// ToJournal reports whether standard error goes to systemd's journal, and that takes fields.
func ToJournal() bool {
	ok, err := journal.StderrIsJournalStream()
	return ok && err == nil && journal.Enabled()
}

// NewJournal returns a writer that sends each line of a log to the journal, with its
// attributes in the message and as fields. A line that can't be sent goes to instead.
func NewJournal(instead io.Writer) io.Writer { return journalWriter{instead} }

type journalWriter struct{ instead io.Writer }

func (w journalWriter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		e := entry{fields: map[string]string{}}
		err := e.add(line, "")
		if err == nil {
			err = journal.Send(e.message, e.priority, e.fields)
		}
		if err == nil {
			continue
		}
		if _, err := w.instead.Write(line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// entry is an entry of the journal.
type entry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

var priorities = map[string]journal.Priority{
	slog.LevelDebug.String(): journal.PriDebug,
	slog.LevelInfo.String():  journal.PriInfo,
	slog.LevelWarn.String():  journal.PriWarning,
	slog.LevelError.String(): journal.PriErr,
}

// add adds the attributes of a JSON object, in their order.
func (e *entry) add(object []byte, prefix string) error {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil { // its {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err == nil {
			err = e.addAttr(prefix+key.(string), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *entry) addAttr(key string, value json.RawMessage) error {
	text := string(value)
	switch value[0] {
	case '{':
		return e.add(value, key+".")
	case '"':
		if err := json.Unmarshal(value, &text); err != nil {
			return err
		}
	}
	switch key {
	case slog.TimeKey: // the journal has its own
	case slog.LevelKey:
		e.priority = priorities[text]
	case slog.MessageKey:
		e.message = text
	default:
		e.fields[fieldName(key)] = text
		if text == "" || strings.ContainsAny(text, ` ="`) || !IsPrintable(text) {
			text = strconv.Quote(text)
		}
		e.message += " " + key + "=" + text
	}
	return nil
}

// maxFieldName is the longest name of a field that the journal takes, in bytes.
const maxFieldName = 64

// fieldName is the name of an attribute's field: LTXFS_REQUESTS_LIST_COUNT.
func fieldName(key string) string {
	name := "LTXFS_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
	return name[:min(len(name), maxFieldName)]
}

// readable makes a duration a text, which in JSON is a number of nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
