package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// profile holds, for each block of statements, whether it was run.
type profile map[block]bool

// block is a block of statements as a profile names it.
type block struct {
	file       string // with the import path of its package
	position   string
	statements int
}

// add adds a profile in the text format. A block that was run in any profile
// was run.
func (p profile) add(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "mode: ") || line == "" {
			continue
		}
		fields := strings.Fields(line)
		colon := strings.LastIndex(line, ":")
		if len(fields) != 3 || colon < 0 || colon >= len(fields[0]) {
			return fmt.Errorf("bad line %q in a profile", line)
		}
		statements, err := strconv.Atoi(fields[1])
		if err != nil {
			return fmt.Errorf("bad line %q in a profile: %w", line, err)
		}
		count, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return fmt.Errorf("bad line %q in a profile: %w", line, err)
		}
		b := block{fields[0][:colon], fields[0][colon+1:], statements}
		p[b] = p[b] || count > 0
	}
	return lines.Err()
}

// writeFile writes the profile in the text format.
func (p profile) writeFile(name string) error {
	var lines []string
	for b, run := range p {
		count := 0
		if run {
			count = 1
		}
		lines = append(lines, fmt.Sprintf("%s:%s %d %d\n", b.file, b.position, b.statements, count))
	}
	slices.Sort(lines)
	return os.WriteFile(name, []byte("mode: set\n"+strings.Join(lines, "")), 0o644)
}

// figure is how many statements there are and how many were run.
type figure struct{ run, all int }

func (f figure) percent() float64 {
	if f.all == 0 {
		return 0
	}
	return 100 * float64(f.run) / float64(f.all)
}

func (f figure) String() string {
	return fmt.Sprintf("%5.1f %% of %d statements", f.percent(), f.all)
}

// check prints the figure of each group of packages, and of each package in it,
// and fails if that of a group is below the least. A group is a path in the
// module, with /... for everything below it.
func (p profile) check(w io.Writer, module string, groups []string, least float64) error {
	packages := map[string]figure{}
	for b, run := range p {
		pkg := strings.TrimPrefix(path.Dir(b.file), module+"/")
		f := packages[pkg]
		f.all += b.statements
		if run {
			f.run += b.statements
		}
		packages[pkg] = f
	}
	var low []string
	for _, group := range groups {
		var sum figure
		var inside []string
		for _, pkg := range slices.Sorted(maps.Keys(packages)) {
			if matches(group, pkg) {
				sum.run += packages[pkg].run
				sum.all += packages[pkg].all
				inside = append(inside, pkg)
			}
		}
		fmt.Fprintf(w, "%-24s %s\n", group, sum)
		for _, pkg := range inside {
			fmt.Fprintf(w, "  %-22s %s\n", pkg, packages[pkg])
		}
		if sum.percent() < least {
			low = append(low, group)
		}
	}
	if len(low) > 0 {
		return fmt.Errorf("less than %g %% of the statements are covered in %s", least, strings.Join(low, ", "))
	}
	return nil
}

func matches(group, pkg string) bool {
	prefix, tree := strings.CutSuffix(group, "/...")
	return pkg == prefix || tree && strings.HasPrefix(pkg, prefix+"/")
}
