package settings

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

var update = flag.Bool("update", false, "write the README's tables")

// The README's tables are those of the program. To write them:
//
//	go test ./internal/settings -run README -update
func TestREADME(t *testing.T) {
	const file = "../../README.md"
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	readme := string(data)
	for _, table := range []string{flagTable(), s3Table()} {
		header, _, _ := strings.Cut(table, "\n")
		begin := strings.Index(readme, header+"\n")
		require.GreaterOrEqual(t, begin, 0, header)
		size := strings.Index(readme[begin:], "\n\n") + 1
		require.Positive(t, size)
		if *update {
			readme = readme[:begin] + table + readme[begin+size:]
			continue
		}
		require.Equal(t, table, readme[begin:begin+size], "run this test with -update")
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(readme), 0o644))
	}
}

// flagTable is the README's table of flags.
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

// s3Table is the README's table of the settings of S3.
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
