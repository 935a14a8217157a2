package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

// The page has each message that can be logged as a warning or an error, and no other.
func TestTroubleshootingHasAllMessages(t *testing.T) {
	logged := map[string]bool{}
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, module+"replica/storetest") {
			for _, name := range p.GoFiles {
				messages(t, filepath.Join(p.Dir, name), logged)
			}
		}
	}
	require.Contains(t, logged, "not published")
	require.Contains(t, logged, "can't look up")
	_, section, _ := strings.Cut(page(t, "troubleshooting.md"), "\n## Messages in the log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(.+?)` \\| .+ \\| .+ \\|$").FindAllStringSubmatch(section, -1) {
		explained = append(explained, row[1])
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(logged)), explained, "A is what the source has, B what the page has")
}

// messages adds what a file can log as a warning or an error.
func messages(t *testing.T, path string, logged map[string]bool) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	require.NoError(t, err)
	add := func(e ast.Expr, prefix string) {
		text, ok := message(e)
		require.True(t, ok, "%s: this test can't tell what is logged: write it as a literal", files.Position(e.Pos()))
		logged[prefix+text] = true
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			switch {
			case !ok, isIdent(f.X, "http"): // http.Error answers
			case f.Sel.Name == "Log" && len(n.Args) > 2: // at a level that is computed
				add(n.Args[2], "")
			case f.Sel.Name == "failed" && len(n.Args) == 3: // fs.tree logs the first behind "can't "
				if _, isLiteral := n.Args[0].(*ast.BasicLit); isLiteral {
					add(n.Args[0], cannot)
				}
			case (f.Sel.Name == "Warn" || f.Sel.Name == "Error") && len(n.Args) > 0:
				if sum, ok := n.Args[0].(*ast.BinaryExpr); ok && isLiteral(sum.X, cannot) {
					break // in fs.tree
				}
				add(n.Args[0], "")
			}
		case *ast.CompositeLit: // what a table of messages has at a level
			for i, e := range n.Elts {
				if f, ok := e.(*ast.SelectorExpr); ok && (f.Sel.Name == "LevelWarn" || f.Sel.Name == "LevelError") {
					add(n.Elts[i+1], "")
				}
			}
		}
		return true
	})
}

const cannot = "can't "

func isLiteral(e ast.Expr, is string) bool {
	text, ok := message(e)
	return ok && text == is
}

// message is a constant text, or a format of fmt.Sprintf with … for what is filled in.
func message(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		x, ok := message(e.X)
		y, also := message(e.Y)
		return x + y, ok && also
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			format, ok := message(e.Args[0])
			return regexp.MustCompile(`%[a-z]`).ReplaceAllString(format, "…"), ok
		}
	}
	return "", false
}

// The page has each errno of the manual, and each exit code.
func TestTroubleshootingHasAllCodes(t *testing.T) {
	_, codes, _ := strings.Cut(page(t, "troubleshooting.md"), "\n## Exit codes\n")
	for code := exitcode.OK; !strings.HasPrefix(code.String(), "code "); code++ {
		require.Contains(t, codes, "| "+code.String()+" | ")
	}
	errno := regexp.MustCompile(`(?m)^\| (E[A-Z]+) \|`)
	var explained, known []string
	for _, row := range errno.FindAllStringSubmatch(page(t, "troubleshooting.md"), -1) {
		explained = append(explained, row[1])
	}
	for _, row := range errno.FindAllStringSubmatch(page(t, "manual.md"), -1) {
		known = append(known, row[1])
	}
	require.NotEmpty(t, known)
	require.ElementsMatch(t, known, explained)
}

// page is a page of this directory.
func page(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

func isIdent(e ast.Expr, name string) bool {
	ident, ok := e.(*ast.Ident)
	return ok && ident.Name == name
}
