package docs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/ltxfs/ltxfs/"

// rooms are the packages that design.md lists, from the top down.
func rooms(t *testing.T) (rooms []string) {
	page, err := os.ReadFile("design.md")
	require.NoError(t, err)
	_, section, ok := bytes.Cut(page, []byte("\n## Rooms\n"))
	require.True(t, ok)
	parts := bytes.Split(section, []byte("\n```\n"))
	require.GreaterOrEqual(t, len(parts), 3)
	lines := bufio.NewScanner(bytes.NewReader(parts[1]))
	for lines.Scan() {
		room, caption, _ := strings.Cut(lines.Text(), " ")
		require.NotEmpty(t, strings.TrimSpace(caption), "%s has no caption", room)
		require.NotContains(t, rooms, room)
		rooms = append(rooms, room)
	}
	return rooms
}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports         []string
}

// packages are those of the product and of what is for its tests.
func packages(t *testing.T) (all []goPackage) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "../...").Output()
	require.NoError(t, err)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		top, _, _ := strings.Cut(strings.TrimPrefix(p.ImportPath, module), "/")
		if len(p.GoFiles) > 0 && top != "integration" && top != "bench" {
			all = append(all, p)
		}
	}
}

// Each package is a room of design.md, and imports rooms further down only.
func TestImportsPointDownwards(t *testing.T) {
	listed := rooms(t)
	var found []string
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		found = append(found, room)
		at := slices.Index(listed, room)
		if !assert.GreaterOrEqual(t, at, 0, "%s is no room of design.md", room) {
			continue
		}
		for _, imported := range p.Imports {
			if below, ok := strings.CutPrefix(imported, module); ok {
				assert.Greater(t, slices.Index(listed, below), at, "%s imports %s, which is not below it", room, below)
			}
		}
	}
	assert.ElementsMatch(t, listed, found)
}

// maxDoc is how many lines say what a package is for.
const maxDoc = 10

// The first file of each package, by its name or its package's, says what that is for.
func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	for _, p := range packages(t) {
		var documented []string
		for _, name := range p.GoFiles {
			file, err := os.ReadFile(filepath.Join(p.Dir, name))
			require.NoError(t, err)
			lines := strings.Split(string(file), "\n")
			i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "package ") })
			doc := 0
			for i > doc && strings.HasPrefix(lines[i-1-doc], "//") {
				doc++
			}
			if doc == 0 {
				continue
			}
			documented = append(documented, name)
			text := slices.DeleteFunc(lines[i-doc:i], func(line string) bool { return line == "//" })
			assert.LessOrEqual(t, len(text), maxDoc, "%s/%s", p.ImportPath, name)
		}
		assert.Len(t, documented, 1, p.ImportPath)
	}
}
