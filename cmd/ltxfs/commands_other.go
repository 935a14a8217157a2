//go:build !linux

package main

import (
	"github.com/spf13/cobra"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

func newMountCommand() *cobra.Command {
	return newLinuxCommand("mount [flags] REPLICA|DB-PATH MOUNTPOINT", "Mount a replica")
}

func newUmountCommand() *cobra.Command {
	cmd := newLinuxCommand("umount [flags] MOUNTPOINT", "Unmount")
	cmd.Aliases = []string{"unmount"}
	return cmd
}

func newDemoCommand() *cobra.Command {
	return newLinuxCommand("demo", "Mount a sample replica and show what is in it")
}

func newLogCommand() *cobra.Command {
	return newLinuxCommand("log [flags] MOUNTPOINT", "Change what a mount logs")
}

func newStatsCommand() *cobra.Command {
	return newLinuxCommand("stats [flags] MOUNTPOINT", "Show what a mount is doing")
}

func newBundleCommand() *cobra.Command {
	return newLinuxCommand("bundle [flags] MOUNTPOINT", "Pack what a report of a fault needs")
}

// newLinuxCommand returns a command that says where it works. It takes any flags and
// arguments, so that this is what is said.
func newLinuxCommand(use, short string) *cobra.Command {
	return &cobra.Command{
		Use:                use,
		Short:              short + " (on Linux only)",
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return exitcode.Errorf(exitcode.NoFUSE, "%s: ltxfs mounts on Linux only: "+
				"here use ltxfs ls, info, verify or restore, or mount on a Linux machine", cmd.Name())
		},
	}
}
