package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	endpointHostRegex   = regexp.MustCompile(`^([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?$`)
	endpointSchemeRegex = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
)

var errEndpoint = errors.New("it is not the URL of a store: write https://HOST or http://HOST:PORT")

// Beginnings of hosts that Litestream takes for private ones. Some hold more
// than the private networks; which scheme it uses is what counts.
var localPrefixes = []string{
	"192.168.", "10.", "172.16.", "172.17.", "172.18.", "172.19.", "172.2", "172.30.", "172.31.",
}

// parseEndpoint completes an endpoint's scheme: http for local and private
// hosts, https for all others. It never shows the endpoint in an error, as
// credentials may be in it.
func parseEndpoint(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch scheme := strings.ToLower(endpointSchemeRegex.FindString(s)); scheme {
	case "http://", "https://":
		s = scheme + s[len(scheme):]
	case "":
		u, err := splitEndpoint("https://" + s)
		if err != nil {
			return "", err
		}
		scheme = "https://"
		if isLocalHost(u.Hostname()) {
			scheme = "http://"
		}
		s = scheme + s
	default:
		return "", errors.New("its scheme must be http or https")
	}
	_, err := splitEndpoint(s)
	return s, err
}

func checkEndpoint(s string) error {
	_, err := parseEndpoint(s)
	return err
}

// splitEndpoint parses an endpoint that has its scheme. A path is allowed:
// Supabase has one.
func splitEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errEndpoint
	}
	_, ipErr := netip.ParseAddr(u.Hostname())
	switch {
	case u.User != nil:
		return nil, errors.New("credentials don't belong in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return nil, errors.New("it must not have a query or a fragment")
	case !isPort(u.Port()):
		return nil, errors.New("it has a port that can't be: give one from 1 to 65535")
	case ipErr != nil && !endpointHostRegex.MatchString(u.Hostname()):
		return nil, errEndpoint
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

// isPort reports whether a port is none or one that can be.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// isLocalHost decides on http for an endpoint without a scheme.
func isLocalHost(host string) bool {
	host = strings.ToLower(host)
	for _, prefix := range localPrefixes {
		if strings.HasPrefix(host, prefix) {
			return true
		}
	}
	return isPrivateHost(host) || strings.HasSuffix(host, ".local")
}

// isPrivateHost reports whether a host can't be outside of this machine or a
// private network, so that a key may go to it without TLS.
func isPrivateHost(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLoopback() || ip.IsPrivate())
}
