package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

const fuseModule = "github.com/hanwen/go-fuse/v2"

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of ltxfs and of what it is built with",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionText(info))
			return err
		},
	}
}

// version is the version of the module, or "(devel)" for a build from a
// checkout.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// versionText is what ltxfs version prints. info may be nil.
func versionText(info *debug.BuildInfo) string {
	text := fmt.Sprintf("ltxfs %s\n", version())
	settings := map[string]string{}
	fuse := "unknown"
	if info != nil {
		fuse = "none" // as elsewhere than on Linux
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		for _, dep := range info.Deps {
			if dep.Path == fuseModule {
				if fuse = dep.Version; dep.Replace != nil {
					fuse = dep.Replace.Path + " " + dep.Replace.Version
				}
			}
		}
	}
	if revision := settings["vcs.revision"]; revision != "" {
		text += "revision " + revision
		if settings["vcs.time"] != "" {
			text += " of " + settings["vcs.time"]
		}
		if settings["vcs.modified"] == "true" {
			text += ", with changes"
		}
		text += "\n"
	}
	return text + fmt.Sprintf("%s %s/%s\ngo-fuse %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, fuse)
}
