package settings

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// row is one setting of ltxfs mount, or of what else reads a replica.
type row struct {
	flag  string
	short string
	field func(*Mount) any          // a pointer to its field
	arg   string                    // what --help calls its value; "" for a boolean
	words []string                  // the values it takes, if they are few
	bad   func(m *Mount) (s string) // what is wrong with the value, and what to do; "" is nothing

	def    string    // what the field has if nobody sets it, as value.Set takes it
	defDoc string    // the default in words, if def doesn't say it
	suits  [2]string // what suits a replica on disk and one in S3, for a field that has nothing
	doc    string    // for --help and the manual
	only   string    // the kind of replica for which it holds; "" is all

	reads    bool // commands that read a replica without mounting it take it as well
	noOption bool // it can't be given after -o
	noEnv    bool // no environment variable stands for it
	once     bool // it is done before a daemon starts
	hidden   bool // for calls by mount(8) alone
}

const (
	// Auto is the log format that suits where the log goes.
	Auto = "auto"

	mtimeExact  = "exact"
	dbExact     = "exact"
	checkAlways = "always"
	refreshNew  = "new"
)

const (
	// MinCacheSize is the smallest budget, in bytes.
	MinCacheSize = 4 << 20
	maxCacheSize = 1 << 40

	minDiskCacheSize = 1 << 20

	// minBandwidth is the least that --limit-read and --limit-write take: with less,
	// what the kernel reads ahead and what is published would pass their deadlines.
	minBandwidth = 512 << 10
	maxRequests  = 4096
)

// New is a Mount that was told nothing.
func New() *Mount {
	m := &Mount{from: map[string]string{}}
	for i := range rows {
		if r := &rows[i]; r.def != "" {
			if err := r.value(m).Set(r.def); err != nil {
				panic(err) // a slip in the table
			}
		}
	}
	return m
}

