package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cache"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/daemon"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/options"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/preflight"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	defaultCacheSize = 128 << 20
	minCacheSize     = 4 << 20
	maxCacheSize     = cache.MaxBudget
	defaultFreshness = time.Second
	defaultGrace     = 10 * time.Second

	// daemonTimeout is how long a daemon may take to mount.
	daemonTimeout = 60 * time.Second
)

// mountFlags are the flags of ltxfs mount.
type mountFlags struct {
	readWrite, daemon, allowOther bool
	uid, gid                      uint32
	fileMode, dirMode             options.Mode
	layout                        string
	freshness, grace              time.Duration
	cacheSize                     options.Size
	stagingDir                    string
	logLevel, logFormat, logFile  string
	options                       []string

	// For calls by mount(8).
	sloppy, fake, quiet bool
}

func newMountCommand() *cobra.Command {
	var f mountFlags
	cmd := &cobra.Command{
		Use:   "mount [flags] REPLICA MOUNTPOINT",
		Short: "Mount a replica until SIGINT, SIGTERM or ltxfs umount",
		Long: `Mount a replica on an empty directory and serve it until SIGINT or SIGTERM
arrives, or until it is unmounted. REPLICA is a directory, or a file:// URL.

Without --rw, nothing in the replica can be changed through the mount. With it,
a file is written to the replica whole and verified, or not at all: at the
rename from a temporary name, at fsync, or when a complete file is closed. Until
then it is in the staging directory.`,
		Example: `  ltxfs mount /var/backups/orders /mnt/orders
  ltxfs mount --rw --daemon /var/backups/orders /mnt/orders
  ltxfs mount --freshness 10s --cache-size 256MiB file:///var/backups/orders /mnt/orders
  mount -t fuse.ltxfs /var/backups/orders /mnt/orders -o ro,freshness=10s`,
		Args: exactArgs("REPLICA", "MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := f.config(cmd.Flags(), args[0], args[1])
			if err != nil {
				return err
			}
			switch {
			case f.fake:
				return nil
			case f.daemon:
				return startDaemon(cmd, cfg, f.quiet)
			}
			return newServer(cfg, cmd.ErrOrStderr()).run()
		},
	}
	f.define(cmd.Flags())
	return cmd
}

