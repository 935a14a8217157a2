package s3test

import (
	"crypto/rand"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// User is a user of a server who owns one bucket and may use no other.
type User struct {
	AccessKey string
	SecretKey string

	server *Server
}

// NewUser makes a user, who gets the bucket. Only versitygw has them.
func (s *Server) NewUser(t testing.TB, bucket string) *User {
	t.Helper()
	return s.NewUserWithSecret(t, bucket, rand.Text())
}

// NewUserWithSecret is NewUser with a secret key of the caller's choice.
func (s *Server) NewUserWithSecret(t testing.TB, bucket, secret string) *User {
	t.Helper()
	if s.kind != VersityGW {
		t.Fatalf("users of %s aren't made here: take versitygw", s.Name)
	}
	u := &User{AccessKey: "user" + rand.Text(), SecretKey: secret, server: s}
	s.administer(t, "create-user", "--access", u.AccessKey, "--secret", u.SecretKey, "--role", "user")
	s.administer(t, "change-bucket-owner", "--bucket", bucket, "--owner", u.AccessKey)
	return u
}

// Client is as Server.Client, with the user's credentials.
func (u *User) Client(t testing.TB) *s3.Client {
	t.Helper()
	tr := newTransport(true)
	t.Cleanup(tr.CloseIdleConnections)
	return newClient(u.server.Endpoint, u.server.Region, u.AccessKey, u.SecretKey, tr)
}

// Env is as Server.Env, with the user's credentials.
func (u *User) Env() []string { return childEnv(u.AccessKey, u.SecretKey) }

// Revoke deletes the user: from now on, the server refuses the credentials.
func (u *User) Revoke(t testing.TB) {
	t.Helper()
	u.server.administer(t, "delete-user", "--access", u.AccessKey)
}

func (s *Server) administer(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.Command(s.program, append([]string{"admin"}, args...)...)
	cmd.Env = s.environ("ADMIN_ACCESS_KEY="+s.AccessKey, "ADMIN_SECRET_KEY="+s.SecretKey,
		"ADMIN_REGION="+s.Region, "ADMIN_ENDPOINT_URL="+s.Endpoint)
	if result := ltxfstest.RunCmd(t, ltxfstest.Timeout, cmd); result.Code != 0 {
		t.Fatal(result)
	}
}
