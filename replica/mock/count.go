package mock

type opKey struct {
	op  Op
	key Key
}

// Calls is how often an operation was called, those included that failed, but
// not those whose context was done already.
func (c *ReplicaClient) Calls(op Op) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[op]
}

// CallsFor is how often an operation was called for one file.
func (c *ReplicaClient) CallsFor(op Op, key Key) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files[opKey{op, key}]
}

// BytesRead is how many bytes readers have handed out.
func (c *ReplicaClient) BytesRead() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytesRead
}

// ResetCalls sets the counts of calls and of bytes to zero.
func (c *ReplicaClient) ResetCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.counts)
	clear(c.files)
	c.bytesRead = 0
}

// OpenReaders is how many readers have not been closed yet.
func (c *ReplicaClient) OpenReaders() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.openReaders
}

// OpenIterators is how many iterators have neither been closed nor come to
// their end.
func (c *ReplicaClient) OpenIterators() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.openIterators
}
