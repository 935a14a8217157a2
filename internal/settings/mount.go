// Package settings has what a user can set for a mount, a row a setting: its flag,
// mount option, environment variable, default, help and documentation. From the
// table come the parsing of all of these, the arguments for a daemon, completions,
// --print-config and the manual's tables. The rows of S3 are those of
// replica/s3/config, which URLs and litestream.yml go by as well.
package settings

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Mount is what ltxfs mount was told, complete once Parse has succeeded.
type Mount struct {
	Source     Source
	Databases  *Databases // that are shown instead of Source, each as a directory; nil if none are
	Mountpoint string     // absolute path

	ReadWrite, Daemon, AllowOther bool
	Config                        string // absolute path; "" unless it names the replica, or the databases
	All                           bool
	NoExpandEnv                   bool
	UID, GID                      uint32
	FileMode, DirMode             Mode
	Layout                        replica.Layout // zero: detect it
	Freshness                     *time.Duration // nil: what suits the store
	ExactTimes, RefreshNew        bool
	RefreshAll                    time.Duration
	NoDB, ExactDB                 bool
	VerifyWrites                  config.VerifyMode
	CacheSize                     Size
	LimitRead, LimitWrite         Size   // 0: unlimited
	MaxRequests                   *int   // nil: what suits the store; 0: unlimited
	StagingDir                    string // "": the default
	DiskCache                     string // absolute path; "": none
	DiskCacheSize                 Size
	DiskCacheCheck                bool // whenever something is read of it
	Grace                         time.Duration
	LogLevel, LogFormat, LogFile  string
	HTTP                          string
	KernelOptions                 []string
	PrintConfig                   bool

	// For calls by mount(8).
	Sloppy, Fake, Quiet bool

	reading                         bool // without mounting
	layout, mtime, refresh, dbBytes string
	replica                         string            // as it was named
	from                            map[string]string // by flag, where the value of what is set came from
	diskCacheCheck                  string
}

// Size is a number of bytes.
type Size = config.Size

// Lookup finds an environment variable, as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// Parse completes and checks what the flags, which Define has defined, were given,
// with mount options and the environment. Its errors have exit codes, and show no
// secret.
func (m *Mount) Parse(flags *pflag.FlagSet, replicaArg, mountpoint string, env Lookup) error {
	m.Mountpoint, m.replica = mountpoint, replicaArg
	if err := m.apply(flags, env); err != nil {
		return exitcode.Wrap(exitcode.Usage, err)
	}
	if err := m.nameDatabases(); err != nil {
		return exitcode.Wrap(exitcode.Usage, err)
	}
	if err := m.check(); err != nil {
		return exitcode.Wrap(exitcode.Usage, err)
	}
	if m.from["file-mode"] == "" && m.ReadWrite {
		m.FileMode = 0o644
	}
	m.Layout, _ = replica.LayoutByName(m.layout) // one of the words that were checked
	m.ExactTimes = m.mtime == mtimeExact
	m.RefreshNew = m.refresh == refreshNew
	m.ExactDB = m.dbBytes == dbExact
	m.DiskCacheCheck = m.diskCacheCheck == checkAlways
	// A URL on the command line counts more than a configuration in the environment.
	if IsURL(replicaArg) && !m.All && m.from["config"] == envName("config") {
		m.Config = ""
		delete(m.from, "config")
	}
	// A daemon works in another directory.
	for _, path := range []*string{&m.Mountpoint, &m.StagingDir, &m.DiskCache, &m.LogFile, &m.Config} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("find the path of %s: %w", *path, err)
		}
		*path = abs
	}
	return exitcode.Wrap(exitcode.Usage, m.findSource(env))
}

// Name is what is mounted, as messages, the state file and the mount's source have it. It
// holds no secret.
func (m *Mount) Name() string {
	if m.Databases != nil {
		return m.Config
	}
	return m.Source.Name()
}

// Origin is what is mounted as it was given, by which mount(8) knows a line of fstab that is
// mounted already, unless that depends on the directory.
func (m *Mount) Origin() string {
	if IsURL(m.replica) || filepath.IsAbs(m.replica) {
		return m.replica
	}
	return m.Name()
}

// ID is the same for two mounts if they are of the same replica, or configuration.
func (m *Mount) ID() string {
	if m.Databases != nil {
		return "databases:" + m.Config
	}
	return m.Source.ID()
}

// nameDatabases finds the configuration whose databases are all to be mounted: as
// mount(8) has it, it takes the place of the replica.
func (m *Mount) nameDatabases() error {
	switch {
	case !m.All:
		return nil
	case m.replica != "" && (m.from["config"] == "--config" || m.from["config"] == "-o"):
		return fmt.Errorf("--all: both %s and --config %s: give the configuration once, and no database", m.replica, m.Config)
	case m.ReadWrite:
		return errors.New("--all: it shows the replicas of all databases read-only: to write to one, mount it alone, with --rw")
	case m.replica != "":
		m.Config = m.replica
		delete(m.from, "config")
	case m.Config == "":
		return errors.New("--all: the configuration is missing: give the path of Litestream's")
	}
	return nil
}

// check checks the values, wherever they came from.
func (m *Mount) check() error {
	if m.Mountpoint == "" && !m.reading {
		return errors.New("the mountpoint is empty: give the path of an empty directory")
	}
	for i := range rows {
		r := &rows[i]
		if wrong := r.wrong(m); wrong != "" {
			return fmt.Errorf("--%s %s: %s", r.flag, r.value(m), wrong)
		}
	}
	return nil
}

// Args is a command line of ltxfs that makes the same Mount in this directory, in
// the foreground, if ClearEnv is added to the environment.
func (m *Mount) Args() []string {
	args := []string{"mount", "--daemon=false"}
	for i := range rows {
		if r := &rows[i]; m.from[r.flag] != "" && !r.once {
			args = append(args, fmt.Sprintf("--%s=%s", r.flag, r.value(m)))
		}
	}
	args = append(args, "--")
	if m.replica != "" {
		args = append(args, m.replica)
	}
	return append(args, m.Mountpoint)
}
