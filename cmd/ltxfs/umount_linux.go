package main

import (
	"github.com/spf13/cobra"

	"github.com/ltxfs/ltxfs/internal/service"
)

func newUmountCommand() *cobra.Command {
	var u service.Unmounting
	cmd := &cobra.Command{
		Use:     "umount [flags] MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Unmount, and wait until everything is published",
		Long: `Unmount an ltxfs mount and wait for the process that serves it, which first
publishes what is still being published. The exit code is that process's: 0 only
if nothing is left unpublished.

A mount that is in use stays, with an error that names who uses it; --lazy
detaches it all the same. The mount of an ltxfs that has died is taken away.`,
		Example: `  ltxfs umount /mnt/orders
  ltxfs umount --lazy /mnt/orders`,
		Args: exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.Stderr = cmd.ErrOrStderr()
			return u.Unmount(args[0])
		},
	}
	cmd.Flags().BoolVarP(&u.Lazy, "lazy", "l", false, "detach the mount even if programs use it")
	cmd.Flags().DurationVar(&u.Timeout, "timeout", service.EndTimeout, "how long to wait for the end of the process that serves the mount")
	return cmd
}
