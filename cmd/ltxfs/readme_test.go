package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

// The README's table of exit codes is the program's. The tables of settings are
// checked in internal/settings.
func TestREADME(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for code := exitcode.OK; code <= exitcode.Damaged; code++ {
		require.Contains(t, string(data), fmt.Sprintf("| %d | %s |", int(code), code))
	}
}
