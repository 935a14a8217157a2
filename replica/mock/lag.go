package mock

// Lag is how late a store shows what was done to it, as stores do that are only
// eventually consistent. It counts calls that look: LTXFiles, StatLTXFile,
// OpenLTXFile and OpenLTXFileVersion. With 1, the first of them after the change
// still finds what was there before. A listing finds what was shown when it was
// begun.
type Lag struct {
	// Writes is how many calls don't see a write yet.
	Writes int

	// Deletes is how many calls don't see a delete yet.
	Deletes int
}

// SetLag sets how late writes and deletes from now on show. The client's own
// writes don't wait until they show, although the contract wants that.
func (c *ReplicaClient) SetLag(lag Lag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lag = lag
}

// Settle makes everything show that was done so far.
func (c *ReplicaClient) Settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.pending {
		c.show(ch)
	}
	c.pending = nil
}

// change is a write, or a delete if object is nil, that doesn't show yet.
type change struct {
	key    Key
	object *object
	left   int // calls that don't see it
}

// change does a write or a delete, which shows after the lag.
func (c *ReplicaClient) change(key Key, o *object) {
	ch := &change{key: key, object: o, left: c.lag.Writes}
	if o == nil {
		delete(c.stored, key)
		ch.left = c.lag.Deletes
	} else {
		c.stored[key] = o
	}
	c.pending = append(c.pending, ch)
	c.showDue()
}

// look counts a call that looks.
func (c *ReplicaClient) look() {
	for _, ch := range c.pending {
		ch.left--
	}
	c.showDue()
}

// showDue shows the changes whose time has come. Those of one file show in
// their order.
func (c *ReplicaClient) showDue() {
	waiting := make(map[Key]bool)
	var rest []*change
	for _, ch := range c.pending {
		if ch.left > 0 || waiting[ch.key] {
			waiting[ch.key] = true
			rest = append(rest, ch)
			continue
		}
		c.show(ch)
	}
	c.pending = rest
}

func (c *ReplicaClient) show(ch *change) {
	if ch.object == nil {
		delete(c.shown, ch.key)
		return
	}
	c.shown[ch.key] = ch.object
}

// settle drops the pending changes of a file, since it changes for good.
func (c *ReplicaClient) settle(key Key) {
	var rest []*change
	for _, ch := range c.pending {
		if ch.key != key {
			rest = append(rest, ch)
		}
	}
	c.pending = rest
}