// rows is the table, in the order of --help and the manual.
var rows = []row{
	{flag: "rw", field: func(m *Mount) any { return &m.ReadWrite }, noOption: true, // mount(8)'s own rw and ro set it
		doc: "let the mount write, rename and delete"},
	{flag: "daemon", field: func(m *Mount) any { return &m.Daemon }, noOption: true, once: true,
		doc: "go to the background once mounted; fails with the reason if it can't mount, and after 60 s at the latest"},
	{flag: "config", field: func(m *Mount) any { return &m.Config }, arg: "file", reads: true,
		doc: "Litestream's configuration file, in which to look up the replica of DB-PATH, or with `--all` those of all databases"},
	{flag: "all", field: func(m *Mount) any { return &m.All },
		doc: "show the databases of Litestream's configuration, each as a directory, instead of one replica"},
	{flag: "no-expand-env", field: func(m *Mount) any { return &m.NoExpandEnv }, reads: true,
		doc: "leave each $ in Litestream's configuration as it is, as Litestream's own `-no-expand-env` does"},
	{flag: "allow-other", field: func(m *Mount) any { return &m.AllowOther },
		doc: "let other users in"},
	{flag: "uid", field: func(m *Mount) any { return &m.UID }, arg: "user", def: strconv.Itoa(os.Geteuid()), defDoc: "who mounts",
		doc: "user ID that owns everything in the mount"},
	{flag: "gid", field: func(m *Mount) any { return &m.GID }, arg: "group", def: strconv.Itoa(os.Getegid()), defDoc: "who mounts",
		doc: "group ID that owns everything in the mount"},
	{flag: "file-mode", field: func(m *Mount) any { return &m.FileMode }, arg: "mode", def: "0444", defDoc: "0444; with `--rw` 0644",
		doc: "permissions of files, octal"},
	{flag: "dir-mode", field: func(m *Mount) any { return &m.DirMode }, arg: "mode", def: "0755",
		doc: "permissions of directories, octal"},
	{flag: "layout", field: func(m *Mount) any { return &m.layout }, arg: "layout", words: layouts(), def: replica.LayoutAuto, reads: true,
		doc: "where the replica keeps its files: `auto`, `litestream-file`, `litestream-s3` or `guide`"},
	{flag: "freshness", field: func(m *Mount) any { return &m.Freshness }, arg: "duration", bad: func(m *Mount) string {
		return negative(m.Freshness)
	}, suits: [2]string{"1s", "5s"},
		doc: "how old what the mount shows of other writers' work may be (`500ms`, `1m`); its own changes show at once"},
	{flag: "mtime", field: func(m *Mount) any { return &m.mtime }, arg: "time", words: []string{"fast", mtimeExact}, def: "fast", only: "S3",
		doc: "files show the LTX timestamp (`exact`), at a request a file, or the store's own time unless this mount wrote them (`fast`)"},
	{flag: "refresh", field: func(m *Mount) any { return &m.refresh }, arg: "what", words: []string{"all", refreshNew}, def: "all", only: "S3",
		doc: "a listing that is older than `--freshness` is made anew (`all`), or only what comes after its last file is asked for (`new`): " +
			"then other writers' deletions, and files that they wrote again or late, show by `--refresh-all` at the latest"},
	{flag: "refresh-all", field: func(m *Mount) any { return &m.RefreshAll }, arg: "duration", def: "10m", only: "S3", bad: func(m *Mount) string {
		return negative(&m.RefreshAll)
	}, doc: "with `--refresh=new`, how old a whole listing may be"},
	{flag: "verify-writes", field: func(m *Mount) any { return &m.VerifyWrites }, arg: "how", def: string(config.VerifyAuto), only: "S3",
		words: []string{string(config.VerifyAuto), string(config.VerifyFull), string(config.VerifyChecksum), string(config.VerifySize)},
		doc: "what was written is read back (`full`), or compared by the store's `checksum`, or by its `size`; " +
			"`auto` is `checksum` where the store has one, else `full`. On disk it is always `full`"},
	{flag: "no-db", field: func(m *Mount) any { return &m.NoDB },
		doc: "leave out `db/`, the database as it was at every transaction"},
	{flag: "db-bytes", field: func(m *Mount) any { return &m.dbBytes }, arg: "which", words: []string{"open", dbExact}, def: "open",
		doc: "databases are what SQLite can open without writing (`open`), or byte for byte what Litestream restores (`exact`), which is in WAL mode"},
	{flag: "cache-size", field: func(m *Mount) any { return &m.CacheSize }, arg: "size", def: "128MiB", reads: true, bad: func(m *Mount) string {
		switch {
		case m.CacheSize < MinCacheSize:
			return "too small: give at least 4MiB"
		case m.CacheSize > maxCacheSize:
			return "too large: give at most 1TiB"
		}
		return ""
	}, doc: "memory for cached blocks, page maps, reading ahead, writing and the index, from 4MiB to 1TiB: `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB`, `B` or plain bytes"},
	{flag: "disk-cache", field: func(m *Mount) any { return &m.DiskCache }, arg: "directory", only: "S3", defDoc: "none",
		doc: "where to keep what was read beyond the end of the mount, for all mounts of this user. It isn't encrypted"},
	{flag: "disk-cache-size", field: func(m *Mount) any { return &m.DiskCacheSize }, arg: "size", def: "10GiB", only: "S3", bad: func(m *Mount) string {
		if m.DiskCacheSize < minDiskCacheSize {
			return "too small: give at least 1MiB"
		}
		return ""
	}, doc: "most bytes that the disk cache may take, which also leaves a twentieth of the disk free; what was used longest ago goes, and what nobody has used for 30 days"},
	{flag: "disk-cache-check", field: func(m *Mount) any { return &m.diskCacheCheck }, arg: "when", words: []string{"once", checkAlways}, def: "once", only: "S3",
		doc: "what is kept whole is compared with its checksums when it has become whole, and then read by the kernel itself (`once`), or whenever it is read (`always`)"},
	{flag: "limit-read", field: func(m *Mount) any { return &m.LimitRead }, arg: "size", reads: true, bad: func(m *Mount) string { return tooLittle(m.LimitRead) },
		def: "0", doc: "most bytes of files to read from the replica in a second, at least `512KiB`; 0 is no limit. Reading back to verify doesn't count"},
	{flag: "limit-write", field: func(m *Mount) any { return &m.LimitWrite }, arg: "size", bad: func(m *Mount) string { return tooLittle(m.LimitWrite) },
		def: "0", doc: "most bytes of files to write to the replica in a second, at least `512KiB`; 0 is no limit"},
	{flag: "max-requests", field: func(m *Mount) any { return &m.MaxRequests }, arg: "requests", reads: true, bad: func(m *Mount) string {
		if m.MaxRequests != nil && *m.MaxRequests > maxRequests {
			return fmt.Sprintf("too many: give at most %d, or 0 for no limit", maxRequests)
		}
		return ""
	}, suits: [2]string{"no limit", "the lesser of 64 and maxConnections"},
		doc: "most operations under way in the replica at a time, of which half may be writes; 0 is no limit. A listing is one, though in S3 it may ask for 16 pages at a time"},
	{flag: "staging-dir", field: func(m *Mount) any { return &m.StagingDir }, arg: "directory",
		defDoc: "`/var/lib/ltxfs/staging` for root, else `$XDG_STATE_HOME/ltxfs/staging` or `~/.local/state/ltxfs/staging`",
		doc:    "where files are until they are published"},
	{flag: "grace", field: func(m *Mount) any { return &m.Grace }, arg: "duration", def: "10s", bad: func(m *Mount) string {
		return negative(&m.Grace)
	}, doc: "at the end, how long to wait for programs that use the mount before it is detached from them"},
	{flag: "log-level", field: func(m *Mount) any { return &m.LogLevel }, arg: "level", def: "info", words: logging.Levels,
		doc: "least level to log: `debug`, `info`, `warn` or `error`"},
	{flag: "log-format", field: func(m *Mount) any { return &m.LogFormat }, arg: "format", def: Auto, words: append([]string{Auto}, logging.Formats...),
		doc: "format of the log: `text` or `json`; `auto` is `text`, but for systemd's journal on standard error, which gets each attribute as a field"},
	{flag: "log-file", field: func(m *Mount) any { return &m.LogFile }, arg: "file",
		defDoc: "standard error; with `--daemon` a file whose path is printed", doc: "file to log to"},
	{flag: "http", field: func(m *Mount) any { return &m.HTTP }, arg: "address", defDoc: "none", bad: func(m *Mount) string { return noAddress(m.HTTP) },
		doc: "where to serve `/metrics`, `/healthz`, `/readyz` and `/debug/pprof` to anybody who reaches it, such as `127.0.0.1:9100`; without a host, to this machine"},
	{flag: "print-config", field: func(m *Mount) any { return &m.PrintConfig }, noOption: true, noEnv: true, once: true,
		doc: "show what holds for each setting and where it came from, and mount nothing"},
	{flag: "options", short: "o", field: func(m *Mount) any { return &m.KernelOptions }, arg: "options", noOption: true,
		doc: "mount options as in fstab: `rw`, `ro`, `noexec`, `noatime`, SELinux's `context=` and its kin, and the flags above with their values, such as `freshness=5s,cache_size=64MiB`"},
	{flag: "sloppy", field: func(m *Mount) any { return &m.Sloppy }, noOption: true, noEnv: true, once: true, hidden: true,
		doc: "pass over unknown mount options"},
	{flag: "fake", field: func(m *Mount) any { return &m.Fake }, noOption: true, noEnv: true, once: true, hidden: true,
		doc: "check the command line and do nothing"},
	{flag: "quiet", field: func(m *Mount) any { return &m.Quiet }, noOption: true, noEnv: true, once: true, hidden: true,
		doc: "print nothing if all goes well"},
}

