package transport

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Pool is connections that stores share where they are made in the same way, and what is
// counted of their requests.
type Pool struct {
	tally *Tally

	mu     sync.Mutex
	all    map[poolKey]*Connections
	paces  map[string]*Pace // by endpoint, or AWS's region
	closed bool
}

// NewPool returns a pool without connections.
func NewPool() *Pool {
	return &Pool{tally: newTally(), all: map[poolKey]*Connections{}, paces: map[string]*Pace{}}
}

// poolKey is what connections depend on, beside the host.
type poolKey struct {
	timeouts       config.Timeouts
	maxConnections int
	skipVerify     bool
	ca             string // the certificates in the CA file
	profile        string // which may name others
}

// Pace is that of the store's endpoint, however many replicas are there.
func (p *Pool) Pace(cfg config.Config) *Pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := cmp.Or(cfg.Endpoint, cfg.Region)
	if p.paces[key] == nil {
		p.paces[key] = newPace()
	}
	return p.paces[key]
}

// Connections are those for a store, which end with the pool. It asks no network, and reads no
// file but the CA certificates.
func (p *Pool) Connections(cfg config.Config) (*Connections, error) {
	if _, err := newTLSConfig(cfg); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ca, _ := os.ReadFile(cfg.CAFile) // newTLSConfig says what is wrong with it
	key := poolKey{cfg.Timeouts, cfg.MaxConnections, cfg.SkipVerify, string(ca), cfg.Profile}
	c := p.all[key]
	if c == nil {
		c = &Connections{
			Dial: (&net.Dialer{Timeout: cfg.Timeouts.Connect, KeepAlive: 30 * time.Second}).DialContext, Tally: p.tally,
			timeouts: cfg.Timeouts, sending: semaphore.NewWeighted(int64(cfg.MaxConnections+1) / 2), open: map[*conn]struct{}{},
		}
		p.all[key] = c
	}
	if p.closed {
		c.close()
	}
	return c, nil
}

// Close closes all connections, and has no more made.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.all {
		c.close()
	}
}

// Connections are those of one or more stores. Each has a deadline that moves on with
// every byte: TCP itself would wait for a silent peer for a quarter of an hour.
type Connections struct {
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error) // as yet without a deadline
	Tally    *Tally                                                            // of the pool
	timeouts config.Timeouts

	// sending is held by each request with a body to store. They have half of the
	// connections, the larger half of an odd number: nothing else waits for them.
	sending *semaphore.Weighted

	mu     sync.Mutex
	open   map[*conn]struct{}
	over   bool                     // there are to be no more
	client *awshttp.BuildableClient // over them
	spare  *awshttp.BuildableClient // over some more, for GETs that are made again
}

// Share returns a client whose requests count: over the first one that it was called with,
// since others would have connections of their own.
func (c *Connections) Share(client *awshttp.BuildableClient) aws.HTTPClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		c.client = client
		c.spare = client.WithTransportOptions(func(tr *http.Transport) {
			tr.MaxConnsPerHost = max(tr.MaxConnsPerHost/getsPerHedge, 1)
		})
	}
	return &counted{c.client, c.Tally}
}

// Patient is a client, once there is one, whose requests each have a connection of their own,
// on which the store may be silent for long.
func (c *Connections) Patient() aws.HTTPClient {
	return &counted{c.client.WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext = c.dialPatiently
		tr.DisableKeepAlives = true
	}), c.Tally}
}

// SendBody has a request with a body to store sent, once it has its connection. Its error is
// send's, or wraps the context's.
func (c *Connections) SendBody(ctx context.Context, send func() error) error {
	if err := c.sending.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for a connection: %w", err)
	}
	defer c.sending.Release(1)
	return send()
}
