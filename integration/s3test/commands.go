package s3test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// minioCommand serves a directory with MinIO: without its console, and without
// looking for updates in the network.
func minioCommand(s *Server, program string) (*exec.Cmd, error) {
	data, err := s.subdir("data")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "server", data, "--address", s.addr, "--certs-dir", filepath.Join(s.dir, "certs"))
	cmd.Env = s.environ(
		"MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
		"MINIO_DOMAIN="+VirtualHosts, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off",
		"MINIO_PROMETHEUS_AUTH_TYPE=public", // for Traffic
	)
	return cmd, nil
}

// versitygwCommand serves a directory with the Versity S3 Gateway. Its users
// stand in a file, and aren't cached, so that one who is deleted is so at once.
func versitygwCommand(s *Server, program string) (*exec.Cmd, error) {
	data, err := s.subdir("data")
	if err != nil {
		return nil, err
	}
	users, err := s.subdir("users")
	if err != nil {
		return nil, err
	}
	// Left to itself, it closes every connection after an answer.
	args := []string{"--port", s.addr, "--keep-alive", "--iam-dir", users, "--iam-cache-disable", "posix"}
	if !hasXattrs(data) {
		meta, err := s.subdir("meta")
		if err != nil {
			return nil, err
		}
		args = append(args, "--sidecar", meta)
	}
	cmd := exec.Command(program, append(append(args, s.kind.args...), data)...)
	cmd.Env = s.environ("ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	return cmd, nil
}

// rcloneCommand serves a directory with rclone.
func rcloneCommand(s *Server, program string) (*exec.Cmd, error) {
	data, err := s.subdir("data")
	if err != nil {
		return nil, err
	}
	args := []string{"serve", "s3", "--addr", s.addr, "--config", filepath.Join(s.dir, "rclone.conf"), "--cache-dir", filepath.Join(s.dir, "cache")}
	cmd := exec.Command(program, append(append(args, s.kind.args...), data)...)
	cmd.Env = s.environ(`RCLONE_AUTH_KEY="`+s.AccessKey+","+s.SecretKey+`"`, "TZ="+s.kind.Zone)
	return cmd, nil
}

// PutBehind writes a file into the directory of a server that keeps objects as files,
// as any program may.
func (s *Server) PutBehind(t testing.TB, bucket, key string, data []byte) {
	t.Helper()
	path := filepath.Join(s.dir, "data", bucket, key)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path+".new", data, 0o644))
	require.NoError(t, os.Rename(path+".new", path))
}

// subdir is a directory of the server, made if it isn't there.
func (s *Server) subdir(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// environ is the environment of a server: that of all children, without what
// the developer may have set for servers, clients and proxies.
func (s *Server) environ(add ...string) []string {
	var env []string
	for _, kv := range ltxfstest.Env() {
		name, _, _ := strings.Cut(kv, "=")
		if !isSetting(strings.ToUpper(name)) {
			env = append(env, kv)
		}
	}
	return append(append(env, "HOME="+s.dir), add...)
}

func isSetting(name string) bool {
	for _, prefix := range []string{"AWS_", "MINIO_", "VGW_", "ROOT_", "ADMIN_", "RCLONE_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, "_PROXY")
}

// hasXattrs reports whether the file system of a directory takes the attributes
// in which versitygw keeps what it knows of an object.
func hasXattrs(dir string) bool {
	const name = "user.s3test"
	err := unix.Setxattr(dir, name, []byte("x"), 0)
	return errors.Join(err, unix.Removexattr(dir, name)) == nil
}
