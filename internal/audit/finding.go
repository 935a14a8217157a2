package audit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// Stage is a part of a verification.
type Stage string

// The stages, in order.
const (
	Names     Stage = "names"
	Headers   Stage = "headers"
	Indexes   Stage = "indexes"
	Bytes     Stage = "bytes"
	Databases Stage = "databases"
)

// Code says what a finding is. Codes never change.
type Code string

// The codes.
const (
	Gap          Code = "gap"            // transactions that no file has
	Nothing      Code = "nothing"        // no state can be restored
	Overlap      Code = "overlap"        // files of a level have transactions in common
	Stray        Code = "stray"          // a name that no LTX file has
	NoSnapshot   Code = "no-snapshot"    // a file of the snapshots' level isn't one
	NoFile       Code = "no-file"        // something else has the name of an LTX file
	Empty        Code = "empty"          // no bytes
	Truncated    Code = "truncated"      // fewer bytes than the smallest file has
	BadHeader    Code = "header"         // can't be true
	OtherName    Code = "name"           // the header has other TXIDs
	BadTrailer   Code = "trailer"        // can't be true
	BadIndex     Code = "page-index"     // doesn't describe the pages
	BadPages     Code = "pages"          // can't be read, or are none that the file may have
	Incomplete   Code = "snapshot-pages" // a snapshot lacks pages
	BadChecksum  Code = "checksum"       // isn't that of the content
	MissingPages Code = "missing-pages"  // which no file of a state has
	PageSize     Code = "page-size"      // isn't that of the file before
	Chain        Code = "chain"          // the database's checksum before isn't the one after the file before
	Conflict     Code = "conflict"       // files of the same transactions have other pages
	BadDatabase  Code = "database"       // SQLite finds fault with it
	Unread       Code = "unread"         // couldn't be read
)

// Severity is what a finding means for the whole.
type Severity string

// The severities.
const (
	Damage  Severity = "damage"  // the replica is damaged
	Open    Severity = "open"    // a question that stayed open
	Warning Severity = "warning" // nothing that a restore takes notice of
)

// Finding is something that is wrong with a replica.
type Finding struct {
	Code     Code
	Severity Severity
	Stage    Stage
	File     string  // its path in the tree, or ""
	Detail   string  // what is wrong
	Lost     []Range // states that can't be restored
	Doubtful []Range // states that are restored, though perhaps not as they were
	Advice   string  // what to do
}

// Meaning says what a finding costs.
func (f *Finding) Meaning() string {
	var text []string
	if len(f.Lost) > 0 {
		text = append(text, fmt.Sprintf("%s can't be restored", statesText(f.Lost)))
	}
	if len(f.Doubtful) > 0 {
		text = append(text, fmt.Sprintf("%s can be restored, but nothing shows that they are as they were", statesText(f.Doubtful)))
	}
	if len(text) == 0 && f.Severity == Damage {
		return "no state is restored from it"
	}
	return strings.Join(text, "; ")
}

// Range is transactions or states, from Min to Max.
type Range struct{ Min, Max ltx.TXID }

func (r Range) String() string {
	if r.Min == r.Max {
		return r.Min.String()
	}
	return fmt.Sprintf("%s to %s", r.Min, r.Max)
}

func statesText(ranges []Range) string {
	var all []string
	for _, r := range ranges {
		all = append(all, r.String())
	}
	if len(ranges) == 1 && ranges[0].Min == ranges[0].Max {
		return "state " + all[0]
	}
	return "states " + strings.Join(all, ", ")
}

// ofFile is the finding of a file's bytes, without what it costs.
func ofFile(f replica.File, err error) *Finding {
	n := &Finding{Severity: Damage, Stage: Bytes, File: pathOf(f.Name), Detail: detail(err), Advice: adviceOf(f.Name)}
	switch part := ltxfile.PartOf(err); {
	case f.Size == 0:
		n.Code, n.Stage = Empty, Headers
	case errors.Is(err, ltxfile.ErrName):
		n.Code, n.Stage = OtherName, Headers
		n.Advice = "give it the name that its header says, if no other file has that, or move it away"
	case ltxfile.IsIncomplete(err):
		n.Code, n.Stage = Incomplete, Indexes
	case errors.Is(err, ltx.ErrChecksumMismatch):
		n.Code = BadChecksum
	case part == ltxfile.Head:
		n.Code, n.Stage = BadHeader, Headers
	case part == ltxfile.Index:
		n.Code, n.Stage = BadIndex, Indexes
	case part == ltxfile.Trailer:
		n.Code, n.Stage = BadTrailer, Headers
	case part == ltxfile.Pages:
		n.Code = BadPages
	default:
		n.Code, n.Stage = Truncated, Headers
	}
	return n
}

// pathOf is where the file is in a mount.
func pathOf(n replica.Name) string { return fmt.Sprintf("ltx/%04d/%s", n.Level, n.Base()) }

// detail is an error without the name of the file that it is of.
func detail(err error) string {
	if e := (*replica.FileError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}

func adviceOf(n replica.Name) string {
	if n.Level == replica.SnapshotLevel {
		return "put a sound copy in its place, from another replica or an older backup of this one, or keep the database and let Litestream take its next snapshot"
	}
	return "put a sound copy in its place, from another replica or an older backup of this one; the states of Litestream's next snapshot and after don't need it"
}
