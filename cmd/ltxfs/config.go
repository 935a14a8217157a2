package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/options"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/secrets"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/source"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// minBandwidth is the least that --limit-read and --limit-write take: with less,
// what the kernel reads ahead and what is published would pass their deadlines.
const minBandwidth = 512 << 10

// maxMaxRequests bounds --max-requests.
const maxMaxRequests = 4096

// mountConfig is a command line of ltxfs mount, checked and complete.
type mountConfig struct {
	source     source.Source
	mountpoint string // absolute path

	readWrite, allowOther        bool
	uid, gid                     uint32
	fileMode, dirMode            options.Mode
	layout                       replica.Layout // zero: detect it
	freshness, grace             time.Duration
	exactTimes                   bool
	verifyWrites                 s3.VerifyMode
	cacheSize                    options.Size
	limitRead, limitWrite        options.Size // 0: unlimited
	maxRequests                  int          // 0: unlimited
	stagingDir                   string       // "": the default
	logLevel, logFormat, logFile string
	kernelOptions                []string
}

// mountConfig makes sense of the flags, the mount options and the environment
// together.
func (f *mountFlags) mountConfig(flags *pflag.FlagSet, replicaArg, mountpoint string, env source.Lookup) (mountConfig, error) {
	from, err := f.apply(flags, env)
	if err != nil {
		return mountConfig{}, err
	}
	cfg := mountConfig{
		readWrite: f.readWrite, allowOther: f.allowOther,
		uid: f.uid, gid: f.gid, fileMode: f.fileMode, dirMode: f.dirMode,
		freshness: f.freshness, grace: f.grace,
		cacheSize: f.cacheSize, limitRead: f.limitRead, limitWrite: f.limitWrite, maxRequests: int(f.maxRequests),
		logLevel: f.logLevel, logFormat: f.logFormat, kernelOptions: from.options.Kernel,
	}
	if !flags.Changed("file-mode") {
		cfg.fileMode = 0o444
		if cfg.readWrite {
			cfg.fileMode = 0o644
		}
	}
	if cfg.layout, err = replica.LayoutByName(f.layout); err != nil {
		return mountConfig{}, exitcode.Wrap(exitcode.Usage, err)
	}
	if _, err := logging.New(nil, cfg.logLevel, cfg.logFormat); err != nil {
		return mountConfig{}, exitcode.Wrap(exitcode.Usage, err)
	}
	if err := cfg.setModes(f.mtime, f.verifyWrites); err != nil {
		return mountConfig{}, err
	}
	if err := cfg.check(); err != nil {
		return mountConfig{}, err
	}
	if err := cfg.setPaths(mountpoint, f.stagingDir, f.logFile); err != nil {
		return mountConfig{}, err
	}
	// A URL on the command line counts more than a configuration in the environment.
	if f.config != "" && !(secrets.IsURL(replicaArg) && from.fromEnv["config"]) {
		cfg.source, err = source.FromConfig(f.config, replicaArg, env)
	} else {
		cfg.source, err = source.Parse(replicaArg, env)
	}
	if err != nil {
		return mountConfig{}, err
	}
	if !flags.Changed("freshness") {
		cfg.freshness = cfg.source.Freshness()
	}
	if !flags.Changed("max-requests") {
		cfg.maxRequests = cfg.source.MaxRequests()
	}
	return cfg, nil
}

// setModes sets what is given by one word of a few.
func (cfg *mountConfig) setModes(mtime, verifyWrites string) error {
	switch mtime {
	case mtimeFast, mtimeExact:
		cfg.exactTimes = mtime == mtimeExact
	default:
		return exitcode.Errorf(exitcode.Usage, "--mtime %s: it must be %s or %s", mtime, mtimeFast, mtimeExact)
	}
	switch mode := s3.VerifyMode(verifyWrites); mode {
	case verifyAuto:
		cfg.verifyWrites = s3.VerifyAuto
	case s3.VerifyFull, s3.VerifyChecksum, s3.VerifySize:
		cfg.verifyWrites = mode
	default:
		return exitcode.Errorf(exitcode.Usage, "--verify-writes %s: it must be %s, %s, %s or %s",
			verifyWrites, verifyAuto, s3.VerifyFull, s3.VerifyChecksum, s3.VerifySize)
	}
	return nil
}