func (f *mountFlags) define(flags *pflag.FlagSet) {
	f.cacheSize = defaultCacheSize
	f.dirMode = 0o755
	flags.BoolVar(&f.readWrite, "rw", false, "let the mount write, rename and delete")
	flags.BoolVar(&f.daemon, "daemon", false, "go to the background once mounted")
	flags.BoolVar(&f.allowOther, "allow-other", false, "let other users in")
	flags.Uint32Var(&f.uid, "uid", uint32(os.Geteuid()), "`user` ID that owns everything in the mount")
	flags.Uint32Var(&f.gid, "gid", uint32(os.Getegid()), "`group` ID that owns everything in the mount")
	flags.Var(&f.fileMode, "file-mode", "permissions of files (default 0644 with --rw, else 0444)")
	flags.Lookup("file-mode").DefValue = "" // it depends
	flags.Var(&f.dirMode, "dir-mode", "permissions of directories")
	flags.StringVar(&f.layout, "layout", replica.LayoutAuto, "`layout` of the replica: auto, litestream-file, litestream-s3 or guide")
	flags.DurationVar(&f.freshness, "freshness", defaultFreshness, "how old what the mount shows of other writers' work may be")
	flags.Var(&f.cacheSize, "cache-size", "memory for cached blocks, from 4MiB to 1TiB")
	flags.StringVar(&f.stagingDir, "staging-dir", "", "`directory` for files until they are published (default /var/lib/ltxfs/staging\nfor root, else ~/.local/state/ltxfs/staging)")
	flags.DurationVar(&f.grace, "grace", defaultGrace, "how long to wait at the end for programs that use the mount, before it is\ndetached from them")
	flags.StringVar(&f.logLevel, "log-level", "info", "least `level` to log: debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "`format` of the log: text or json")
	flags.StringVar(&f.logFile, "log-file", "", "`file` to log to (default standard error; with --daemon a file whose path is\nprinted)")
	flags.StringArrayVarP(&f.options, "options", "o", nil, "mount `options` as in fstab: rw, ro, noexec, noatime, and the flags above with\ntheir values, such as freshness=5s,cache_size=64MiB")
	flags.BoolVar(&f.sloppy, "sloppy", false, "pass over unknown mount options")
	flags.BoolVar(&f.fake, "fake", false, "check the command line and do nothing")
	flags.BoolVar(&f.quiet, "quiet", false, "print nothing if all goes well")
	for _, name := range []string{"sloppy", "fake", "quiet"} {
		if err := flags.MarkHidden(name); err != nil {
			panic(err) // the flag isn't there: a slip in the lines above
		}
	}
	flags.SortFlags = false
}

// mountConfig is a command line of ltxfs mount, checked and complete.
type mountConfig struct {
	replica    string // absolute path
	mountpoint string // absolute path

	readWrite, allowOther        bool
	uid, gid                     uint32
	fileMode, dirMode            options.Mode
	layout                       replica.Layout // zero: detect it
	freshness, grace             time.Duration
	cacheSize                    options.Size
	stagingDir                   string // "": the default
	logLevel, logFormat, logFile string
	kernelOptions                []string
}

// config makes sense of the flags and the mount options together.
func (f *mountFlags) config(flags *pflag.FlagSet, source, mountpoint string) (mountConfig, error) {
	if err := f.applyOptions(flags); err != nil {
		return mountConfig{}, err
	}
	cfg := mountConfig{
		readWrite: f.readWrite, allowOther: f.allowOther,
		uid: f.uid, gid: f.gid, fileMode: f.fileMode, dirMode: f.dirMode,
		freshness: f.freshness, grace: f.grace, cacheSize: f.cacheSize,
		logLevel: f.logLevel, logFormat: f.logFormat,
	}
	if !flags.Changed("file-mode") {
		cfg.fileMode = 0o444
		if cfg.readWrite {
			cfg.fileMode = 0o644
		}
	}
	parsed, err := options.ParseMountOptions(f.options, f.sloppy)
	if err != nil {
		return mountConfig{}, exitcode.Wrap(exitcode.Usage, err)
	}
	cfg.kernelOptions = parsed.Kernel
	if cfg.layout, err = replica.LayoutByName(f.layout); err != nil {
		return mountConfig{}, exitcode.Wrap(exitcode.Usage, err)
	}
	if _, err := logging.New(nil, cfg.logLevel, cfg.logFormat); err != nil {
		return mountConfig{}, exitcode.Wrap(exitcode.Usage, err)
	}
	switch {
	case cfg.cacheSize < minCacheSize:
		return mountConfig{}, exitcode.Errorf(exitcode.Usage, "--cache-size %s: too small: give at least 4MiB", &cfg.cacheSize)
	case cfg.cacheSize > maxCacheSize:
		return mountConfig{}, exitcode.Errorf(exitcode.Usage, "--cache-size %s: too large: give at most 1TiB", &cfg.cacheSize)
	case cfg.freshness < 0:
		return mountConfig{}, exitcode.Errorf(exitcode.Usage, "--freshness %s: negative: give 0s or more", cfg.freshness)
	case cfg.grace < 0:
		return mountConfig{}, exitcode.Errorf(exitcode.Usage, "--grace %s: negative: give 0s or more", cfg.grace)
	}
	return cfg, cfg.setPaths(source, mountpoint, f.stagingDir, f.logFile)
}

// applyOptions sets the flags that were given as mount options.
func (f *mountFlags) applyOptions(flags *pflag.FlagSet) error {
	parsed, err := options.ParseMountOptions(f.options, f.sloppy)
	if err != nil {
		return exitcode.Wrap(exitcode.Usage, err)
	}
	if parsed.Access == "ro" && flags.Changed("rw") && f.readWrite {
		return exitcode.Errorf(exitcode.Usage, "--rw and -o ro contradict each other: give one of them")
	}
	if parsed.Access == "rw" {
		if flags.Changed("rw") && !f.readWrite {
			return exitcode.Errorf(exitcode.Usage, "--rw=false and -o rw contradict each other: give one of them")
		}
		f.readWrite = true
	}
	given := map[string]bool{}
	flags.Visit(func(flag *pflag.Flag) { given[flag.Name] = true })
	for _, option := range parsed.Flags {
		if given[option.Name] {
			return exitcode.Errorf(exitcode.Usage, "--%s is given as a mount option, too: give it once", option.Name)
		}
		if err := flags.Set(option.Name, option.Value); err != nil {
			var invalid *pflag.InvalidValueError
			var number *strconv.NumError
			switch {
			case errors.As(err, &number):
				err = fmt.Errorf("not a number that can be: %w", number.Err)
			case errors.As(err, &invalid):
				err = invalid.Unwrap()
			}
			return exitcode.Errorf(exitcode.Usage, "mount option %s=%s: %w", strings.ReplaceAll(option.Name, "-", "_"), option.Value, err)
		}
	}
	return nil
}

// setPaths makes all paths absolute: a daemon works in another directory.
func (cfg *mountConfig) setPaths(source, mountpoint, stagingDir, logFile string) error {
	u, err := replica.ParseURL(source)
	switch {
	case errors.Is(err, replica.ErrUnsupported):
		return exitcode.Wrap(exitcode.NoReplica, err)
	case err != nil:
		return exitcode.Wrap(exitcode.Usage, err)
	case mountpoint == "":
		return exitcode.Errorf(exitcode.Usage, "the mountpoint is empty: give the path of an empty directory")
	}
	for _, p := range []struct {
		given string
		abs   *string
	}{{u.Path, &cfg.replica}, {mountpoint, &cfg.mountpoint}, {stagingDir, &cfg.stagingDir}, {logFile, &cfg.logFile}} {
		if p.given == "" {
			continue
		}
		if *p.abs, err = filepath.Abs(p.given); err != nil {
			return fmt.Errorf("find the path of %s: %w", p.given, err)
		}
	}
	return nil
}

// args is a command line that gives the same configuration in any directory.
func (cfg *mountConfig) args() []string {
	layout := cfg.layout.Name
	if cfg.layout.IsZero() {
		layout = replica.LayoutAuto
	}
	args := []string{
		"mount",
		"--rw=" + strconv.FormatBool(cfg.readWrite),
		"--allow-other=" + strconv.FormatBool(cfg.allowOther),
		fmt.Sprintf("--uid=%d", cfg.uid),
		fmt.Sprintf("--gid=%d", cfg.gid),
		"--file-mode=" + cfg.fileMode.String(),
		"--dir-mode=" + cfg.dirMode.String(),
		"--layout=" + layout,
		"--freshness=" + cfg.freshness.String(),
		"--cache-size=" + cfg.cacheSize.String(),
		"--grace=" + cfg.grace.String(),
		"--log-level=" + cfg.logLevel,
		"--log-format=" + cfg.logFormat,
	}
	if cfg.stagingDir != "" {
		args = append(args, "--staging-dir="+cfg.stagingDir)
	}
	if cfg.logFile != "" {
		args = append(args, "--log-file="+cfg.logFile)
	}
	if len(cfg.kernelOptions) > 0 {
		args = append(args, "-o", strings.Join(cfg.kernelOptions, ","))
	}
	return append(args, "--", cfg.replica, cfg.mountpoint)
}

// startDaemon mounts in another process and returns once it has.
func startDaemon(cmd *cobra.Command, cfg mountConfig, quiet bool) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start in the background: find the program: %w", err)
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(interrupt)
	p, err := daemon.Start(daemon.Options{
		Program: program, Args: cfg.args(), Stderr: cmd.ErrOrStderr(), Timeout: daemonTimeout, Interrupt: interrupt,
	})
	var exit *daemon.ExitError
	switch {
	case errors.As(err, &exit) && exit.Code != 0:
		return exitcode.Reported(exitcode.Code(exit.Code))
	case err != nil:
		if derr := detachIfDead(cfg.mountpoint); derr != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "ltxfs: %v\n", derr)
		}
		code := exitcode.Failure
		if errors.Is(err, daemon.ErrTimeout) {
			code = exitcode.Timeout
		}
		return exitcode.Errorf(code, "mount on %s: %w", cfg.mountpoint, err)
	}
	if !quiet {
		fmt.Fprintf(cmd.OutOrStdout(), "mounted %s on %s: process %d, log file %s\n", cfg.replica, cfg.mountpoint, p.PID, p.LogFile)
	}
	return nil
}

// detachIfDead takes away what a daemon that was killed may have left.
func detachIfDead(mountpoint string) error {
	path, err := preflight.Resolve(mountpoint)
	if err != nil {
		return nil // nothing can be mounted there
	}
	return preflight.DetachIfDead(path)
}
