package main

import (
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/ltxfs/ltxfs/cache"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/options"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	defaultCacheSize = 128 << 20
	minCacheSize     = 4 << 20
	maxCacheSize     = cache.MaxBudget
	defaultGrace     = 10 * time.Second
)

// The values of --mtime and --verify-writes.
const (
	mtimeFast  = "fast"
	mtimeExact = "exact"
	verifyAuto = "auto"
)

// mountFlags are the flags of ltxfs mount.
type mountFlags struct {
	readWrite, daemon, allowOther bool
	config                        string
	uid, gid                      uint32
	fileMode, dirMode             options.Mode
	layout                        string
	freshness, grace              time.Duration
	mtime, verifyWrites           string
	cacheSize                     options.Size
	limitRead, limitWrite         options.Size
	maxRequests                   uint32
	stagingDir                    string
	logLevel, logFormat, logFile  string
	options                       []string

	// For calls by mount(8).
	sloppy, fake, quiet bool
}

// hiddenFlags are for calls by mount(8). No environment variable stands for
// them.
var hiddenFlags = []string{"sloppy", "fake", "quiet"}

func (f *mountFlags) define(flags *pflag.FlagSet) {
	f.cacheSize = defaultCacheSize
	f.dirMode = 0o755
	flags.BoolVar(&f.readWrite, "rw", false, "let the mount write, rename and delete")
	flags.BoolVar(&f.daemon, "daemon", false, "go to the background once mounted")
	flags.StringVar(&f.config, "config", "", "Litestream's configuration `file`, in which to look up the replica of DB-PATH")
	flags.BoolVar(&f.allowOther, "allow-other", false, "let other users in")
	flags.Uint32Var(&f.uid, "uid", uint32(os.Geteuid()), "`user` ID that owns everything in the mount")
	flags.Uint32Var(&f.gid, "gid", uint32(os.Getegid()), "`group` ID that owns everything in the mount")
	flags.Var(&f.fileMode, "file-mode", "permissions of files (default 0644 with --rw, else 0444)")
	flags.Lookup("file-mode").DefValue = "" // it depends
	flags.Var(&f.dirMode, "dir-mode", "permissions of directories")
	flags.StringVar(&f.layout, "layout", replica.LayoutAuto, "`layout` of the replica: auto, litestream-file, litestream-s3 or guide")
	flags.DurationVar(&f.freshness, "freshness", 0, "how old what the mount shows of other writers' work may be (default 1s for a\nreplica on disk, 5s for one in S3, where asking costs requests)")
	flags.StringVar(&f.mtime, "mtime", mtimeFast, "`time` that files in S3 show: fast, which is the store's own unless this mount\nwrote the file, or exact, which is the LTX timestamp, at a request a file")
	flags.StringVar(&f.verifyWrites, "verify-writes", verifyAuto, "`how` to make sure that S3 has what was written: full, by reading it back;\nchecksum, by the store's own; size; or auto, which is checksum where the store\nhas one, else full. On disk it is always full")
	flags.Var(&f.cacheSize, "cache-size", "memory for cached blocks, from 4MiB to 1TiB")
	flags.Var(&f.limitRead, "limit-read", "most to read from the replica in a second, such as 10MiB; 0 is no limit")
	flags.Var(&f.limitWrite, "limit-write", "most to write to the replica in a second; 0 is no limit")
	for _, name := range []string{"limit-read", "limit-write"} {
		flags.Lookup(name).DefValue = ""
	}
	flags.Uint32Var(&f.maxRequests, "max-requests", 0, "most `requests` under way at a time; 0 is no limit (default 64 for S3, none for\na replica on disk)")
	flags.StringVar(&f.stagingDir, "staging-dir", "", "`directory` for files until they are published (default /var/lib/ltxfs/staging\nfor root, else ~/.local/state/ltxfs/staging)")
	flags.DurationVar(&f.grace, "grace", defaultGrace, "how long to wait at the end for programs that use the mount, before it is\ndetached from them")
	flags.StringVar(&f.logLevel, "log-level", "info", "least `level` to log: debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "`format` of the log: text or json")
	flags.StringVar(&f.logFile, "log-file", "", "`file` to log to (default standard error; with --daemon a file whose path is\nprinted)")
	flags.StringArrayVarP(&f.options, "options", "o", nil, "mount `options` as in fstab: rw, ro, noexec, noatime, and the flags above with\ntheir values, such as freshness=5s,cache_size=64MiB")
	flags.BoolVar(&f.sloppy, "sloppy", false, "pass over unknown mount options")
	flags.BoolVar(&f.fake, "fake", false, "check the command line and do nothing")
	flags.BoolVar(&f.quiet, "quiet", false, "print nothing if all goes well")
	for _, name := range hiddenFlags {
		if err := flags.MarkHidden(name); err != nil {
			panic(err) // the flag isn't there: a slip in the lines above
		}
	}
	flags.SortFlags = false
}
