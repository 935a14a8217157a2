// Command covercheck merges coverage data of several runs and fails if too few
// statements of a package, or of a tree of packages, were run in any of them.
//
//	covercheck -min 80 -out cover.out -data unit,integration replica/... cache
//
// The data are directories that GOCOVERDIR named. Those of one kind of build
// each must be in a directory of their own, as go tool covdata can't mix them;
// covercheck can.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "covercheck:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("covercheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	least := flags.Float64("min", 80, "least share of statements, in percent")
	out := flags.String("out", "", "file for the merged profile")
	data := flags.String("data", "", "directories with coverage data, comma-separated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *data == "" || flags.NArg() == 0 {
		return errors.New("give -data and packages")
	}
	merged := profile{}
	for _, dir := range strings.Split(*data, ",") {
		text, err := textProfile(dir)
		if err != nil {
			return err
		}
		if err := merged.add(bytes.NewReader(text)); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	if *out != "" {
		if err := merged.writeFile(*out); err != nil {
			return err
		}
	}
	module, err := modulePath()
	if err != nil {
		return err
	}
	return merged.check(stdout, module, flags.Args(), *least)
}

// textProfile converts the coverage data in a directory to a profile.
func textProfile(dir string) ([]byte, error) {
	if found, err := filepath.Glob(filepath.Join(dir, "covmeta.*")); err != nil || len(found) == 0 {
		return nil, fmt.Errorf("%s holds no coverage data: run make test first", dir)
	}
	tmp, err := os.MkdirTemp("", "covercheck-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	path := filepath.Join(tmp, "profile")
	if output, err := exec.Command("go", "tool", "covdata", "textfmt", "-i="+dir, "-o="+path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go tool covdata: %w\n%s", err, output)
	}
	return os.ReadFile(path)
}

func modulePath() (string, error) {
	out, err := exec.Command("go", "list", "-m").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
