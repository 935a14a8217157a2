package s3test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// minioTLS is MinIO with a certificate of its own making. It isn't one of Servers:
// what needs no TLS is tested without.
var minioTLS = &Kind{
	Name:    "minio with TLS",
	tool:    MinIO.tool,
	command: minioTLSCommand,
	inUse:   MinIO.inUse,
}

// StartMinIOTLS starts a MinIO of the test's own that speaks nothing but TLS, for
// 127.0.0.1 and localhost. The certificate that its own is signed by is in
// Server.CAFile.
func StartMinIOTLS(t testing.TB) *Server { t.Helper(); return minioTLS.Start(t) }

// The names that MinIO gives to the files of its certificate.
const (
	certFile = "public.crt"
	keyFile  = "private.key"
)

func minioTLSCommand(s *Server, program string) (*exec.Cmd, error) {
	dir, err := s.subdir("certs")
	if err != nil {
		return nil, err
	}
	s.CAFile = filepath.Join(dir, certFile)
	if _, err := os.Stat(s.CAFile); errors.Is(err, os.ErrNotExist) {
		if err := makeCertificate(s.CAFile, filepath.Join(dir, keyFile)); err != nil {
			return nil, fmt.Errorf("make a certificate: %w", err)
		}
	}
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	s.tls = &tls.Config{RootCAs: x509.NewCertPool()}
	s.tls.RootCAs.AppendCertsFromPEM(text)
	s.Endpoint = "https://" + s.addr
	tr := newTransport(false)
	tr.TLSClientConfig = s.tls
	s.admin = newClient(s.Endpoint, s.Region, s.AccessKey, s.SecretKey, tr)
	return minioCommand(s, program)
}

// makeCertificate makes a certificate that is signed by itself, and its key.
func makeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "s3test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
	)
}
