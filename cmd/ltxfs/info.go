package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/audit"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/internal/settings"
)

func newInfoCommand() *cobra.Command {
	m := settings.New()
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info [flags] REPLICA|DB-PATH|FILE.ltx",
		Short: "Show what a replica holds, and when it can be restored to",
		Long: `Show what a replica holds: the oldest and the newest state of the database that can
be restored, how far apart they are, gaps, the files of each level, and the size of
the database. Of a single LTX file, show its header, its pages and its trailer.`,
		Example: `  ltxfs info s3://backups/orders
  ltxfs info --json /var/backups/orders
  ltxfs info /var/backups/orders/ltx/9/0000000000000001-0000000000000009.ltx`,
		Args: exactArgs("REPLICA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if st, err := os.Stat(args[0]); err == nil && st.Mode().IsRegular() && m.Config == "" {
				return fileInfo(cmd, args[0], asJSON)
			}
			return withReplica(cmd, m, args[0], func(ctx context.Context, r *offline.Replica) error {
				info, err := audit.Look(ctx, r)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), infoOf(r, info, time.Now()))
				}
				return printInfo(cmd.OutOrStdout(), infoOf(r, info, time.Now()))
			})
		},
	}
	m.DefineReading(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// format is what Litestream calls the format of the files: the first version of it that wrote
// them, and theirs.
var format = fmt.Sprintf("Litestream 0.5, LTX %d", ltx.Version)

// infoJSON is what info --json writes. Its fields are documented, and don't change while
// version is 1.
type infoJSON struct {
	Version int    `json:"version"`
	Replica string `json:"replica"`
	Layout  string `json:"layout"`
	Format  string `json:"format"` // of the files

	States int        `json:"states"` // that can be restored
	Oldest *stateJSON `json:"oldest"` // null without any
	Newest *stateJSON `json:"newest"`

	Granularity []periodJSON `json:"granularity"`
	Gaps        []rangeJSON  `json:"gaps"`
	Levels      []levelJSON  `json:"levels"`
	Damaged     []lsFileJSON `json:"damaged"`
	PageSize    uint32       `json:"page_size"`   // bytes
	Compression float64      `json:"compression"` // what a page takes in a database, of what it takes in a file; 0 without any
}

type stateJSON struct {
	TXID string     `json:"txid"`
	Time *time.Time `json:"time"` // null if the files that end there are damaged
	Age  *float64   `json:"age_seconds"`
	Size *int64     `json:"size"` // of the database, in bytes; null if that isn't known
}

type periodJSON struct {
	Within float64 `json:"within_seconds"` // of the newest state; 0 is any time
	States int     `json:"states"`
	Every  float64 `json:"every_seconds"`   // median
	Most   float64 `json:"at_most_seconds"` // between one state and the next
	Oldest int64   `json:"oldest_size"`     // of the database in the oldest of the states, in bytes
	Newest int64   `json:"newest_size"`
}

type rangeJSON struct {
	MinTXID string `json:"min_txid"`
	MaxTXID string `json:"max_txid"`
}

type levelJSON struct {
	Level int `json:"level"`
	Files int `json:"files"`
	rangeJSON
	Size   int64     `json:"size"` // bytes
	Pages  int       `json:"pages"`
	Oldest time.Time `json:"oldest"`
	Newest time.Time `json:"newest"`
}

func infoOf(r *offline.Replica, info *audit.Info, now time.Time) *infoJSON {
	out := &infoJSON{
		Version: 1, Replica: r.Name, Layout: r.Layout.Name, Format: format, States: len(info.States),
		PageSize: info.PageSize, Granularity: []periodJSON{}, Gaps: []rangeJSON{}, Levels: []levelJSON{}, Damaged: []lsFileJSON{},
	}
	if n := len(info.States); n > 0 {
		out.Oldest, out.Newest = stateOf(info.States[0], now), stateOf(info.States[n-1], now)
	}
	for _, p := range info.Granularity {
		out.Granularity = append(out.Granularity, periodJSON{p.Within.Seconds(), p.States, p.Every.Seconds(), p.Most.Seconds(), p.Oldest, p.Newest})
	}
	for _, g := range info.Gaps {
		out.Gaps = append(out.Gaps, rangeJSON{g.Min.String(), g.Max.String()})
	}
	var packed, unpacked int64
	for _, l := range info.Levels {
		packed, unpacked = packed+l.Packed, unpacked+l.Unpacked
		out.Levels = append(out.Levels, levelJSON{l.Level, l.Files, rangeJSON{l.Min.String(), l.Max.String()}, l.Size, l.Pages, l.Oldest, l.Newest})
	}
	if packed > 0 {
		out.Compression = math.Round(100*float64(unpacked)/float64(packed)) / 100
	}
	for i := range info.Damaged {
		out.Damaged = append(out.Damaged, fileJSON(&info.Damaged[i]))
	}
	return out
}

func stateOf(s audit.State, now time.Time) *stateJSON {
	out := &stateJSON{TXID: s.TXID.String()}
	if !s.Time.IsZero() {
		out.Time, out.Age = &s.Time, new(now.Sub(s.Time).Seconds())
	}
	if s.Size > 0 {
		out.Size = &s.Size
	}
	return out
}

func printInfo(w io.Writer, info *infoJSON) error {
	t := newTable(w)
	t.row("replica", fmt.Sprintf("%s (%s, %s)", info.Replica, info.Layout, info.Format))
	t.row("restorable", plural(info.States, "state"))
	if info.Oldest != nil {
		t.row("  oldest", info.Oldest.text())
		t.row("  newest", info.Newest.text())
	}
	for _, p := range info.Granularity {
		within := "all before"
		if p.Within > 0 {
			within = "last " + span(p.Within)
		}
		text := plural(p.States, "state")
		if p.Every > 0 {
			text += fmt.Sprintf(", one each %s, at most %s apart", span(p.Every), span(p.Most))
		}
		if p.Oldest != p.Newest {
			text += fmt.Sprintf("; database from %s to %s", humanSize(p.Oldest), humanSize(p.Newest))
		}
		t.row("  "+within, text)
	}
	if info.PageSize > 0 {
		t.row("page size", fmt.Sprintf("%d bytes", info.PageSize))
	}
	if info.Compression > 0 {
		t.row("compression", fmt.Sprintf("%.4g to 1", info.Compression))
	}
	if len(info.Gaps) == 0 {
		t.row("gaps", "none")
	}
	for _, g := range info.Gaps {
		t.row("gap", rangesText([]rangeJSON{g})+": nothing after it can be restored until the next snapshot")
	}
	for _, f := range info.Damaged {
		t.row("damaged", f.Error)
	}
	if err := t.flush(); err != nil || len(info.Levels) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t = newTable(w)
	t.row("LEVEL", "FILES", "SIZE", "FROM", "TO", "OLDEST", "NEWEST")
	for _, l := range info.Levels {
		t.row(fmt.Sprint(l.Level), fmt.Sprint(l.Files), humanSize(l.Size), l.MinTXID, l.MaxTXID,
			database.FormatTime(l.Oldest), database.FormatTime(l.Newest))
	}
	return t.flush()
}

func (s *stateJSON) text() string {
	text := s.TXID + ", whose files are damaged"
	if s.Time != nil {
		text = fmt.Sprintf("%s of %s, %s ago", s.TXID, database.FormatTime(*s.Time), span(*s.Age))
	}
	if s.Size != nil {
		text += ", " + humanSize(*s.Size)
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// span writes seconds in the two largest units that they have.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	units := []struct {
		name string
		time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units[:len(units)-1] {
		if d < u.Duration {
			continue
		}
		text, next := fmt.Sprintf("%d%s", d/u.Duration, u.name), units[i+1]
		if rest := d % u.Duration / next.Duration; rest > 0 {
			text += fmt.Sprintf("%d%s", rest, next.name)
		}
		return text
	}
	return d.Round(time.Millisecond).String()
}

// fileInfoJSON is what info --json writes of a file.
type fileInfoJSON struct {
	Version           int       `json:"version"`
	File              string    `json:"file"`
	Size              int64     `json:"size"` // bytes
	Sound             bool      `json:"sound"`
	Error             string    `json:"error,omitempty"`
	MinTXID           string    `json:"min_txid,omitempty"` // as all that follows, if the header can be read
	MaxTXID           string    `json:"max_txid,omitempty"`
	Time              time.Time `json:"time,omitzero"`
	PageSize          uint32    `json:"page_size,omitempty"` // bytes
	Commit            uint32    `json:"commit,omitempty"`    // the database's size in pages
	Snapshot          bool      `json:"snapshot"`
	PreApplyChecksum  string    `json:"pre_apply_checksum,omitempty"` // "" if the file doesn't track them
	PostApplyChecksum string    `json:"post_apply_checksum,omitempty"`
	FileChecksum      string    `json:"file_checksum,omitempty"`
	Pages             *int      `json:"pages"` // null if the page index can't be read
}

// fileInfo shows a file on disk, all of which it reads.
func fileInfo(cmd *cobra.Command, path string, asJSON bool) error {
	info, err := audit.LookAtFile(cmd.Context(), path)
	if err != nil {
		return err
	}
	out := &fileInfoJSON{Version: 1, File: path, Size: info.Size, Sound: info.Err == nil}
	if info.Err != nil {
		out.Error = info.Err.Error()
	}
	if h := info.Header; h.MinTXID > 0 {
		out.MinTXID, out.MaxTXID, out.Time = h.MinTXID.String(), h.MaxTXID.String(), info.Contents.Time()
		out.PageSize, out.Commit, out.Snapshot = h.PageSize, h.Commit, h.IsSnapshot()
		if !h.NoChecksum() {
			out.PreApplyChecksum = h.PreApplyChecksum.String()
		}
	}
	if info.Trailer.FileChecksum != 0 {
		if out.PreApplyChecksum != "" {
			out.PostApplyChecksum = info.Trailer.PostApplyChecksum.String()
		}
		out.FileChecksum, out.Pages = info.Trailer.FileChecksum.String(), &info.Pages
	}
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), out)
	} else {
		err = out.print(cmd.OutOrStdout())
	}
	if err == nil && !out.Sound {
		err = exitcode.Reported(exitcode.Damaged)
	}
	return err
}

func (f *fileInfoJSON) print(w io.Writer) error {
	t := newTable(w)
	t.row("file", fmt.Sprintf("%s, %d bytes", f.File, f.Size))
	if f.MinTXID != "" {
		kind := "transactions"
		if f.Snapshot {
			kind = "snapshot"
		}
		text := fmt.Sprintf("%s to %s", f.MinTXID, f.MaxTXID)
		if !f.Time.IsZero() {
			text += ", of " + database.FormatTime(f.Time)
		}
		t.row(kind, text)
		t.row("database", fmt.Sprintf("%s of %d bytes", plural(int(f.Commit), "page"), f.PageSize))
	}
	if f.Pages != nil {
		t.row("pages", fmt.Sprint(*f.Pages))
		t.row("checksum", f.FileChecksum)
	}
	if f.PostApplyChecksum != "" {
		t.row("database's checksum", fmt.Sprintf("%s, then %s", f.PreApplyChecksum, f.PostApplyChecksum))
	}
	sound := "sound: every page unpacks, and the checksum is that of the content"
	if !f.Sound {
		sound = f.Error
	}
	t.row("checked", sound)
	return t.flush()
}
