package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// named is a test as pages name it.
var named = regexp.MustCompile("`([a-z0-9/]+)\\.(Test\\w+)`")

// Each promise names tests that show it.
func TestPromisesNameTests(t *testing.T) {
	n := 0
	for _, paragraph := range strings.Split(page(t, "semantics.md"), "\n\n") {
		if strings.HasPrefix(paragraph, "**") {
			n++
			_, tests, _ := strings.Cut(paragraph, "\nTests: ")
			require.Regexp(t, named, tests, paragraph)
		}
	}
	require.NotZero(t, n)
}

// Each test that a page names is there.
func TestNamedTestsAreThere(t *testing.T) {
	for name, text := range pages(t) {
		for _, test := range named.FindAllStringSubmatch(text, -1) {
			assert.True(t, declares(t, filepath.Join("..", test[1]), test[2]), "%s: there is no %s in %s", name, test[2], test[1])
		}
	}
}

// declares reports whether a directory has a test.
func declares(t *testing.T, dir, test string) bool {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	for _, path := range files {
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.Contains(string(source), "\nfunc "+test+"(t *testing.T) {") {
			return true
		}
	}
	return false
}
