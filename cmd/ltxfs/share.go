//go:build share

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// Built with the tag share, the program only writes what packages have in /usr/share, its
// manual pages and completions, into the directory that it is given. What renders the pages
// isn't in the ltxfs that users run.
func init() {
	if err := writeShare(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func writeShare(dir string) error {
	root := newRootCommand()
	bash, fish, zsh, man := filepath.Join(dir, "bash-completion/completions/ltxfs"),
		filepath.Join(dir, "fish/vendor_completions.d/ltxfs.fish"), filepath.Join(dir, "zsh/_ltxfs"), filepath.Join(dir, "man/man1")
	for _, d := range []string{filepath.Dir(bash), filepath.Dir(fish), filepath.Dir(zsh), man} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	root.DisableAutoGenTag = true // SOURCE_DATE_EPOCH is the date
	for _, cmd := range root.Commands() {
		nameValues(cmd)
	}
	return cmp.Or(
		root.GenBashCompletionFileV2(bash, true),
		root.GenFishCompletionFile(fish, true),
		root.GenZshCompletionFile(zsh),
		doc.GenManTree(root, &doc.GenManHeader{Source: "ltxfs", Manual: "ltxfs"}, man),
	)
}

// nameValues has a page show what value a flag takes that has no default.
func nameValues(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.DefValue == "" {
			f.DefValue, _ = pflag.UnquoteUsage(f)
		}
	})
}
