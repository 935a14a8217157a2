package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// apply sets what is given as mount options or in the environment. What counts most
// is the command line, then its mount options, a variable for each flag, and the
// mount options in the environment. A variable that is empty is none.
func (m *Mount) apply(flags *pflag.FlagSet, env Lookup) error {
	flags.Visit(func(f *pflag.Flag) { m.from[f.Name] = "--" + f.Name })
	given := m.KernelOptions
	m.KernelOptions = nil
	if err := m.applyOptions(given); err != nil {
		return err
	}
	for i := range rows {
		r, variable := &rows[i], envName(rows[i].flag)
		value, _ := env(variable)
		if value == "" || m.from[r.flag] != "" || r.noEnv || r.flag == "options" || m.reading && !r.reads {
			continue
		}
		if err := m.set(r.flag, value, variable); err != nil {
			return fmt.Errorf("environment variable %s=%s: %w", variable, value, err)
		}
	}
	if value, _ := env(envName("options")); value != "" && m.from["options"] == "" && !m.reading {
		return m.applyEnvOptions(value)
	}
	return nil
}

func (m *Mount) set(flag, value, from string) error {
	m.from[flag] = from
	return rowOf(flag).value(m).Set(value)
}

// applyOptions sets what was given after -o. Given as flags, too, they are errors:
// nobody can know which was meant.
func (m *Mount) applyOptions(values []string) error {
	options, err := m.parseOptions(values)
	if err != nil {
		return err
	}
	for _, o := range options {
		before := m.from[o.flag]
		switch {
		case o.flag == "rw" && before == "--rw" && o.value == strconv.FormatBool(m.ReadWrite):
			continue
		case o.flag == "rw" && before == "--rw":
			return fmt.Errorf("--rw=%t and -o %s contradict each other: give one of them", m.ReadWrite, o.name)
		case before == "--"+o.flag:
			return fmt.Errorf("--%s is given as a mount option, too: give it once", o.flag)
		}
		if err := m.set(o.flag, o.value, "-o"); err != nil {
			return fmt.Errorf("mount option %s=%s: %w", strings.ReplaceAll(o.flag, "-", "_"), o.value, err)
		}
	}
	return nil
}

// applyEnvOptions sets what the mount options in the environment say of flags
// that stand nowhere else.
func (m *Mount) applyEnvOptions(value string) error {
	variable := envName("options")
	options, err := m.parseOptions([]string{value})
	if err != nil {
		return fmt.Errorf("environment variable %s: %w", variable, err)
	}
	m.from["options"] = variable
	for _, o := range options {
		switch m.from[o.flag] {
		case "", variable:
		case envName(o.flag):
			return fmt.Errorf("environment variables %s and %s both give %s: set one of them", envName(o.flag), variable, o.flag)
		default:
			continue
		}
		if err := m.set(o.flag, o.value, variable); err != nil {
			return fmt.Errorf("environment variable %s: %s=%s: %w", variable, o.flag, o.value, err)
		}
	}
	return nil
}

// option is a mount option that is a setting.
type option struct {
	name  string // as it was given
	flag  string
	value string
}

// kernelOptions are passed on to the kernel. A mount of ltxfs is nosuid and
// nodev at any rate.
var kernelOptions = []string{"noexec", "nosuid", "nodev", "noatime", "nodiratime"}

// contextOptions are passed on to the kernel with their values, for SELinux.
var contextOptions = []string{"context", "fscontext", "defcontext", "rootcontext"}

// ignoredOptions are for mount(8) and those who read fstab, or ask for what
// ltxfs does or has no use for; ltxfs may be passed them.
var ignoredOptions = []string{
	"defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group", "comment",
	"suid", "dev", "exec", "sync", "async", "dirsync", "silent", "loud", "mand", "nomand",
	"atime", "relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "default_permissions",
	"lazytime", "nolazytime", "iversion", "noiversion",
}

// parseOptions parses the values of all -o, in order, keeps those for the kernel
// and returns those that are settings, of rw and ro the last. With Sloppy, as
// mount(8) -s asks for it, unknown options are passed over.
func (m *Mount) parseOptions(values []string) (options []option, err error) {
	var access []option
	for _, value := range values {
		texts, err := splitOptions(value)
		if err != nil {
			return nil, err
		}
		for _, text := range texts {
			o, err := m.parseOption(text)
			switch {
			case err != nil && !m.Sloppy:
				return nil, err
			case o.flag == "rw":
				access = []option{o}
			case o.flag != "":
				options = append(options, o)
			}
		}
	}
	return append(access, options...), nil
}

// parseOption parses one option. Its flag is "" if it is no setting.
func (m *Mount) parseOption(text string) (option, error) {
	key, value, hasValue := strings.Cut(text, "=")
	r := rowOf(strings.ReplaceAll(key, "_", "-"))
	switch {
	case key == "":
		if hasValue {
			return option{}, fmt.Errorf("mount option %q has no name", text)
		}
	case (key == "rw" || key == "ro") && hasValue:
		return option{}, fmt.Errorf("mount option %s takes no value: write %s alone", key, key)
	case key == "rw" || key == "ro":
		return option{key, "rw", strconv.FormatBool(key == "rw")}, nil
	case key == "remount":
		return option{}, fmt.Errorf("mount option remount is not supported: unmount, then mount again with the new options")
	case r != nil && !r.noOption && !r.isBool() && value == "":
		return option{}, fmt.Errorf("mount option %s needs a value: write %s=VALUE", key, key)
	case r != nil && !r.noOption && r.isBool() && hasValue:
		return option{}, fmt.Errorf("mount option %s takes no value: write %s alone", key, key)
	case r != nil && !r.noOption && r.isBool():
		return option{key, r.flag, "true"}, nil
	case r != nil && !r.noOption:
		return option{key, r.flag, value}, nil
	case slices.Contains(kernelOptions, key) && !hasValue:
		m.addKernelOption(key)
	case slices.Contains(contextOptions, key):
		if value == "" || strings.Contains(value, `"`) {
			return option{}, fmt.Errorf("mount option %s needs a context of SELinux: write %s=\"USER:ROLE:TYPE:LEVEL\"", key, key)
		}
		m.addKernelOption(fmt.Sprintf(`%s="%s"`, key, value)) // the kernel reads quotes as mount(8) does
	case slices.Contains(ignoredOptions, key), strings.HasPrefix(key, "x-"), strings.HasPrefix(key, "X-"):
	default:
		unknown := fmt.Errorf("unknown mount option %q: ltxfs mount --help lists the options", key)
		return option{}, cmp.Or(Refused(key, "in a mount option"), unknown)
	}
	return option{}, nil
}

func (m *Mount) addKernelOption(text string) {
	if !slices.Contains(m.KernelOptions, text) {
		m.KernelOptions = append(m.KernelOptions, text)
	}
}

// splitOptions splits at commas, but as mount(8) does, not at those within quotes, which
// it removes. A backslash takes away the meaning of the comma, the quote or the
// backslash behind it.
func splitOptions(s string) ([]string, error) {
	var options []string
	var option strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`,"\`, s[i+1]) >= 0:
			i++
			option.WriteByte(s[i])
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			options = append(options, option.String())
			option.Reset()
		default:
			option.WriteByte(c)
		}
	}
	if quoted {
		name, _, _ := strings.Cut(option.String(), "=") // the value may be a secret
		return nil, fmt.Errorf("mount option %s has a quote that doesn't end: write another behind it, or \\\" for the quote itself", name)
	}
	return append(options, option.String()), nil
}
