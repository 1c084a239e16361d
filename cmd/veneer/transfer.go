package main

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
)

// transfers shows the blobs of a pull or a push as the files of the running step.
type transfers struct {
	to display
	// push: a blob may be at the registry already, which is not known before its turn
	// comes.
	push bool

	mu    sync.Mutex
	blobs map[digest.Digest]*blobState
}

// blobState is how far one blob has come.
type blobState struct {
	// have is what the receiver had before, and moved what was transferred since.
	have, moved       int64
	size              int64
	document          bool
	started, finished bool
}

// blobProgress returns what a pull or a push tells of blobs.
func blobProgress(d display, push bool) func(veneer.BlobEvent) {
	t := &transfers{to: d, push: push, blobs: map[digest.Digest]*blobState{}}
	return t.event
}

func (t *transfers) event(e veneer.BlobEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.blobs[e.Blob.Digest]
	isNew := b == nil
	if isNew {
		b = &blobState{size: e.Blob.Size, document: e.Document()}
		if e.Planned {
			b.have = e.Done
		}
		t.blobs[e.Blob.Digest] = b
	}
	if e.Planned {
		if isNew {
			t.total()
		}
		return
	}
	changed := isNew || !b.started
	b.started = true
	if !e.Finished || e.Done > 0 {
		// What was there may turn out to be of no use.
		if e.Done < b.have {
			b.have, changed = e.Done, true
		}
		moved := e.Done - b.have
		t.to.Count(0, moved-b.moved)
		b.moved = moved
	}
	if e.Finished && !b.finished {
		b.finished, changed = true, true
		t.to.Count(1, 0)
	}
	if changed {
		t.total()
	}
}

// total tells how much there is to transfer, if that is known.
func (t *transfers) total() {
	var bytes int64
	read := false
	for _, b := range t.blobs {
		switch {
		case b.finished:
			bytes += b.moved
			read = read || b.document
			continue
		case t.push && !b.started && !b.document, !t.push && b.document:
			t.to.Total(0, 0) // It may be there; or it may name more.
			return
		}
		bytes += b.size - b.have
	}
	if t.push || read {
		t.to.Total(int64(len(t.blobs)), bytes)
	}
}
