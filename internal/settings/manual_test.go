package settings

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// updateGolden has the test write the manual's tables if it is set to 1.
const updateGolden = "LTXFS_UPDATE_GOLDEN"

// The manual's tables are those of the program.
func TestManual(t *testing.T) {
	const file = "../../docs/manual.md"
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	manual := string(data)
	for _, table := range []string{flagTable(), s3Table(), exitTable(t)} {
		header, _, _ := strings.Cut(table, "\n")
		require.Equal(t, 1, strings.Count(manual, header+"\n"), header)
		begin := strings.Index(manual, header+"\n")
		size := len(manual) - begin // at the end of the manual
		if end := strings.Index(manual[begin:], "\n\n"); end >= 0 {
			size = end + 1
		}
		if os.Getenv(updateGolden) == "1" {
			manual = manual[:begin] + table + manual[begin+size:]
			require.NoError(t, os.WriteFile(file, []byte(manual), 0o644))
			continue
		}
		require.Equal(t, table, manual[begin:begin+size], "%s=1 writes it anew", updateGolden)
	}
}

// flagTable is the manual's table of flags.
func flagTable() string {
	var b strings.Builder
	b.WriteString("| flag | default | |\n| --- | --- | --- |\n")
	for i := range rows {
		r := &rows[i]
		name, def := "`--"+r.flag+"`", r.defaultText()
		switch {
		case r.hidden:
			continue
		case r.short != "":
			name = "`-" + r.short + "`"
		case r.isBool():
			def = "off"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, def, r.help())
	}
	return b.String()
}

// s3Table is the manual's table of the settings of S3.
func s3Table() string {
	var b strings.Builder
	b.WriteString("| in the URL | in litestream.yml | default | |\n| --- | --- | --- | --- |\n")
	for i := range config.Settings {
		s := &config.Settings[i]
		name := "`" + s.Name + "`"
		if s.Secret || s.NotInURL {
			name = ""
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", name, s.Key, s.Default, s.Doc)
	}
	return b.String()
}

// exitTable is the manual's table of exit codes, which the source describes.
func exitTable(t *testing.T) string {
	file, err := parser.ParseFile(token.NewFileSet(), "../exitcode/exitcode.go", nil, parser.ParseComments)
	require.NoError(t, err)
	var b strings.Builder
	b.WriteString("| code | name | meaning |\n| --- | --- | --- |\n")
	code := exitcode.OK
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Comment != nil {
			require.Equal(t, fmt.Sprint(int(code)), v.Values[0].(*ast.BasicLit).Value)
			fmt.Fprintf(&b, "| %d | %s | %s |\n", int(code), code, strings.TrimSpace(v.Comment.Text()))
			code++
		}
		return true
	})
	require.Equal(t, exitcode.Undetermined, code-1)
	return b.String()
}
