package s3

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"sync"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Pool is connections that stores share where they are made in the same way, what is
// counted of their requests, and the room for what their listings are ahead.
type Pool struct {
	tally *tally
	pages *semaphore.Weighted // see bucket

	mu     sync.Mutex
	all    map[poolKey]*connections
	paces  map[string]*pace // by endpoint, or AWS's region
	closed bool
}

// NewPool returns a pool without connections.
func NewPool() *Pool {
	return &Pool{
		tally: newTally(), pages: semaphore.NewWeighted(maxAhead), all: map[poolKey]*connections{}, paces: map[string]*pace{},
	}
}

// poolKey is what connections depend on, beside the host.
type poolKey struct {
	timeouts       config.Timeouts
	maxConnections int
	skipVerify     bool
	ca             string // the certificates in the CA file
	profile        string // which may name others
}

// New returns a store whose connections are the pool's, and end with that. It asks no network,
// and reads no file but the CA certificates.
func (p *Pool) New(cfg config.Config) (*Store, error) {
	cfg, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	if _, err := newTLSConfig(cfg); err != nil {
		return nil, err
	}
	s := &Store{
		bucket: &bucket{
			cfg: cfg, connections: p.connections(cfg), tally: p.tally, pages: p.pages, pace: p.pace(cfg), seen: newWitnesses(), slowPage: slowPage,
		},
		starting: make(chan struct{}, 1), changing: semaphore.NewWeighted(everyone),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.lacking[uploadChecksums].Store(cfg.NoChecksums)
	s.SetLogger(cfg.Logger)
	return s, nil
}

// pace is that of the store's endpoint, however many replicas are there.
func (p *Pool) pace(cfg config.Config) *pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := cmp.Or(cfg.Endpoint, cfg.Region)
	if p.paces[key] == nil {
		p.paces[key] = newPace()
	}
	return p.paces[key]
}

func (p *Pool) connections(cfg config.Config) *connections {
	p.mu.Lock()
	defer p.mu.Unlock()
	ca, _ := os.ReadFile(cfg.CAFile) // newTLSConfig says what is wrong with it
	key := poolKey{cfg.Timeouts, cfg.MaxConnections, cfg.SkipVerify, string(ca), cfg.Profile}
	c := p.all[key]
	if c == nil {
		c = &connections{conns: newConns(cfg.Timeouts), sending: semaphore.NewWeighted(int64(cfg.MaxConnections+1) / 2)}
		p.all[key] = c
	}
	if p.closed {
		c.conns.close()
	}
	return c
}

// Close closes all connections. The stores can't be used afterwards.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.all {
		c.conns.close()
	}
}

// connections are those of one or more stores.
type connections struct {
	conns *conns

	// sending is held by each request with a body to store. They have half of the
	// connections, the larger half of an odd number: nothing else waits for them.
	sending *semaphore.Weighted

	mu     sync.Mutex
	client *awshttp.BuildableClient // over conns
	spare  *awshttp.BuildableClient // over some more, for GETs that are made again
}

// share returns the first client that it was called with: others would have connections of
// their own.
func (c *connections) share(client *awshttp.BuildableClient) *awshttp.BuildableClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		c.client = client
		c.spare = client.WithTransportOptions(func(tr *http.Transport) {
			tr.MaxConnsPerHost = max(tr.MaxConnsPerHost/getsPerHedge, 1)
		})
	}
	return c.client
}
