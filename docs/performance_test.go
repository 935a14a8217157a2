package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each figure in the page's tables is a median that the bench has written.
func TestFiguresAreMeasured(t *testing.T) {
	files, err := filepath.Glob("../bench/RESULTS*.md")
	require.NoError(t, err)
	measured := ""
	for _, f := range files {
		measured += page(t, f)
	}
	_, section, _ := strings.Cut(page(t, "performance.md"), "\n## What was measured\n")
	figures := regexp.MustCompile(`\| (\d[\d.]*)`).FindAllStringSubmatch(section, -1)
	require.NotEmpty(t, figures)
	for _, f := range figures {
		assert.True(t, strings.Contains(measured, "| "+f[1]+" (") || strings.Contains(measured, "| "+f[1]+" |"), f[1])
	}
}
