package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/daemon"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/options"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/preflight"
)

// daemonTimeout is how long a daemon may take to mount.
const daemonTimeout = 60 * time.Second

func newMountCommand() *cobra.Command {
	var f mountFlags
	cmd := &cobra.Command{
		Use:   "mount [flags] REPLICA|DB-PATH MOUNTPOINT",
		Short: "Mount a replica until SIGINT, SIGTERM or ltxfs umount",
		Long: `Mount a replica on an empty directory and serve it until SIGINT or SIGTERM
arrives, or until it is unmounted. REPLICA is a directory, a file:// URL, or
s3://BUCKET/PATH for a replica in S3 or in a store that speaks its protocol, with
settings as Litestream takes them, such as ?endpoint=https://minio:9000. With
--config, DB-PATH is a database in Litestream's configuration, and its replica is
mounted.

Without --rw, nothing in the replica can be changed through the mount. With it,
a file is written to the replica whole and verified, or not at all: at the
rename from a temporary name, at fsync, or when a complete file is closed. Until
then it is in the staging directory.

Each flag can also be given as an environment variable, such as ` + options.EnvName("cache-size") + `
for --cache-size, and most as an option after -o. A flag or option counts more
than a variable, and an empty variable is none. Credentials come from where
Litestream and the AWS command line have them, such as AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY; each setting of S3 can be given as LTXFS_S3_…, and those
that are secret should be.`,
		Example: `  ltxfs mount /var/backups/orders /mnt/orders
  ltxfs mount --rw --daemon s3://backups/orders /mnt/orders
  ltxfs mount 's3://backups/orders?endpoint=https://minio.local:9000' /mnt/orders
  ltxfs mount --config /etc/litestream.yml /var/lib/app/orders.db /mnt/orders
  ltxfs mount --freshness 10s --cache-size 256MiB file:///var/backups/orders /mnt/orders
  mount -t fuse.ltxfs /var/backups/orders /mnt/orders -o ro,freshness=10s
  mount -t fuse.ltxfs /var/lib/app/orders.db /mnt/orders -o ro,config=/etc/litestream.yml`,
		Args: exactArgs("REPLICA", "MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			replica, err := daemon.Message() // what args[0] doesn't show to others
			if err != nil {
				return err
			}
			if replica == "" {
				replica = args[0]
			}
			cfg, err := f.mountConfig(cmd.Flags(), replica, args[1], os.LookupEnv)
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
		Program: program, Args: cfg.args(), Message: cfg.source.Hidden,
		Stderr: cmd.ErrOrStderr(), Timeout: daemonTimeout, Interrupt: interrupt,
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
		fmt.Fprintf(cmd.OutOrStdout(), "mounted %s on %s: process %d, log file %s\n",
			cfg.source.Name(), cfg.mountpoint, p.PID, p.LogFile)
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
