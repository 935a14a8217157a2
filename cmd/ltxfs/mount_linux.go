package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ltxfs/ltxfs/internal/service"
	"github.com/ltxfs/ltxfs/internal/settings"
)

func newMountCommand() *cobra.Command {
	m := settings.New()
	replicaAndMountpoint := exactArgs("REPLICA", "MOUNTPOINT")
	cmd := &cobra.Command{
		Use:   "mount [flags] REPLICA|DB-PATH|CONFIG MOUNTPOINT",
		Short: "Mount a replica until SIGINT, SIGTERM or ltxfs umount",
		Long: `Mount a replica on an empty directory and serve it until SIGINT or SIGTERM
arrives, or until it is unmounted. REPLICA is a directory, a file:// URL, or
s3://BUCKET/PATH for a replica in S3 or in a store that speaks its protocol, with
settings as Litestream takes them, such as ?endpoint=https://minio:9000. With
--config, DB-PATH is a database in Litestream's configuration, and its replica is
mounted. With --all, the replicas of all databases in CONFIG are mounted, each as a
directory with the path of its database.

Without --rw, nothing in the replica can be changed through the mount. With it,
a file is written to the replica whole and verified, or not at all: at the
rename from a temporary name, at fsync, or when a complete file is closed. Until
then it is in the staging directory.

Each flag can also be given as an environment variable, such as LTXFS_CACHE_SIZE
for --cache-size, and most as an option after -o. A flag or option counts more
than a variable, and an empty variable is none. Credentials come from where
Litestream and the AWS command line have them, such as AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY; each setting of S3 can be given as LTXFS_S3_…, and those
that are secret must be. What holds in the end, --print-config shows.`,
		Example: `  ltxfs mount /var/backups/orders /mnt/orders
  ltxfs mount --rw --daemon s3://backups/orders /mnt/orders
  ltxfs mount 's3://backups/orders?endpoint=https://minio.local:9000' /mnt/orders
  ltxfs mount --config /etc/litestream.yml /var/lib/app/orders.db /mnt/orders
  ltxfs mount --freshness 10s --cache-size 256MiB file:///var/backups/orders /mnt/orders
  ltxfs mount --all /etc/litestream.yml /mnt/databases
  mount -t fuse.ltxfs /var/backups/orders /mnt/orders -o ro,freshness=10s
  mount -t fuse.ltxfs /var/lib/app/orders.db /mnt/orders -o ro,config=/etc/litestream.yml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 { // enough if all databases of a configuration are meant
				return nil
			}
			return replicaAndMountpoint(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			named := ""
			if len(args) == 2 {
				named = args[0]
			}
			err := m.Parse(cmd.Flags(), named, args[len(args)-1], os.LookupEnv)
			switch {
			case len(args) == 1 && !m.All:
				return replicaAndMountpoint(cmd, args)
			case err != nil:
				return err
			}
			switch {
			case m.PrintConfig:
				return m.Print(cmd.OutOrStdout())
			case m.Fake:
				return nil
			case m.Daemon:
				return startDaemon(cmd, m)
			}
			return service.Run(m, version(), cmd.ErrOrStderr())
		},
	}
	m.Define(cmd.Flags())
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if words := settings.Words(f.Name); words != nil {
			complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
			if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
				panic(err) // the flag isn't there, or has one already
			}
		}
	})
	return cmd
}

// startDaemon mounts in another process and returns once it has.
func startDaemon(cmd *cobra.Command, m *settings.Mount) error {
	p, err := service.Start(m)
	if err == nil && !m.Quiet {
		fmt.Fprintf(cmd.OutOrStdout(), "mounted %s on %s: process %d, log file %s\n",
			m.Name(), m.Mountpoint, p.PID, p.LogFile)
	}
	return err
}
