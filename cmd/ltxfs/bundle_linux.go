package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/service"
)

// maxLog is how much of the end of a log goes into a bundle, in bytes.
const maxLog = 4 << 20

func newBundleCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "bundle [flags] MOUNTPOINT",
		Short: "Pack what a report of a fault needs",
		Long: `Pack what a report of a fault needs into a file: versions, the mount's settings,
its metrics, what its process is doing, and the end of its log. It has names of
files, paths and hosts in it, and no secret: look into it before you send it.`,
		Example: "  ltxfs bundle /mnt/orders",
		Args:    exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := service.Connect(args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			if output == "" {
				output = "ltxfs-bundle-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			}
			f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("bundle: %w: name another file with --output", err)
			}
			if err := errors.Join(writeBundle(cmd.Context(), f, c), f.Close()); err != nil {
				return fmt.Errorf("bundle: %w", errors.Join(err, os.Remove(output)))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n", output)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write (default: one with the time in its name, here)")
	return cmd
}

// writeBundle packs what can be had. What can't is told of in its place.
func writeBundle(ctx context.Context, w io.Writer, c *service.Control) error {
	zipped := gzip.NewWriter(w)
	packed := tar.NewWriter(zipped)
	st, alive := c.State()
	var silent error // of a process that has given no answer, and isn't asked again
	get := func(path string) func() ([]byte, error) {
		return func() (data []byte, err error) {
			if silent == nil {
				if data, err = c.Get(ctx, path); data == nil {
					silent = err
				}
			}
			return data, cmp.Or(err, silent)
		}
	}
	for _, part := range []struct {
		name string
		data func() ([]byte, error)
	}{
		{"version.txt", func() ([]byte, error) { return versions(), nil }},
		{"state.json", func() ([]byte, error) {
			return json.MarshalIndent(map[string]any{"alive": alive, "state": st}, "", "  ")
		}},
		{"process.txt", func() ([]byte, error) {
			if !alive {
				return nil, errors.New("the process has ended")
			}
			return processText(st.PID), nil
		}},
		{"settings.txt", get("/settings")},
		{"health.txt", get("/healthz")},
		{"goroutines.txt", get("/debug/pprof/goroutine?debug=2")},
		{"heap.pprof", get("/debug/pprof/heap")},
		{"metrics.txt", get("/metrics")}, // after all else: it asks the stores
		{"log.txt", func() ([]byte, error) { return c.Log(maxLog) }},
	} {
		data, err := part.data()
		if err != nil && len(data) == 0 { // an answer of failure is one
			part.name, data = part.name+".missing", fmt.Appendln(nil, err)
		}
		err = packed.WriteHeader(&tar.Header{Name: "ltxfs-bundle/" + part.name, Mode: 0o600, Size: int64(len(data)), ModTime: time.Now()})
		if err == nil {
			_, err = packed.Write(data)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(packed.Close(), zipped.Close())
}

// processText is what the kernel tells of a process, and of what its threads wait for there.
func processText(pid int) (text []byte) {
	for _, name := range []string{"status", "task/*/wchan", "task/*/stack"} { // the last for root alone
		paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/%s", pid, name)) // which is a pattern
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				data = []byte(err.Error())
			}
			text = fmt.Appendf(text, "%s:\n%s\n", path, data)
		}
	}
	return text
}

func versions() []byte {
	info, _ := debug.ReadBuildInfo()
	var uts unix.Utsname
	_ = unix.Uname(&uts) // fails with a bad address alone
	return fmt.Appendf(nil, "%s%s %s\n", versionText(info), unix.ByteSliceToString(uts.Sysname[:]), unix.ByteSliceToString(uts.Release[:]))
}
