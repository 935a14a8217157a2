package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/internal/audit"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// findingJSON is a line of verify --json. Its fields are documented, and don't change while
// the summary's version is 1.
type findingJSON struct {
	Type     string         `json:"type"` // finding
	Code     audit.Code     `json:"code"`
	Severity audit.Severity `json:"severity"`
	Stage    audit.Stage    `json:"stage"`
	File     string         `json:"file,omitempty"` // its path in a mount
	Detail   string         `json:"detail"`
	Meaning  string         `json:"meaning,omitempty"`
	Advice   string         `json:"advice"`
	Lost     []rangeJSON    `json:"lost"`     // states that can't be restored
	Doubtful []rangeJSON    `json:"doubtful"` // states that are restored, though perhaps not as they were
}

func findingOf(f *audit.Finding) findingJSON {
	return findingJSON{
		Type: "finding", Code: f.Code, Severity: f.Severity, Stage: f.Stage, File: f.File, Detail: f.Detail,
		Meaning: f.Meaning(), Advice: f.Advice, Lost: rangesOf(f.Lost), Doubtful: rangesOf(f.Doubtful),
	}
}

func rangesOf(ranges []audit.Range) []rangeJSON {
	all := []rangeJSON{}
	for _, r := range ranges {
		all = append(all, rangeJSON{r.Min.String(), r.Max.String()})
	}
	return all
}

// summaryJSON is the last line of verify --json.
type summaryJSON struct {
	Type     string        `json:"type"` // summary
	Version  int           `json:"version"`
	Replica  string        `json:"replica"`
	Result   string        `json:"result"` // sound, damaged or undetermined
	Code     exitcode.Code `json:"exit_code"`
	Open     string        `json:"open,omitempty"` // the question that stayed open
	Began    time.Time     `json:"began"`
	Seconds  float64       `json:"seconds"`
	Stages   []stageJSON   `json:"stages"`
	Damage   int           `json:"damage"` // findings
	Warnings int           `json:"warnings"`
	Unread   int           `json:"unread"`
	States   int           `json:"states"`  // that names say can be restored
	Lost     []rangeJSON   `json:"lost"`    // of these, those that can't be
	Movable  []rangeJSON   `json:"movable"` // of these, those that can be once damaged files are moved away
	Newest   *stateJSON    `json:"newest"`  // null without any
	Proven   *stateJSON    `json:"proven"`  // the newest of whose files all bytes were read, and sound
}

type stageJSON struct {
	Stage    audit.Stage `json:"stage"`
	Done     int         `json:"done"` // files, or, of databases, states
	Of       int         `json:"of"`
	Bytes    int64       `json:"bytes,omitempty"`
	Findings int         `json:"findings"`
}

func (v *verifyRun) summary(code exitcode.Code, err error) *summaryJSON {
	now := time.Now()
	s := &summaryJSON{
		Type: "summary", Version: 1, Replica: v.name, Result: "sound", Code: code,
		Began: v.began.UTC().Truncate(time.Second), Seconds: now.Sub(v.began).Seconds(),
		Stages: []stageJSON{}, Lost: []rangeJSON{}, Movable: []rangeJSON{},
	}
	if code != exitcode.OK {
		s.Result = code.String()
	}
	r := v.report
	if r == nil {
		r = &audit.Report{}
	}
	s.Damage, s.Warnings, s.Unread = r.Findings[audit.Damage], r.Findings[audit.Warning], r.Findings[audit.Open]
	switch {
	case err != nil && len(r.Stages) == 0:
		s.Open = "what the replica holds: " + settings.Scrub(err.Error(), os.Args)
	case err != nil:
		s.Open = "whether the rest is sound: " + settings.Scrub(err.Error(), os.Args)
	case s.Unread > 0:
		s.Open = fmt.Sprintf("whether %s is sound that couldn't be read", plural(s.Unread, "file"))
	}
	s.States, s.Lost, s.Movable = r.States, rangesOf(r.Lost), rangesOf(r.Movable)
	for _, g := range r.Stages {
		s.Stages = append(s.Stages, stageJSON(g))
	}
	if r.Newest != nil {
		s.Newest = stateOf(*r.Newest, now)
	}
	if r.Proven != nil {
		s.Proven = stateOf(*r.Proven, now)
	}
	return s
}

// shows are what stages look at.
var shows = map[audit.Stage]string{
	audit.Names: "order, gaps, overlaps, strays", audit.Headers: "headers and trailers, against the names",
	audit.Indexes: "page indexes, against the sizes", audit.Bytes: "each page unpacked, checksums", audit.Databases: "SQLite's check",
}

func (s *summaryJSON) print(w io.Writer) error {
	t := newTable(w)
	for _, g := range s.Stages {
		what, result := "file", "sound"
		if g.Stage == audit.Databases {
			what = "state"
		}
		if g.Findings > 0 {
			result = plural(g.Findings, "finding")
		} else if g.Done == 0 {
			result = "not looked at"
		}
		done := fmt.Sprintf("%d of %s", g.Done, plural(g.Of, what))
		if g.Bytes > 0 {
			done += ", " + humanSize(g.Bytes)
		}
		t.row(string(g.Stage), shows[g.Stage], done, result)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(s.Lost) > 0 {
		fmt.Fprintf(w, "of %s, these can't be restored: %s\n", plural(s.States, "state"), rangesText(s.Lost))
	}
	if len(s.Movable) > 0 {
		fmt.Fprintf(w, "other files have these states: they can be restored once the damaged files are moved away: %s\n", rangesText(s.Movable))
	}
	if s.Newest != nil {
		fate := ""
		if n := len(s.Lost); n > 0 && s.Lost[n-1].MaxTXID == s.Newest.TXID {
			fate = ", which can't be restored"
		}
		fmt.Fprintf(w, "newest state: %s%s\n", s.Newest.text(), fate)
	}
	if s.Proven != nil && (s.Newest == nil || s.Proven.TXID != s.Newest.TXID) {
		fmt.Fprintf(w, "newest state proven sound: %s\n", s.Proven.text())
	} else if s.Proven == nil {
		fmt.Fprintln(w, "no state is proven sound")
	}
	if s.Open != "" {
		fmt.Fprintf(w, "open: %s\n", logging.Shown(s.Open))
	}
	_, err := fmt.Fprintf(w, "%s: %s in %.1f s\n", logging.Shown(s.Replica), s.Result, s.Seconds)
	return err
}

func rangesText(ranges []rangeJSON) string {
	text := ""
	for i, r := range ranges {
		if i > 0 {
			text += ", "
		}
		text += r.MinTXID
		if r.MaxTXID != r.MinTXID {
			text += " to " + r.MaxTXID
		}
	}
	return text
}

// printLine writes JSON as a line.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
