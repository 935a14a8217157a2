package options

import (
	"fmt"
	"slices"
	"strings"
)

// MountOptions are the options after -o, sorted by what they are for.
type MountOptions struct {
	// Access is "rw" or "ro", whichever was last, or "".
	Access string

	// Flags are options that are flags of ltxfs mount, by the flag's name;
	// a flag without a value has the value "true".
	Flags []Flag

	// Kernel are the options that the kernel applies to the mount.
	Kernel []string
}

// Flag is a flag of ltxfs mount that was given as an option.
type Flag struct{ Name, Value string }

// kernelOptions are passed on to the kernel. A mount of ltxfs is nosuid and
// nodev at any rate.
var kernelOptions = []string{"noexec", "nosuid", "nodev", "noatime", "nodiratime"}

// ignoredOptions are for mount(8) and those who read fstab, or ask for what
// ltxfs does or has no use for; ltxfs may be passed them.
var ignoredOptions = []string{
	"defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group", "comment",
	"suid", "dev", "exec", "sync", "async", "dirsync", "silent", "loud", "mand", "nomand",
	"atime", "relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "default_permissions",
	"lazytime", "nolazytime", "iversion", "noiversion",
}

// flagOptions are the flags of ltxfs mount that may be given as options, and
// whether they take a value.
var flagOptions = map[string]bool{
	"config":        true,
	"allow-other":   false,
	"uid":           true,
	"gid":           true,
	"file-mode":     true,
	"dir-mode":      true,
	"layout":        true,
	"freshness":     true,
	"mtime":         true,
	"verify-writes": true,
	"cache-size":    true,
	"limit-read":    true,
	"limit-write":   true,
	"max-requests":  true,
	"staging-dir":   true,
	"grace":         true,
	"log-level":     true,
	"log-format":    true,
	"log-file":      true,
}

// ParseMountOptions parses the values of all -o, in order. With sloppy, as
// mount(8) -s asks for it, unknown options are passed over.
func ParseMountOptions(values []string, sloppy bool) (MountOptions, error) {
	var opts MountOptions
	for _, value := range values {
		for _, option := range splitOptions(value) {
			if err := opts.add(option); err != nil && !sloppy {
				return MountOptions{}, err
			}
		}
	}
	return opts, nil
}

func (o *MountOptions) add(option string) error {
	key, value, hasValue := strings.Cut(option, "=")
	flag := strings.ReplaceAll(key, "_", "-")
	takesValue, isFlag := flagOptions[flag]
	switch {
	case key == "":
		if hasValue {
			return fmt.Errorf("mount option %q has no name", option)
		}
	case key == "rw" || key == "ro":
		o.Access = key
	case key == "remount":
		return fmt.Errorf("mount option remount is not supported: unmount, then mount again with the new options")
	case isFlag && takesValue && (!hasValue || value == ""):
		return fmt.Errorf("mount option %s needs a value: write %s=VALUE", key, key)
	case isFlag && takesValue:
		o.Flags = append(o.Flags, Flag{flag, value})
	case isFlag && hasValue:
		return fmt.Errorf("mount option %s takes no value: write %s alone", key, key)
	case isFlag:
		o.Flags = append(o.Flags, Flag{flag, "true"})
	case slices.Contains(kernelOptions, key) && !hasValue:
		if !slices.Contains(o.Kernel, key) {
			o.Kernel = append(o.Kernel, key)
		}
	case slices.Contains(ignoredOptions, key), strings.HasPrefix(key, "x-"), strings.HasPrefix(key, "X-"):
	default:
		return fmt.Errorf("unknown mount option %q: ltxfs mount --help lists the options", key)
	}
	return nil
}

// splitOptions splits at commas. A backslash takes away the meaning of the
// comma or the backslash behind it.
func splitOptions(s string) []string {
	var options []string
	var option strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == '\\'):
			i++
			option.WriteByte(s[i])
		case c == ',':
			options = append(options, option.String())
			option.Reset()
		default:
			option.WriteByte(c)
		}
	}
	return append(options, option.String())
}
