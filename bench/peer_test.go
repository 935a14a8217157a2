package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// peerOf is a peer, which mounts the whole bucket.
func peerOf(program string, command func(w *world, r replicaAt) (*exec.Cmd, error)) *contestant {
	c := &contestant{name: program, kind: peer, program: sync.OnceValues(func() (string, error) { return find(program) })}
	c.open = func(w *world, r replicaAt) (*session, error) {
		cmd, err := command(w, r)
		if err != nil {
			return nil, err
		}
		if cmd.Path, cmd.Err = c.program(); cmd.Err != nil {
			return nil, cmd.Err
		}
		cmd.Env = append(cmd.Env, w.server.Env()...)
		d, err := w.startDaemon(cmd)
		if err != nil {
			return nil, err
		}
		return &session{daemon: d, target: inTree(filepath.Join(d.dir, r.name), inBucket)}, nil
	}
	return c
}

func s3fsCommand(w *world, r replicaAt) (*exec.Cmd, error) {
	passwd := filepath.Join(w.dir, "s3fs-passwd")
	err := os.WriteFile(passwd, []byte(w.server.AccessKey+":"+w.server.SecretKey), 0o600)
	return exec.Command("s3fs", w.bucket, "MOUNTPOINT", "-f", "-o",
		"passwd_file="+passwd+",use_path_request_style,url="+r.endpoint+",endpoint="+w.server.Region), err
}

func rcloneCommand(w *world, r replicaAt) (*exec.Cmd, error) {
	return exec.Command("rclone", append(rcloneFlags(w, r.endpoint), "mount", ":s3:"+w.bucket, "MOUNTPOINT")...), nil
}

func rcloneFlags(w *world, endpoint string) []string {
	return []string{
		"--config", os.DevNull, "--cache-dir", filepath.Join(w.dir, "rclone-cache"), "--s3-provider", "Minio", "--s3-env-auth",
		"--s3-endpoint", endpoint, "--s3-region", w.server.Region,
	}
}

func geesefsCommand(w *world, r replicaAt) (*exec.Cmd, error) {
	return exec.Command("geesefs", "-f", "--endpoint", r.endpoint, "--region", w.server.Region, w.bucket, "MOUNTPOINT"), nil
}

// find finds a program among the tools, or in PATH.
func find(program string) (string, error) {
	tool := filepath.Join(os.Getenv("LTXFS_TOOLS"), program)
	if _, err := os.Stat(tool); err == nil {
		return tool, nil
	}
	return exec.LookPath(program)
}

// versions are what the programs call themselves.
func versions(w *world) []string {
	var lines []string
	for _, command := range [][]string{
		{"git", "describe", "--always", "--dirty"},
		{*baselineFlag, "version"},
		{"geesefs", "--version"},
		{"s3fs", "--version"},
		{"rclone", "version"},
		{"minio", "--version"},
		{"litestream", "version"},
	} {
		name := command[0]
		if name == "" {
			continue
		}
		path, err := find(name)
		if err != nil {
			lines = append(lines, fmt.Sprintf("%s is absent: %v", name, err))
			continue
		}
		cmd := exec.Command(path, command[1:]...)
		cmd.Env = ltxfstest.Env()
		out, err := cmd.CombinedOutput()
		if err != nil {
			out = []byte(err.Error())
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		lines = append(lines, fmt.Sprintf("%s: %s", filepath.Base(path), first))
	}
	return lines
}
