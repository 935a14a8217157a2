package main

import (
	"github.com/spf13/cobra"

	"github.com/ltxfs/ltxfs/internal/demo"
)

func newDemoCommand() *cobra.Command {
	var opts demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Mount a sample replica and show what is in it",
		Long: `Mount a small sample replica, which comes with ltxfs, in a temporary directory,
and show what is where and what to try. Enter or Ctrl-C ends it; nothing stays.`,
		Example: `  ltxfs demo
  ltxfs demo --unattended`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Stdin, opts.Stdout = cmd.InOrStdin(), cmd.OutOrStdout()
			return demo.Run(opts)
		},
	}
	cmd.Flags().BoolVar(&opts.Unattended, "unattended", false, "run the commands, check their results, and end")
	return cmd
}
