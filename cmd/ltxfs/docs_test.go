package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// pages are the README and the pages of docs.
func pages(t *testing.T) map[string]string {
	paths, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	require.Contains(t, paths, "../../docs/manual.md")
	all := map[string]string{}
	for _, path := range append(paths, "../../README.md") {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		all[path] = string(data)
	}
	return all
}

// codeBlocks are a text's blocks of code in a language.
func codeBlocks(text, language string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// parseCommand parses a command line as ltxfs does, up to its flags.
func parseCommand(line string) (cmd *cobra.Command, err error) {
	words := strings.Fields(line)
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	root := newRootCommand()
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	root.InitDefaultCompletionCmd(words[1:]...)
	cmd, rest, err := root.Find(words[1:])
	if err == nil {
		cmd.InitDefaultHelpFlag()
		err = cmd.ParseFlags(rest)
	}
	return cmd, err
}

// Each command of ltxfs in the documentation is one. Those in blocks of code have all of
// their arguments.
func TestDocumentedCommands(t *testing.T) {
	n := 0
	for path, text := range pages(t) {
		for _, block := range codeBlocks(text, "sh") {
			for line := range strings.Lines(block) {
				if !strings.HasPrefix(line, "ltxfs ") {
					continue
				}
				n++
				cmd, err := parseCommand(line)
				require.NoError(t, err, "%s: %s", path, line)
				require.True(t, cmd.Runnable(), "%s: %s", path, line)
				require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), "%s: %s", path, line)
			}
		}
		for _, m := range regexp.MustCompile("`(ltxfs [^`\n]+)`").FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "[") { // a synopsis
				continue
			}
			n++
			cmd, err := parseCommand(m[1])
			require.NoError(t, err, "%s: %s", path, m[1])
			require.True(t, cmd.HasParent() || strings.HasPrefix(m[1], "ltxfs --") || m[1] == "ltxfs COMMAND --help", "%s: %s is no command", path, m[1])
		}
	}
	require.Greater(t, n, 40)
}

// Each line of fstab in the documentation is taken.
func TestDocumentedFstab(t *testing.T) {
	config := filepath.Join(t.TempDir(), "litestream.yml")
	require.NoError(t, os.WriteFile(config, []byte("dbs:\n  - path: /var/lib/app/orders.db\n    replica:\n      url: s3://b/p\n"), 0o600))
	n := 0
	for path, text := range pages(t) {
		for _, block := range codeBlocks(text, "fstab") {
			for line := range strings.Lines(strings.ReplaceAll(block, "/etc/litestream.yml", config)) {
				n++
				f := strings.Fields(line)
				require.Len(t, f, 6, "%s: %s", path, line)
				code := run([]string{"mount.ltxfs", f[0], f[1], "-f", "-o", f[3]}, nil, os.Stdout, os.Stderr)
				require.Equal(t, exitcode.OK, code, "%s: %s", path, line)
			}
		}
	}
	require.Equal(t, 5, n)
}

// The manual's section on a command has each of its flags.
func TestManualHasAllFlags(t *testing.T) {
	manual := pages(t)["../../docs/manual.md"]
	reading := pflag.NewFlagSet("", pflag.ContinueOnError)
	settings.New().DefineReading(reading)
	n := 0
	for _, cmd := range newRootCommand().Commands() {
		_, section, ok := strings.Cut(manual, "\n## ltxfs "+cmd.Name()+"\n")
		if !ok {
			require.True(t, slices.Contains([]string{"demo", "version"}, cmd.Name()), cmd.Name())
			_, section, _ = strings.Cut(manual, "\n## Other commands\n")
		}
		section, _, _ = strings.Cut(section, "\n## ")
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" && (cmd.Name() == "mount" || reading.Lookup(f.Name) == nil) {
				n++
				name := "--" + f.Name
				if name == "--options" { // nobody writes it so
					name = "-o"
				}
				require.True(t, strings.Contains(section, "`"+name), "%s %s", cmd.Name(), name)
			}
		})
	}
	require.Greater(t, n, 40)
	_, section, _ := strings.Cut(manual, "\n## Flags of all commands that need no mount\n")
	reading.VisitAll(func(f *pflag.Flag) { require.True(t, strings.Contains(section, "`--"+f.Name+"`"), f.Name) })
}