func layouts() []string {
	names := []string{replica.LayoutAuto}
	for _, l := range replica.Layouts {
		names = append(names, l.Name)
	}
	return names
}

func negative(d *time.Duration) string {
	if d != nil && *d < 0 {
		return "negative: give 0s or more"
	}
	return ""
}

func tooLittle(limit Size) string {
	if limit != 0 && limit < minBandwidth {
		return "too little: with less than 512KiB in a second, operations would pass their deadlines: give that or more, or 0 for no limit"
	}
	return ""
}

func noAddress(s string) string {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if s != "" && err != nil {
		return err.Error() + ": give a host and a port, such as 127.0.0.1:9100"
	}
	return ""
}

// wrong is what is wrong with the value, and what to do.
func (r *row) wrong(m *Mount) string {
	switch {
	case r.words != nil && !slices.Contains(r.words, r.value(m).String()):
		last := len(r.words) - 1
		return "it must be " + strings.Join(r.words[:last], ", ") + " or " + r.words[last]
	case r.bad != nil:
		return r.bad(m)
	}
	return ""
}

// rowOf is the row of a flag, or nil.
func rowOf(flag string) *row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.flag == flag })
	if i < 0 {
		return nil
	}
	return &rows[i]
}

// DefineReading defines the flags of a command that reads a replica without mounting it.
func (m *Mount) DefineReading(flags *pflag.FlagSet) {
	m.reading = true
	m.Define(flags)
}

// Define defines the flags of ltxfs mount.
func (m *Mount) Define(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for i := range rows {
		r := &rows[i]
		if m.reading && !r.reads {
			continue
		}
		help := r.help()
		if def := r.defaultText(); def != "" && def != "0" && !r.isBool() {
			help += " (default " + def + ")"
		}
		f := flags.VarPF(r.value(m), r.flag, r.short, wrap(unquoted(help)))
		f.DefValue = "" // it stands in the help
		f.Hidden = r.hidden
		if r.isBool() {
			f.NoOptDefVal = "true"
		}
	}
}

// helpWidth is how long the lines of a flag's help may get, in bytes.
const helpWidth = 76

// wrap breaks a text into lines. cobra's own templates could, at the cost of every
// method of every type that the program links.
func wrap(text string) string {
	var b strings.Builder
	line := 0
	for i, word := range strings.Fields(text) {
		switch line += 1 + len(word); {
		case i == 0:
		case line > helpWidth:
			b.WriteByte('\n')
			line = len(word)
		default:
			b.WriteByte(' ')
		}
		b.WriteString(word)
	}
	return b.String()
}

// Words are the values of a flag that takes one of a few.
func Words(flag string) []string { return rowOf(flag).words }

func (r *row) isBool() bool { return r.arg == "" }

// help is the row's text, with where it holds.
func (r *row) help() string {
	if r.only != "" {
		return "in " + r.only + ": " + r.doc
	}
	return r.doc
}

// defaultText is the default in words.
func (r *row) defaultText() string {
	switch {
	case r.suits[0] != "":
		return r.suits[0] + " on disk, " + r.suits[1] + " in S3"
	case r.defDoc != "":
		return r.defDoc
	}
	return r.def
}

// unquoted is a text without the manual's quotes of code.
func unquoted(text string) string { return strings.ReplaceAll(text, "`", "") }
