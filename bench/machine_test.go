package bench

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what this was measured on.
func machine() []string {
	var info unix.Sysinfo_t
	var name unix.Utsname
	_ = unix.Sysinfo(&info)
	_ = unix.Uname(&name)
	model, _, _ := strings.Cut(field("/proc/cpuinfo", "model name"), "\n")
	return []string{
		fmt.Sprintf("CPU: %s, %d cores", model, runtime.NumCPU()),
		fmt.Sprintf("memory: %d MiB", info.Totalram*uint64(info.Unit)>>20),
		fmt.Sprintf("kernel: Linux %s", bytes.TrimRight(name.Release[:], "\x00")),
		fmt.Sprintf("%s, GOMAXPROCS %s", runtime.Version(), strconv.Itoa(runtime.GOMAXPROCS(0))),
	}
}

// field is the value behind the name and a colon in a file of /proc.
func field(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	_, rest, _ := strings.Cut(string(data), name)
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(value, "\t :")
}