// check checks the numbers.
func (cfg *mountConfig) check() error {
	for _, limit := range []struct {
		flag string
		size *options.Size
	}{{"--limit-read", &cfg.limitRead}, {"--limit-write", &cfg.limitWrite}} {
		if *limit.size != 0 && *limit.size < minBandwidth {
			return exitcode.Errorf(exitcode.Usage,
				"%s %s: too little: with less than 512KiB in a second, operations would pass their deadlines: give that or more, or 0 for no limit",
				limit.flag, limit.size)
		}
	}
	switch {
	case cfg.cacheSize < minCacheSize:
		return exitcode.Errorf(exitcode.Usage, "--cache-size %s: too small: give at least 4MiB", &cfg.cacheSize)
	case cfg.cacheSize > maxCacheSize:
		return exitcode.Errorf(exitcode.Usage, "--cache-size %s: too large: give at most 1TiB", &cfg.cacheSize)
	case cfg.maxRequests > maxMaxRequests:
		return exitcode.Errorf(exitcode.Usage, "--max-requests %d: too many: give at most %d, or 0 for no limit", cfg.maxRequests, maxMaxRequests)
	case cfg.freshness < 0:
		return exitcode.Errorf(exitcode.Usage, "--freshness %s: negative: give 0s or more", cfg.freshness)
	case cfg.grace < 0:
		return exitcode.Errorf(exitcode.Usage, "--grace %s: negative: give 0s or more", cfg.grace)
	}
	return nil
}

// setPaths makes paths absolute: a daemon works in another directory.
func (cfg *mountConfig) setPaths(mountpoint, stagingDir, logFile string) (err error) {
	if mountpoint == "" {
		return exitcode.Errorf(exitcode.Usage, "the mountpoint is empty: give the path of an empty directory")
	}
	for _, p := range []struct {
		given string
		abs   *string
	}{{mountpoint, &cfg.mountpoint}, {stagingDir, &cfg.stagingDir}, {logFile, &cfg.logFile}} {
		if p.given == "" {
			continue
		}
		if *p.abs, err = filepath.Abs(p.given); err != nil {
			return fmt.Errorf("find the path of %s: %w", p.given, err)
		}
	}
	return nil
}

// args is a command line that gives the same configuration in any directory and
// with any environment of ours. It shows no secret.
func (cfg *mountConfig) args() []string {
	layout, mtime, verifyWrites := cfg.layout.Name, mtimeFast, string(cfg.verifyWrites)
	if cfg.layout.IsZero() {
		layout = replica.LayoutAuto
	}
	if cfg.exactTimes {
		mtime = mtimeExact
	}
	if cfg.verifyWrites == s3.VerifyAuto {
		verifyWrites = verifyAuto
	}
	return []string{
		"mount",
		"--rw=" + strconv.FormatBool(cfg.readWrite),
		"--daemon=false",
		"--config=" + cfg.source.Config,
		"--allow-other=" + strconv.FormatBool(cfg.allowOther),
		fmt.Sprintf("--uid=%d", cfg.uid),
		fmt.Sprintf("--gid=%d", cfg.gid),
		"--file-mode=" + cfg.fileMode.String(),
		"--dir-mode=" + cfg.dirMode.String(),
		"--layout=" + layout,
		"--freshness=" + cfg.freshness.String(),
		"--mtime=" + mtime,
		"--verify-writes=" + verifyWrites,
		"--cache-size=" + cfg.cacheSize.String(),
		"--limit-read=" + cfg.limitRead.String(),
		"--limit-write=" + cfg.limitWrite.String(),
		fmt.Sprintf("--max-requests=%d", cfg.maxRequests),
		"--staging-dir=" + cfg.stagingDir,
		"--grace=" + cfg.grace.String(),
		"--log-level=" + cfg.logLevel,
		"--log-format=" + cfg.logFormat,
		"--log-file=" + cfg.logFile,
		"--options=" + strings.Join(cfg.kernelOptions, ","),
		"--", cfg.source.Arg, cfg.mountpoint,
	}
}
