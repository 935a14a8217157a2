package secrets

import (
	"strings"
	"unsafe"
)

// HideArgs masks the secrets in args, which must be os.Args, where the kernel
// and ps read them, and returns the arguments as they were. It must be called
// before anything else has a use for os.Args.
//
// The strings of os.Args are no copies: they lie where the kernel has put the
// arguments, in memory that may be written to. Nothing can be done about the
// moments before, in which the process starts.
func HideArgs(args []string, isPublic func(name string) bool) []string {
	plain := make([]string, len(args))
	for i, arg := range args {
		plain[i] = strings.Clone(arg)
		spans := find(plain[i], isPublic)
		if len(spans) == 0 {
			continue
		}
		memory := unsafe.Slice(unsafe.StringData(arg), len(arg))
		for _, s := range spans {
			for j := s.from; j < s.to; j++ {
				memory[j] = mask
			}
		}
	}
	return plain
}
