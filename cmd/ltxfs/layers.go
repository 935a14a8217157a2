package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/daemon"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/options"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/source"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/state"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// layers are where the flags of one mount come from: what counts most first, the
// command line, its mount options, an environment variable for each flag, and the
// mount options in the environment.
type layers struct {
	flags *pflag.FlagSet
	env   source.Lookup

	given   map[string]bool // on the command line
	fromEnv map[string]bool
	options options.MountOptions // of the command line
}

// apply sets the flags that are given as mount options or in the environment.
func (f *mountFlags) apply(flags *pflag.FlagSet, env source.Lookup) (*layers, error) {
	l := &layers{flags: flags, env: env, given: map[string]bool{}, fromEnv: map[string]bool{}}
	flags.Visit(func(flag *pflag.Flag) { l.given[flag.Name] = true })
	var err error
	if l.options, err = options.ParseMountOptions(f.options, f.sloppy); err != nil {
		return nil, exitcode.Wrap(exitcode.Usage, err)
	}
	if err := l.applyOptions(f.readWrite); err != nil {
		return nil, err
	}
	if err := l.applyEnv(); err != nil {
		return nil, exitcode.Wrap(exitcode.Usage, err)
	}
	if l.given["options"] {
		return l, nil
	}
	return l, exitcode.Wrap(exitcode.Usage, l.applyEnvOptions(f.sloppy))
}

// applyOptions sets the flags that were given after -o. Given as flags, too, they
// are errors: nobody can know which was meant.
func (l *layers) applyOptions(readWrite bool) error {
	switch access := l.options.Access; {
	case access == "":
	case l.given["rw"] && readWrite != (access == "rw"):
		return exitcode.Errorf(exitcode.Usage, "--rw=%t and -o %s contradict each other: give one of them", readWrite, access)
	case !l.given["rw"]:
		if err := l.set("rw", strconv.FormatBool(access == "rw")); err != nil {
			return err
		}
	}
	for _, option := range l.options.Flags {
		if l.given[option.Name] {
			return exitcode.Errorf(exitcode.Usage, "--%s is given as a mount option, too: give it once", option.Name)
		}
		if err := l.set(option.Name, option.Value); err != nil {
			return exitcode.Errorf(exitcode.Usage, "mount option %s=%s: %w", strings.ReplaceAll(option.Name, "-", "_"), option.Value, err)
		}
	}
	return nil
}

// applyEnv sets the flags that stand in the environment, each in a variable, and
// nowhere else. A variable that is empty is none.
func (l *layers) applyEnv() error {
	for _, name := range envFlags(l.flags) {
		variable := options.EnvName(name)
		value, _ := l.env(variable)
		if value == "" || l.flags.Changed(name) || name == "options" {
			continue
		}
		if err := l.set(name, value); err != nil {
			return fmt.Errorf("environment variable %s=%s: %w", variable, value, err)
		}
		l.fromEnv[name] = true
	}
	return nil
}

// applyEnvOptions sets what the mount options in the environment say of flags
// that stand nowhere else.
func (l *layers) applyEnvOptions(sloppy bool) error {
	variable := options.EnvName("options")
	value, _ := l.env(variable)
	if value == "" {
		return nil
	}
	parsed, err := options.ParseMountOptions([]string{value}, sloppy)
	if err != nil {
		return fmt.Errorf("environment variable %s: %w", variable, err)
	}
	l.options.Kernel = parsed.Kernel
	if parsed.Access != "" {
		parsed.Flags = append(parsed.Flags, options.Flag{Name: "rw", Value: strconv.FormatBool(parsed.Access == "rw")})
	}
	set := map[string]bool{}
	l.flags.Visit(func(flag *pflag.Flag) { set[flag.Name] = true })
	for _, option := range parsed.Flags {
		switch {
		case l.fromEnv[option.Name]:
			return fmt.Errorf("environment variables %s and %s both give %s: set one of them",
				options.EnvName(option.Name), variable, option.Name)
		case set[option.Name]:
			continue
		}
		if err := l.set(option.Name, option.Value); err != nil {
			return fmt.Errorf("environment variable %s: %s=%s: %w", variable, option.Name, option.Value, err)
		}
	}
	return nil
}

// set sets a flag. Its error doesn't repeat the flag and the value.
func (l *layers) set(name, value string) error {
	err := l.flags.Set(name, value)
	var invalid *pflag.InvalidValueError
	var number *strconv.NumError
	switch {
	case errors.As(err, &number) && l.flags.Lookup(name).Value.Type() == "bool":
		return errors.New("neither true nor false")
	case errors.As(err, &number):
		return fmt.Errorf("not a number that can be: %w", number.Err)
	case errors.As(err, &invalid):
		return invalid.Unwrap()
	}
	return err
}

// envFlags are the flags that an environment variable can stand for.
func envFlags(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" && !slices.Contains(hiddenFlags, flag.Name) {
			names = append(names, flag.Name)
		}
	})
	return names
}

// mountEnv are the environment variables that stand for flags of ltxfs mount.
func mountEnv() []string {
	var f mountFlags
	flags := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	f.define(flags)
	var variables []string
	for _, name := range envFlags(flags) {
		variables = append(variables, options.EnvName(name))
	}
	return variables
}

// unknownEnv finds environment variables that were probably meant for ltxfs.
func unknownEnv() []options.Unknown {
	known := append(mountEnv(), state.PathEnv, "LTXFS_S3_DEBUG")
	known = append(known, daemon.Env...)
	for _, s := range s3.Settings() {
		known = append(known, s.Env)
	}
	return options.UnknownEnv(os.Environ(), known)
}
