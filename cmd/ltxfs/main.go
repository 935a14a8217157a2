// Command ltxfs mounts a Litestream replica as a directory.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/settings"
)

func main() {
	os.Exit(int(run(os.Args, os.Stdin, os.Stdout, os.Stderr)))
}

// run runs the command line argv, reports its error and returns its exit code.
func run(argv []string, stdin io.Reader, stdout, stderr io.Writer) exitcode.Code {
	args, err := translateHelperCall(filepath.Base(argv[0]), argv[1:], isCommand)
	if err == nil {
		root := newRootCommand()
		root.SetArgs(args)
		root.SetIn(stdin)
		root.SetOut(stdout)
		root.SetErr(stderr)
		err = root.Execute()
	}
	if err != nil && !exitcode.IsReported(err) {
		// Whoever doesn't read standard error must not keep the process.
		queue := logging.NewQueue(stderr, "text")
		text := settings.Scrub(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "), argv)
		fmt.Fprintf(queue, "ltxfs: %s\n", logging.Shown(text))
		_ = logging.Flush(queue) // what can't be written there can be told nowhere
	}
	return exitcode.Of(err)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ltxfs",
		Short: "Mount a Litestream replica as a directory",
		Long: `ltxfs mounts a Litestream replica as a directory, so that the LTX files in it
can be read with any program and, with --rw, written and deleted.

Try it without a replica of your own: ltxfs demo`,
		Example: `  ltxfs mount /var/backups/orders /mnt/orders
  ltxfs mount --rw --daemon s3://backups/orders /mnt/orders
  ltxfs umount /mnt/orders`,
		Args: cobra.ArbitraryArgs,

		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		SilenceErrors:              true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.Version = version() // for --version
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if cmd == root && cmd.Flags().NArg() > 0 { // flags of a command that isn't one
			return unknownCommand(root, cmd.Flags().Arg(0))
		}
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			// With one hyphen, all behind it are short names.
			name, _, _ := strings.Cut(cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName()), "=")
			err = cmp.Or(settings.Refused(name, "on the command line"), err)
		}
		return exitcode.Errorf(exitcode.Usage, "%s: %w: see %s --help", cmd.Name(), err, cmd.CommandPath())
	})
	root.AddCommand(newMountCommand(), newUmountCommand(), newDemoCommand(), newVersionCommand(), newInfoCommand(), newLsCommand(), newVerifyCommand(), newRestoreCommand(),
		newStatsCommand(), newLogCommand(), newBundleCommand())
	return root
}

func unknownCommand(root *cobra.Command, name string) error {
	hint := "see ltxfs --help"
	if _, err := os.Stat(name); err == nil || settings.IsURL(name) {
		hint = "to mount, write ltxfs mount " + name + " MOUNTPOINT"
	} else if similar := root.SuggestionsFor(name); len(similar) > 0 {
		hint = "did you mean " + strings.Join(similar, " or ")
	}
	return exitcode.Errorf(exitcode.Usage, "unknown command %q: %s", name, hint)
}

// exactArgs makes a command take as many arguments as names are given.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		if len(names) == 0 {
			return exitcode.Errorf(exitcode.Usage, "%s: takes no arguments, but got %q: see %s --help",
				cmd.Name(), args[0], cmd.CommandPath())
		}
		return exitcode.Errorf(exitcode.Usage, "%s: needs %s, but got %d of %d: see %s --help",
			cmd.Name(), strings.Join(names, " and "), len(args), len(names), cmd.CommandPath())
	}
}

// isCommand reports whether a name is a command of ltxfs, or, mistyped, one that has an -o as
// mount(8) does, if nothing of that name could be mounted.
func isCommand(name string) bool {
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(name)
	if slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == name || c.HasAlias(name) }) ||
		strings.HasPrefix(name, cobra.ShellCompRequestCmd) {
		return true
	}
	_, err := os.Stat(name)
	return err != nil && !strings.ContainsAny(name, "/:") && slices.Contains(root.SuggestionsFor(name), "restore")
}

// errHelper begins the errors of a call by mount(8).
var errHelper = errors.New("called by mount(8)")

// translateHelperCall turns a call by mount(8) into a call of the command
// mount. There are two kinds of them:
//
//	ltxfs SOURCE DIR -o OPTIONS            by way of mount.fuse3, for the type fuse.ltxfs
//	mount.ltxfs SOURCE DIR [-sfnv] [-N namespace] [-o OPTIONS] [-t TYPE]
//
// the second where /sbin/mount.ltxfs is a link to ltxfs. Other command lines
// are returned as they are.
func translateHelperCall(program string, args []string, isCommand func(string) bool) ([]string, error) {
	byName := strings.HasPrefix(program, "mount.")
	byOptions := len(args) >= 3 && !strings.HasPrefix(args[0], "-") && !isCommand(args[0]) && slices.Contains(args[2:], "-o")
	if !byName && !byOptions {
		return args, nil
	}
	out := []string{"mount", "--daemon"}
	quiet := true
	var positional []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-o" || arg == "-t" || arg == "-N":
			if i++; i == len(args) {
				return nil, exitcode.Errorf(exitcode.Usage, "%w: %s needs a value", errHelper, arg)
			}
			switch arg {
			case "-o":
				out = append(out, "-o", args[i])
			case "-N":
				return nil, exitcode.Errorf(exitcode.Usage, "%w: -N: other mount namespaces are not supported: use nsenter", errHelper)
			}
		case len(arg) > 1 && arg[0] == '-':
			for _, letter := range arg[1:] {
				switch letter {
				case 'n': // there is no mtab
				case 'v':
					quiet = false
				case 's':
					out = append(out, "--sloppy")
				case 'f':
					out = append(out, "--fake")
				default:
					name, _, _ := strings.Cut(arg, "=") // the value may be a secret
					return nil, exitcode.Errorf(exitcode.Usage, "%w: unknown flag %q", errHelper, name)
				}
			}
		default:
			positional = append(positional, arg)
		}
	}
	if quiet {
		out = append(out, "--quiet")
	}
	return append(append(out, "--"), positional...), nil
}
