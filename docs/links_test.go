package docs

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pages are all pages of the repository, by their path from this directory.
func pages(t *testing.T) map[string]string {
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			all[path] = page(t, path)
		}
		return nil
	}))
	return all
}

var (
	fence   = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	code    = regexp.MustCompile("`[^`\n]+`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the fragments that GitHub gives a page's headings.
func anchors(text string) []string {
	var all []string
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all = append(all, "#"+strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return all
}

// A link to a file of the repository leads to one, and a link to a section to one.
func TestLinks(t *testing.T) {
	all := pages(t)
	require.Contains(t, all, "../README.md")
	require.Contains(t, all, "../docs/manual.md")
	n := 0
	for name, text := range all {
		text = code.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			u, err := url.Parse(l[1])
			require.NoError(t, err)
			if u.Scheme != "" {
				assert.Equal(t, "https", u.Scheme, "%s: %s", name, l[1])
				continue
			}
			n++
			target := name
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(name), u.Path)
				_, err = os.Stat(target)
				assert.NoError(t, err, "%s: %s", name, l[1])
			}
			if u.Fragment != "" {
				assert.Contains(t, anchors(all[target]), "#"+u.Fragment, "%s: %s", name, l[1])
			}
		}
	}
	require.NotZero(t, n)
}

// Each page is where a reader of the README finds it.
func TestREADMELeadsToEachPage(t *testing.T) {
	readme := page(t, "../README.md")
	entries, err := filepath.Glob("*.md")
	require.NoError(t, err)
	for _, name := range entries {
		require.Contains(t, readme, "](docs/"+name+")")
	}
}
