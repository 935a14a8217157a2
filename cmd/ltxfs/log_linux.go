package main

import (
	"github.com/spf13/cobra"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/service"
)

func newLogCommand() *cobra.Command {
	var level, access string
	cmd := &cobra.Command{
		Use:   "log [flags] MOUNTPOINT",
		Short: "Change what a mount logs, while it runs",
		Long: `Change what the process that serves a mount logs, until it ends or is told
otherwise. With --access=on it logs each request of the kernel: with the file, the
range, how long it took, and of how many blocks it was read, of which how many had
to be fetched. What the kernel reads by itself, of a replica on disk, it doesn't
tell.`,
		Example: `  ltxfs log --access=on /mnt/orders
  ltxfs log --level=debug /mnt/orders`,
		Args: exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if level == "" && access == "" {
				return exitcode.Errorf(exitcode.Usage, "log: nothing to change: give --level or --access")
			}
			c, err := service.Connect(args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			return c.SetLog(cmd.Context(), level, access)
		},
	}
	cmd.Flags().StringVar(&level, "level", "", "least level to log: debug, info, warn or error")
	cmd.Flags().StringVar(&access, "access", "", "log each request of the kernel: on or off")
	return cmd
}
