package settings

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Print shows what holds for each setting and where it came from, but no secret.
func (m *Mount) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value, from, def string) {
		if from == "" || value == "" {
			from = "default"
		}
		if value == "" && def != "" {
			from += ": " + unquoted(def)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, cmp.Or(value, "-"), from)
	}
	line("replica", m.Name(), cmp.Or(m.Source.At, m.from["config"], "command line"), "")
	line("mountpoint", m.Mountpoint, "command line", "")
	for i := range rows {
		r := &rows[i]
		value := r.value(m).String()
		switch {
		case r.once, r.only == "S3" && m.Source.OnDisk():
			continue
		case value == "" && m.Source.OnDisk():
			value = r.suits[0]
		case value == "":
			value = r.suits[1]
		}
		line(r.flag, value, m.from[r.flag], r.defDoc)
	}
	if cfg := m.Source.S3; cfg != nil {
		for i := range config.Settings {
			s := &config.Settings[i]
			line(s.Name, s.Text(cfg), cfg.From(s.Key), s.Default)
		}
	}
	return t.Flush()
}
