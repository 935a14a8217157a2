package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// The README's tables are those of the program.
func TestREADME(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	readme := string(data)
	for _, s := range s3.Settings() {
		name := ""
		if len(s.Query) > 0 {
			name = "`" + s.Query[0] + "`"
		}
		require.Contains(t, readme, fmt.Sprintf("| %s | `%s` | %s | %s |", name, s.YAML, s.Default, s.Doc))
	}
	flags := newMountCommand().Flags()
	for _, name := range envFlags(flags) {
		want := "`--" + name + "`"
		if name == "options" {
			want = "`-o`"
		}
		require.Contains(t, readme, want)
	}
	for code := exitcode.OK; code <= exitcode.Staging; code++ {
		require.Contains(t, readme, fmt.Sprintf("| %d | %s |", int(code), code))
	}
}
